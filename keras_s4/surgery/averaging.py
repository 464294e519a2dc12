"""Several trained models as one."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_s4.activation_names import activation_name
from keras_s4.checks import quote
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.graph import graph_of, is_graph

LINEAR = "linear"
# Layers that end with their activation, which those with gates do not.
_ENDING = (keras.layers.Dense, keras.layers.Conv1D)


def average_models(models: Sequence[keras.Model], name: str = "average") -> keras.Model:
    """One model that averages what several give, which errs less than each of them where their errors differ.

    Averaged is what stands in front of the activation of a dense or convolutional last layer, logits for example; the
    mean gets that activation. What other layers give is averaged as it is. The members are copies: "member_0" and so
    on. The result trains, streams, reduces and exports as any other model, and costs what its members cost together.

    Args:
        models: functional or sequential, two or more of one input and one output each, of equal shapes; trained from
            different seeds, for example.
        name: of the result.

    Raises:
        TypeError: something else than models.
        ValueError: fewer than two, subclassed ones, several inputs or outputs, or shapes or last activations that
            differ.
    """
    models = list(models)
    _check(models)
    inputs = keras.Input(models[0].input_shape[1:], dtype=models[0].inputs[0].dtype, name="samples")
    outputs, activation = [], _last_activation(models[0])
    for number, model in enumerate(models):
        last = _ending_layer(model)
        changes = {} if last is None or activation == LINEAR else {last.name: {"activation": LINEAR}}
        member = clone(model, changes)
        member.name = f"member_{number}"
        outputs.append(member(inputs))
    mean = keras.layers.Average(name="mean")(outputs)
    if activation != LINEAR:
        mean = keras.layers.Activation(activation, name="outputs")(mean)
    return keras.Model(inputs, mean, name=name)


def _ending_layer(model: keras.Model) -> keras.layers.Layer | None:
    """The layer that gives the model's output and ends with an activation; None where it is called elsewhere, too."""
    graph = graph_of(model)
    last = next((node.layer for node in graph.nodes if node.output == graph.outputs[0]), None)
    once = sum(node.layer is last for node in graph.nodes) == 1
    return last if once and isinstance(last, _ENDING) else None


def _last_activation(model: keras.Model) -> str:
    """The name of what the model ends with, where it can be told to end without."""
    layer = _ending_layer(model)
    return LINEAR if layer is None else activation_name(layer.activation)


def _check(models: list) -> None:
    for model in models:
        if not isinstance(model, keras.Model):
            raise TypeError(f"average_models got {quote(model)}; expected Keras models.")
        if not is_graph(model):
            raise ValueError(f"average_models got {model.name!r}, a subclassed model; expected functional models.")
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ValueError(
                f"average_models got {model.name!r} of {len(model.inputs)} inputs and {len(model.outputs)} outputs; "
                "expected one of each."
            )
    if len(models) < 2:
        raise ValueError(f"average_models got {len(models)} models; expected two or more.")
    for what, values in {
        "input shapes": [model.input_shape for model in models],
        "output shapes": [model.output_shape for model in models],
        "last activations": [_last_activation(model) for model in models],
    }.items():
        if len(set(values)) > 1:
            raise ValueError(f"average_models got models of different {what}: {', '.join(map(str, values))}.")
