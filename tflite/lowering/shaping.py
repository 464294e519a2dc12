"""Layers that give each step another shape, or wrap other layers."""

from __future__ import annotations

import keras

from keras_s4.surgery.graph import as_numbered, graph_of
from keras_s4.tflite.lowering.calibration import Signal
from keras_s4.tflite.lowering.registry import ProgramBuilder, lower, refusal, register
from keras_s4.tflite.program.operations import Reshape


@register(keras.layers.Reshape)
def lower_reshape(layer, inputs, builder):
    """Every step gets a new shape; the time axis stays where it is."""
    signal = inputs[0]
    shape = signal.values.shape if signal.has_time else (len(signal.values), *signal.tensor.shape)
    target = tuple(layer.compute_output_shape(shape))[1:]
    if signal.has_time and (len(target) < 2 or target[0] != shape[1]):
        raise refusal(
            layer,
            f"it makes {target} of {shape[1:]}, which mixes steps along the time axis",
            "Keep the time axis in front, as in Reshape((-1, ...))",
        )
    return add_reshape(layer.name, signal, target[1:] if signal.has_time else target, builder)


@register(keras.layers.Flatten)
def lower_flatten(layer, inputs, builder):
    """Behind a pooling over time: all features in one axis."""
    signal = inputs[0]
    if signal.has_time:
        raise refusal(
            layer,
            "it takes the time axis for features",
            "Put it behind a pooling over time, or behind keras_s4.layers.LastStep",
        )
    return add_reshape(layer.name, signal, (-1,), builder)


@register(keras.layers.Permute, takes="both")
def lower_permute(layer, inputs, builder):
    """Nothing, if no axis moves."""
    if tuple(layer.dims) != tuple(range(1, len(layer.dims) + 1)):
        moves = "the time axis" if inputs[0].has_time and layer.dims[0] != 1 else "features"
        raise refusal(
            layer, f"dims={layer.dims} moves {moves}", "Give the layer in front of it the order that is needed"
        )
    return inputs[0]


@register(keras.layers.TimeDistributed, takes="both")
def lower_time_distributed(layer, inputs, builder):
    """The wrapped layer, which sees one step and must not carry a state."""
    states = len(builder.states)
    step = Signal(inputs[0].tensor, inputs[0].values, has_time=False, encoding=inputs[0].encoding)
    with builder.inside(layer.name):
        (result,) = keras.tree.flatten(lower(layer.layer, [step], builder))
    if len(builder.states) > states:
        raise refusal(
            layer,
            f"the wrapped {type(layer.layer).__name__} would carry a state from step to step",
            "Wrap layers that treat every step alone",
        )
    return Signal(result.tensor, result.values, activation=result.activation, encoding=result.encoding)


@register(keras.Model, takes="both")
def lower_model(layer, inputs, builder):
    """A model as a layer: its layers, whose tensors are named behind its own name."""
    with builder.inside(layer.name):
        results = graph_of(layer).run(lambda inner, signals: lower(inner, signals, builder), inputs)
    return as_numbered(layer, results)


def add_reshape(name: str, signal: Signal, shape: tuple[int, ...], builder: ProgramBuilder) -> Signal:
    """Each step in another shape, of which one size may be -1; the signal as it is if it has that shape already."""
    values = signal.values.reshape(*signal.values.shape[:2], *shape)
    shape = values.shape[2:]
    if shape == signal.tensor.shape:
        return signal
    tensor = signal.tensor
    output = builder.tensor(f"{name}/output", shape, tensor.type, tensor.scale, tensor.zero_point)
    builder.add(Reshape(tensor, output))
    return Signal(output, values)
