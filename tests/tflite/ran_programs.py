"""A program run by the emulator and by TensorFlow Lite Micro, which must agree."""

import numpy as np

from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.runtimes import run_tflm


def listed(outputs) -> list[np.ndarray]:
    return [outputs] if isinstance(outputs, np.ndarray) else list(outputs)


def ran(program: Program, inputs: np.ndarray, tflite: bytes | None = None):
    """Outputs and states `[B, L, ...]` of the emulator; TensorFlow Lite Micro's are the same."""
    touched = {tensor.name for tensor in program.tensors()}
    names = [state.after.name for state in program.states if state.after.name in touched]
    trace = Emulator(program, check_overflow=True).trace(inputs, names)
    outputs, states = run_tflm(tflite or to_tflite(program), inputs, keep_states=True)
    measured = dict(zip([state.after.name for state in program.states], states, strict=True))
    emulated = [*trace.outputs, *(trace.tensors[name] for name in names)]
    for ours, theirs in zip(emulated, [*listed(outputs), *(measured[name] for name in names)], strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    return trace.outputs, {state.before.name: measured[state.after.name] for state in program.states}
