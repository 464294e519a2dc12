"""A trained model at another sampling rate, without training it again."""

from __future__ import annotations

import math

import keras

from keras_s4.checks import check_model, is_real, quote
from keras_s4.layers import DSS, Block, LastStep, RecentAverage, StateSpaceLayer
from keras_s4.streaming.plan import Effect, Flow, plan_call
from keras_s4.streaming.streamer import STEP_MODE
from keras_s4.surgery.cloning import clone, layer_at, state_space_layers
from keras_s4.surgery.graph import graph_of
from keras_s4.surgery.paths import layers_by_path

# What these do to a signal does not depend on how often it is sampled.
POOLINGS = (LastStep, keras.layers.GlobalAveragePooling1D, keras.layers.GlobalMaxPooling1D)
RATE_FREE = (StateSpaceLayer, RecentAverage, *POOLINGS)


def at_rate(model: keras.Model, rate: float) -> keras.Model:
    """A copy of a model for signals that are sampled more or less often than those it was trained on.

    The time steps of all state space layers are multiplied by the rate, the steps a second of a `RecentAverage`
    divided; all other weights are those of the model. Zero-order hold is exact where the input is constant between
    samples; otherwise the error falls with the square of the finer time step. Frequencies above half the new sampling
    frequency cannot be represented.

    Args:
        model: functional or sequential, of DSS layers and layers that treat every step alone or pool over time.
        rate: steps of the model that one step of the copy spans: 2.0 where the signal comes at half the frequency, 0.5
            where it comes at twice.

    Returns:
        The copy; sequences of L steps become sequences of `round(L / rate)`.

    Raises:
        TypeError: no model.
        ValueError: a rate that is not positive, no state space layer, or a layer whose memory is counted in samples, by
            name.
        NotImplementedError: a layer that cannot run step by step.
    """
    check_model(model, rate, "at_rate")
    if not is_real(rate) or not 0.0 < rate < float("inf"):
        raise ValueError(f"at_rate got rate={quote(rate)}; expected a positive number.")
    layers = state_space_layers(model)
    if not layers:
        raise ValueError(
            f"Model {model.name!r} has no DSS or DiagonalSSM layer, so nothing depends on a sampling rate."
        )
    graph_of(model).run(_flow_behind, [Flow.of(tensor) for tensor in model.inputs])
    changes = {name: {"rate": layer.rate * rate} for name, layer in layers.items()}
    for name, layer in layers.items():
        if isinstance(layer, DSS):
            changes[name]["training_length"] = layer.training_length
    averages = {name: each for name, each in layers_by_path(model).items() if isinstance(each, RecentAverage)}
    changes |= {name: {"rate": layer.rate / rate} for name, layer in averages.items()}
    batch, length, *features = model.input_shape
    length = None if length is None else round(length / rate)
    if length == 0:
        raise ValueError(
            f"at_rate got rate={rate:g}, at which nothing is left of the {model.input_shape[1]} steps of a sequence of "
            f"model {model.name!r}; expected a lower rate, or a model of longer sequences."
        )
    inputs = keras.Input(batch_shape=(batch, length, *features), dtype=model.inputs[0].dtype)
    copy = clone(model, changes, inputs)
    for name, layer in averages.items():
        if layer.trainable_time:
            layer_at(copy, name).log_steps.assign(layer.log_steps - math.log(rate))
    return copy


def _flow_behind(layer: keras.layers.Layer, flows: list[Flow]) -> Flow:
    """What flows behind a layer. One whose memory is counted in samples is refused.

    Raises:
        ValueError, NotImplementedError: see `at_rate`.
    """
    has_time = flows[0].has_time
    if isinstance(layer, Block):
        return graph_of(layer).run(_flow_behind, flows)[0]
    if has_time and isinstance(layer, keras.Model):
        raise ValueError(
            f"Layer {layer.name!r} is a model inside the model, made for sequences of one length, which another "
            "sampling rate would change; build the model of the layers inside it."
        )
    if has_time and not isinstance(layer, RATE_FREE):
        call = plan_call(layer, flows, STEP_MODE)
        if call.effect != Effect(several=call.effect.several):
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) counts its memory in samples, which another sampling "
                "rate would change; a model that is to change its rate may look back in time by DSS layers only."
            )
        return call.outputs[0]
    tensors = [keras.KerasTensor(flow.shape, flow.dtype) for flow in flows]
    output = keras.tree.flatten(layer.compute_output_spec(tensors if len(tensors) > 1 else tensors[0]))[0]
    dtype = keras.backend.standardize_dtype(output.dtype)
    pools = isinstance(layer, POOLINGS) or (isinstance(layer, RecentAverage) and not layer.return_sequences)
    return Flow(tuple(output.shape), dtype, has_time=has_time and not pools)
