"""Golden vectors: inputs with the outputs and states that every back-end must reproduce bit for bit."""

from __future__ import annotations

import dataclasses
import io

import numpy as np

from keras_s4.brief import Brief
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.program.program import Program, limits

STREAMS, STEPS = 4, 64


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Golden(Brief):
    """Streams that each start from a reset.

    Args:
        inputs: for each input of the program, integers `[B, L, ...]`.
        outputs: for each output, its integers after every step, `[B, L, ...]`.
        states: for each state, its integers after every step, `[B, L, ...]`.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]

    def first(self, streams: int, steps: int) -> Golden:
        """The first steps of the first streams."""
        cut = [
            tuple(array[:streams, :steps] for array in arrays) for arrays in (self.inputs, self.outputs, self.states)
        ]
        return Golden(*cut)

    def npz(self) -> bytes:
        """A numpy archive of `inputs`, `inputs_1`, ..., `outputs`, `outputs_1`, ..., `state_0`, `state_1`, ..."""
        arrays = {**_numbered("inputs", self.inputs), **_numbered("outputs", self.outputs)}
        arrays |= {f"state_{index}": array for index, array in enumerate(self.states)}
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()


def golden_vectors(program: Program, streams: int = STREAMS, steps: int = STEPS) -> Golden:
    """Random full-range inputs, always the same, and what the emulator makes of them."""
    random = np.random.default_rng(0)
    inputs = []
    for tensor in program.inputs:
        values = random.integers(*limits(program, tensor), (streams, steps, *tensor.shape), endpoint=True)
        inputs.append(values.astype(tensor.type))
    names = [state.after.name for state in program.states]
    trace = Emulator(program).trace(inputs, record=names)
    return Golden(tuple(inputs), trace.outputs, tuple(trace.tensors[name] for name in names))


def _numbered(name: str, arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    return {f"{name}_{index}" if index else name: array for index, array in enumerate(arrays)}
