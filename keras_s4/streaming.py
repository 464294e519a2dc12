"""Step mode: one sample in, one output out, with explicit state, in floating point.

Every layer that can run step by step is registered here with its initial state and its step; `register` adds layers of
your own. A model whose layers are all registered becomes a `StreamingModel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_s4.graph import graph_of
from keras_s4.layers import DSS, S4Block

Tensor = Any
State = Any


class Streamer:
    """How one layer runs step by step. This class itself serves layers that treat every step alone.

    Args:
        layer: built.
        input_shape: the one that the layer has in convolution mode, `[B, L, ...]`, or `[B, ...]` behind a pooling
            over time.
        length: steps of the sequences that the model was trained on; what an average over time divides by.
    """

    def __init__(self, layer: keras.layers.Layer, input_shape: tuple, length: int | None):
        self.layer = layer
        self.input_shape = input_shape
        self.length = length

    def initial_state(self, batch: int) -> State:
        """The state before the first step: a tensor, or a (nested) tuple of tensors, `()` if there is none."""
        return ()

    def step(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Outputs `[B, ...]` and the next state from inputs `[B, ...]` without a time axis."""
        return at_one_step(self.layer, inputs[0], self.input_shape), ()


_STREAMERS: dict[type, type[Streamer]] = {}


def register(*layer_classes: type) -> Callable[[type[Streamer]], type[Streamer]]:
    """Class decorator: this `Streamer` runs layers of these classes."""

    def add(streamer: type[Streamer]) -> type[Streamer]:
        _STREAMERS.update(dict.fromkeys(layer_classes, streamer))
        return streamer

    return add


register(keras.layers.Dense, keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.Dropout)(Streamer)


@register(keras.layers.SpatialDropout1D)
class _Identity(Streamer):
    """Layers that do nothing once trained, and insist on a time axis."""

    def step(self, inputs, state):
        return inputs[0], ()


@register(DSS)
class _DSS(Streamer):
    def initial_state(self, batch):
        return self.layer.initial_state(batch)

    def step(self, inputs, state):
        return self.layer.step(inputs[0], state)


@register(S4Block)
class _S4Block(Streamer):
    def initial_state(self, batch):
        return self.layer.dss.initial_state(batch)

    def step(self, inputs, state):
        block = self.layer
        normalized = at_one_step(block.normalization, inputs[0], self.input_shape)
        hidden, state = block.dss.step(normalized, state)
        hidden = block.activation(hidden)
        return inputs[0] + block.value(hidden) * block.gate(hidden), state


@register(keras.layers.GlobalAveragePooling1D)
class _AveragePooling(Streamer):
    """A running sum, divided by the training length: exact at the end of a window of that length."""

    def initial_state(self, batch):
        if self.length is None:
            raise ValueError(
                f"Layer {self.layer.name!r} averages over time, but the model's sequence length is open; "
                "say how many steps a window has: StreamingModel(model, length=...)."
            )
        return ops.zeros((batch, self.input_shape[-1]), dtype=_state_dtype(self.layer))

    def step(self, inputs, state):
        total = state + ops.cast(inputs[0], state.dtype)
        return ops.cast(total / self.length, self.layer.compute_dtype), total


def _state_dtype(layer: keras.layers.Layer) -> str:
    """At least single precision, whatever the policy: a sum over time in half precision soon stops growing."""
    return keras.backend.result_type(layer.variable_dtype, "float32")


def at_one_step(layer: keras.layers.Layer, inputs: Tensor, input_shape: tuple) -> Tensor:
    """Calls a layer on one step: on a sequence of length 1 if the layer was built for sequences.

    Some layers remember the number of axes that they were built with.
    """
    if len(input_shape) == len(inputs.shape):
        return layer(inputs)
    return ops.squeeze(layer(ops.expand_dims(inputs, 1)), axis=1)


def streamer_of(layer: keras.layers.Layer, input_shape: tuple, length: int | None) -> Streamer:
    """The registered streamer of a layer; the arguments are those of `Streamer`.

    Raises:
        NotImplementedError: there is none; the message lists the supported layers.
    """
    for layer_class in type(layer).__mro__:
        if layer_class in _STREAMERS:
            return _STREAMERS[layer_class](layer, input_shape, length)
    raise NotImplementedError(
        f"Layer {layer.name!r} ({type(layer).__name__}) cannot run step by step. Supported: "
        f"{', '.join(sorted(cls.__name__ for cls in _STREAMERS))}; add yours with keras_s4.streaming.register."
    )


