"""A loop of steps over sequences, on every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any
State = Any


class StepLoop:
    """Loops `step(inputs, state) -> outputs, next state` over sequences.

    `keras.layers.RNN` loops, which knows how on every backend. It wants one input `[B, T, size]` and states of one
    floating type; others are flattened, cast and restored. Whole numbers in a state are exact below 2^24.

    Args:
        step: takes a list of inputs `[B, ...]` and a state.
        state: any state, for its structure and types.
        shapes: of each input at one step, without the batch.
        dtype: of the outputs.
    """

    def __init__(self, step: Callable, state: State, shapes: list[tuple[int, ...]], dtype: str):
        self._step = step
        self._structure = keras.tree.map_structure(lambda tensor: 0, state)  # None would be no leaf
        self._state_types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in keras.tree.flatten(state)]
        self._shapes = shapes
        self._dtype = dtype
        loop_type = "float64" if "float64" in (*self._state_types, dtype) else "float32"
        self._rnn = keras.layers.RNN(
            _Cell(self._step_of_flat, loop_type), return_sequences=True, return_state=True, dtype=loop_type, name="loop"
        )

    def __call__(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Outputs `[B, T, ...]` and the last state from inputs `[B, T, ...]`."""
        sequence = self._joined(inputs)
        states = [ops.cast(tensor, self._rnn.compute_dtype) for tensor in keras.tree.flatten(state)]
        if not states:  # RNN wants a state
            states = [ops.zeros((ops.shape(sequence)[0], 1), dtype=self._rnn.compute_dtype)]
        outputs, *states = self._rnn(sequence, initial_state=states)
        return ops.cast(outputs, self._dtype), self._restored(states)

    def _step_of_flat(self, inputs, states):
        outputs, next_state = self._step(self._split(inputs), self._restored(states))
        next_states = [ops.cast(tensor, self._rnn.compute_dtype) for tensor in keras.tree.flatten(next_state)]
        return outputs, next_states or states

    def _joined(self, inputs):
        flat = [
            ops.reshape(tensor, (*ops.shape(tensor)[:2], math.prod(shape)))
            for tensor, shape in zip(inputs, self._shapes, strict=True)
        ]
        return flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=-1)

    def _split(self, inputs):
        ends = [sum(math.prod(shape) for shape in self._shapes[: i + 1]) for i in range(len(self._shapes))]
        parts = [inputs[:, end - math.prod(shape) : end] for end, shape in zip(ends, self._shapes, strict=True)]
        return [ops.reshape(part, (-1, *shape)) for part, shape in zip(parts, self._shapes, strict=True)]

    def _restored(self, states):
        restored = [ops.cast(tensor, dtype) for tensor, dtype in zip(states, self._state_types, strict=False)]
        return keras.tree.pack_sequence_as(self._structure, restored)


class _Cell(keras.layers.Layer):
    """A function as a cell of `keras.layers.RNN`."""

    def __init__(self, function, dtype):
        super().__init__(dtype=dtype, autocast=False, name="step")
        self.function = function
        self.state_size = [1]  # RNN uses it for initial states, which it is given here
        self.built = True

    def call(self, inputs, states):
        return self.function(inputs, states)
