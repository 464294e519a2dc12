"""The state struct of generated C as bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_s4.tflite.c99.interface import states_in_modes
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


class StateLayout:
    """Reads and writes the states of a program in the struct that its C has for them.

    Args:
        program: the integer program.
        offsets: where in the struct each state begins, in bytes.
    """

    def __init__(self, program: Program, offsets: Sequence[int]):
        self.tensors = [state.before for state in program.states]
        self.offsets = [int(offset) for offset in offsets][: len(self.tensors)]
        self._in_modes = states_in_modes(program)

    def write(self, states: Sequence[np.ndarray], struct: np.ndarray) -> None:
        """Put states into the bytes of a struct."""
        for values, tensor, offset in zip(states, self.tensors, self.offsets, strict=True):
            stored = np.ascontiguousarray(self.swap_axes(tensor, values)).view(np.uint8).ravel()
            struct[offset : offset + stored.size] = stored

    def read(self, structs: np.ndarray) -> list[np.ndarray]:
        """The states in structs `[L, bytes]`, each `[L, ...]` in the program's order of axes."""
        states = []
        for tensor, offset in zip(self.tensors, self.offsets, strict=True):
            size = np.dtype(tensor.type).itemsize * math.prod(tensor.shape)
            flat = np.ascontiguousarray(structs[:, offset : offset + size]).view(tensor.type)
            shape = tensor.shape[::-1] if tensor.name in self._in_modes else tensor.shape
            states.append(self.swap_axes(tensor, flat.reshape(len(structs), *shape)))
        return states

    def swap_axes(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        """From `[.., 2, N, H]`, which the program has, to `[.., H, N, 2]`, which C has, or back; others as they are."""
        return np.swapaxes(values, -1, -3) if tensor.name in self._in_modes else values