class _StreamingCell(keras.layers.Layer):
    """A streaming model as a cell of `keras.layers.RNN`, which knows how every backend loops.

    RNN wants states of shape `[B, size]`; here they are flattened and restored.
    """

    def __init__(self, streaming: StreamingModel):
        super().__init__(dtype=_state_dtype(streaming), autocast=False)
        self._states = streaming.initial_state(1)
        self._step = streaming.step
        sizes = [math.prod(state.shape[1:]) for state in keras.tree.flatten(self._states)]
        self.state_size = sizes or [1]  # RNN wants a state, even where no layer has one
        self.built = True

    def call(self, samples, flat_states):
        shapes = [state.shape for state in keras.tree.flatten(self._states)]
        if not shapes:
            return self._step(samples, self._states)[0], flat_states
        restored = [ops.reshape(flat, (-1, *shape[1:])) for flat, shape in zip(flat_states, shapes, strict=True)]
        outputs, states = self._step(samples, keras.tree.pack_sequence_as(self._states, restored))
        flat = [
            ops.reshape(state, (-1, size))
            for state, size in zip(keras.tree.flatten(states), self.state_size, strict=True)
        ]
        return outputs, flat


@keras.saving.register_keras_serializable(package="keras_s4")
class StreamingModel(keras.Model):
    """A trained model run step by step: equal to its convolution mode up to rounding.

    `predict(x)` gives the output after every step of whole sequences, `[B, L, ...]`; `initial_state` and `step` are for
    live streams.

    Args:
        model: a built functional or sequential model of registered layers.
        length: steps that an average over time divides by; by default the model's sequence length.

    Raises:
        ValueError: the model is not built, has no readable graph or more than one input or output, averages over time
            of unknown length, or calls a layer twice.
        NotImplementedError: a layer that cannot run step by step, by name.
    """

    def __init__(self, model: keras.Model, length: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.model = model
        self.graph = graph_of(model)
        if len(self.graph.inputs) != 1 or len(self.graph.outputs) != 1 or len(model.input_shape) != 3:
            raise ValueError(
                f"Model {model.name!r} has input shape {model.input_shape} and {len(self.graph.outputs)} output(s); "
                "expected one input [B, L, features] and one output."
            )
        self.length = length if length is not None else model.input_shape[1]
        self._streamers: dict[str, Streamer] = {}
        self.graph.run(self._add_streamer, [tuple(model.input_shape)])
        cell = _StreamingCell(self)
        self._recurrence = keras.layers.RNN(cell, return_sequences=True, dtype=cell.dtype_policy)
        self.built = True

    def initial_state(self, batch: int) -> dict[str, State]:
        """The state of `batch` streams before their first step, by layer name; also what a reset returns to."""
        return {name: streamer.initial_state(batch) for name, streamer in self._streamers.items()}

    def step(self, samples: Tensor, states: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """One step of every stream.

        Args:
            samples: `[B, features]`.
            states: from `initial_state` or the last step.

        Returns:
            the model's output for each stream, and the next states.
        """
        next_states = {}

        def call(layer, inputs):
            outputs, next_states[layer.name] = self._streamers[layer.name].step(inputs, states[layer.name])
            return outputs

        (outputs,) = self.graph.run(call, [samples])
        return outputs, next_states

    def call(self, sequences):
        """The output after each step: `[B, L, features]` to `[B, L, ...]`."""
        return self._recurrence(sequences)

    def get_config(self):
        """Every argument."""
        return {"model": keras.saving.serialize_keras_object(self.model), "length": self.length, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """The streaming model of a deserialised model."""
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})

    def _add_streamer(self, layer, shapes):
        if layer.name in self._streamers:
            raise ValueError(
                f"Layer {layer.name!r} is called more than once; in a stream each call needs a state of its own."
            )
        self._streamers[layer.name] = streamer_of(layer, shapes[0], self.length)
        tensors = [keras.KerasTensor(shape, layer.compute_dtype) for shape in shapes]
        # Not `compute_output_shape`, which few layers of one's own define.
        return layer.compute_output_spec(tensors[0] if len(tensors) == 1 else tensors).shape
