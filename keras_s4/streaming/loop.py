"""A loop of steps over sequences, on every backend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_s4.streaming.plan import Flow

Tensor = Any
State = Any


class StepLoop:
    """Loops `step(inputs, state) -> outputs, next state` over sequences.

    `keras.layers.RNN` loops, which knows how on every backend. It wants one input and one output `[B, T, size]`, and
    states of one floating type; others are flattened, joined, cast and restored. Whole numbers are exact below 2^24.

    Args:
        step: takes a list of inputs `[B, ...]` and a state, and gives a list of outputs `[B, ...]` and the next state.
        state: any state, for its structure and types.
        inputs: what the inputs are at one step.
        outputs: what the outputs are at one step.
    """

    def __init__(self, step: Callable, state: State, inputs: Sequence[Flow], outputs: Sequence[Flow]):
        self._step = step
        self._structure = keras.tree.map_structure(lambda tensor: 0, state)  # None would be no leaf
        self._state_types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in keras.tree.flatten(state)]
        self._inputs = inputs
        self._outputs = outputs
        types = (*self._state_types, *(flow.dtype for flow in outputs))
        loop_type = "float64" if "float64" in types else "float32"
        self._rnn = keras.layers.RNN(
            _Cell(self._step_of_flat, loop_type), return_sequences=True, return_state=True, dtype=loop_type, name="loop"
        )

    def __call__(self, inputs: list[Tensor], state: State) -> tuple[list[Tensor], State]:
        """Outputs `[B, T, ...]` and the last state from inputs `[B, T, ...]`."""
        sequence = _join([ops.reshape(tensor, (*ops.shape(tensor)[:2], _size(tensor, 2))) for tensor in inputs])
        states = [ops.cast(tensor, self._rnn.compute_dtype) for tensor in keras.tree.flatten(state)]
        if not states:  # RNN wants a state
            states = [ops.zeros((ops.shape(sequence)[0], 1), dtype=self._rnn.compute_dtype)]
        outputs, *states = self._rnn(sequence, initial_state=states)
        split = _split(outputs, self._outputs)
        return [ops.cast(each, flow.dtype) for each, flow in zip(split, self._outputs, strict=True)], self._restore(
            states
        )

    def _step_of_flat(self, inputs, states):
        outputs, next_state = self._step(_split(inputs, self._inputs), self._restore(states))
        outputs = [ops.reshape(tensor, (-1, _size(tensor, 1))) for tensor in outputs]
        if len(outputs) > 1:
            outputs = [ops.cast(tensor, self._rnn.compute_dtype) for tensor in outputs]
        next_states = [ops.cast(tensor, self._rnn.compute_dtype) for tensor in keras.tree.flatten(next_state)]
        return _join(outputs), next_states or states

    def _restore(self, states):
        restored = [ops.cast(tensor, dtype) for tensor, dtype in zip(states, self._state_types, strict=False)]
        return keras.tree.pack_sequence_as(self._structure, restored)


def _size(tensor: Tensor, axis: int) -> int:
    """Numbers in all axes from one on."""
    return math.prod(tensor.shape[axis:])


def _join(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=-1)


def _split(joined: Tensor, flows: Sequence[Flow]) -> list[Tensor]:
    """Tensors `[.., *step_shape]` from one in which they stand side by side, `[.., size]`."""
    sizes = [math.prod(flow.step_shape) for flow in flows]
    ends = list(itertools.accumulate(sizes))
    leading = (-1,) if len(joined.shape) == 2 else ops.shape(joined)[:2]
    return [
        ops.reshape(joined[..., end - size : end], (*leading, *flow.step_shape))
        for end, size, flow in zip(ends, sizes, flows, strict=True)
    ]


class _Cell(keras.layers.Layer):
    """A function as a cell of `keras.layers.RNN`."""

    def __init__(self, function, dtype):
        super().__init__(dtype=dtype, autocast=False, name="step")
        self.function = function
        self.state_size = [1]  # RNN uses it for initial states, which it is given here
        self.built = True

    def call(self, inputs, states):
        return self.function(inputs, states)
