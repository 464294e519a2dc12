"""Layers that give each step another shape, or wrap other layers."""

from __future__ import annotations

import keras

from keras_s4.surgery.graph import GRAPHS
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.registry import lower_call, refusal, register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.operations import Reshape


@register(keras.layers.Reshape, keras.layers.Flatten)
def lower_reshape(layer, inputs, builder):
    """Every step gets a new shape; the time axis stays where it is."""
    return add_reshape(layer.name, inputs[0], builder.call.outputs[0].step_shape, builder)


@register(keras.layers.Permute, takes="both")
def lower_permute(layer, inputs, builder):
    """Nothing, if no axis moves."""
    if tuple(layer.dims) != tuple(range(1, len(layer.dims) + 1)):
        raise refusal(
            layer, f"dims={layer.dims} moves features", "Give the layer in front of it the order that is needed"
        )
    return inputs[0]


@register(keras.layers.TimeDistributed, takes="both")
def lower_time_distributed(layer, inputs, builder):
    """The wrapped layer, which sees one step and must not carry a state."""
    states = len(builder.states)
    with builder.inside(layer.name):
        (result,) = keras.tree.flatten(lower_call(builder.call.wrapped, inputs, builder))
    if len(builder.states) > states:
        raise refusal(
            layer,
            f"the wrapped {type(layer.layer).__name__} would carry a state from step to step",
            "Wrap layers that treat every step alone",
        )
    return Signal(result.tensor, result.values, activation=result.activation, encoding=result.encoding)


@register(*GRAPHS, takes="both")
def lower_model(layer, inputs, builder):
    """A model, or a block, as a layer: its layers, whose tensors are named behind its own name."""
    with builder.inside(layer.name):
        return builder.call.run_inner(lambda call, signals: lower_call(call, signals, builder), inputs)


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
