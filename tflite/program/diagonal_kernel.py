"""What the C kernel of diagonal steps takes, which generated C and the custom operator of the `.tflite` both call."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import DiagonalStep

# Where the kernel's files lie, and which they are.
LIBRARY = Path(__file__).parents[1] / "c99" / "library"
FILES = ("keras_s4_arithmetic.h", "keras_s4_diagonal.c", "keras_s4_diagonal.h")
STATE_LIMIT, MOST_MODES = 2**30, 255


def check_supported(operation: DiagonalStep) -> None:
    """Refuse what the kernel leaves out: of what lowerings make, layers of more modes than a byte counts.

    Raises:
        NotImplementedError: a step in a form that the kernel leaves out.
    """
    state, hidden = operation.state, operation.hidden
    decay, rotation = operation.decay.data, operation.rotation.data
    reasons = {
        "readouts of imaginary parts": np.any(operation.readout.data[1]),
        "a hidden state of other units than 2**15 of the state's": fixed_point.rescale_multiplier(
            state.scale, hidden.scale
        )
        != Multiplier(1 << 30, -14),
        f"more than {MOST_MODES} modes": state.shape[1] > MOST_MODES,
        "poles outside the unit circle": np.any(np.abs(rotation) >= 2**15) or np.any((decay > 0) | (decay < -(2**16))),
        "another limit than 2**30": operation.limit not in (0, STATE_LIMIT),
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise NotImplementedError(
            f"The C kernels of DSS layers do not know {', '.join(found)} ({operation.output.name!r}); use the .tflite."
        )


def plain_modes(operation: DiagonalStep) -> np.ndarray:
    """How many modes of each channel, the first ones, have a decay of 16 bits."""
    wide = operation.decay.data < -(2**15)
    return np.where(wide.any(axis=0), wide.argmax(axis=0), len(wide))


def mode_words(operation: DiagonalStep) -> np.ndarray:
    """The constants of each mode as the four int32 of `S4_MODE` in C, `[H, N, 4]`."""
    decay, rotation, readout = operation.decay.data, operation.rotation.data, operation.readout.data[0]
    words = [
        *operation.input_gain.data,
        _pair(decay, rotation),
        # Decays from -65536 to -32769 have 17 bits.
        _pair(readout, np.where(decay < -(2**15), -1, 0)),
    ]
    return np.stack([word.T for word in words], axis=-1).astype(np.int32)


def _pair(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`S4_PAIR`: the lower 16 bits of one integer below those of another."""
    return (low.astype(np.int64) & 0xFFFF) + high.astype(np.int64) * 2**16
