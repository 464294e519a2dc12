"""What the C kernels of steps in delta form take, which generated C and the custom operator of the `.tflite` call."""

from __future__ import annotations

import enum
from pathlib import Path

import numpy as np

from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import DiagonalStep, ModalStep
from keras_s4.tflite.program.tensors import Tensor

# Where the kernels' files lie.
LIBRARY = Path(__file__).parents[1] / "c99" / "library"
STATE_LIMIT = 2**30
# Marks of a mode, as S4_MODE in C has them above the readout: what ends with it, the modes before one that takes longer
# or the channel; and whether its rounding errors are fed back.
LAST_PLAIN, LAST, FED_BACK = 1, 3, 2**14
_OUTSIDE = "poles outside the unit circle"
_OTHER_UNITS, _OTHER_LIMIT = "a hidden state of other units than 2**15 of the state's", "another limit than 2**30"


def check_supported(operation: DiagonalStep) -> None:
    """Refuse what the kernel leaves out: of what lowerings make, layers of more modes than 32 bits can add up.

    Raises:
        NotImplementedError: a step in a form that the kernel leaves out.
    """
    state, hidden = operation.state, operation.hidden
    decay, rotation = operation.decay.data, operation.rotation.data
    reasons = {
        "readouts of imaginary parts": np.any(operation.readout.data[1]),
        _OTHER_UNITS: _has_other_units(state, hidden),
        f"sums of {state.shape[1]} modes beyond 32 bits": largest_sum(operation) >= 2**31,
        _OUTSIDE: is_outside(decay, rotation),
        "modes without feedback behind some with it": np.any(np.diff(_fed_back(operation).astype(int), axis=0) < 0),
        _OTHER_LIMIT: operation.limit not in (0, STATE_LIMIT),
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise NotImplementedError(
            f"The C kernels of DSS layers do not know {', '.join(found)} ({operation.output.name!r}); use the .tflite."
        )


def check_modal_step(operation: ModalStep) -> None:
    """Refuse what the kernel leaves out, and lowerings do not make.

    Raises:
        NotImplementedError: a step in a form that the kernel leaves out.
    """
    reasons = {
        _OTHER_UNITS: _has_other_units(operation.state, operation.hidden),
        _OUTSIDE: is_outside(operation.decay.data, operation.rotation.data),
        _OTHER_LIMIT: operation.limit not in (0, STATE_LIMIT),
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise NotImplementedError(
            f"The C kernel of banks of modes does not know {', '.join(found)} ({operation.output.name!r}); use the "
            ".tflite."
        )


def _has_other_units(state: Tensor, hidden: Tensor) -> bool:
    return fixed_point.rescale_multiplier(state.scale, hidden.scale) != Multiplier(1 << 30, -14)


def is_outside(decay: np.ndarray, rotation: np.ndarray) -> bool:
    """Whether a pole is where none inside the unit circle is, so that sums of the kernels may leave 32 bits."""
    too_far = (rotation >= 2**15) | (rotation <= -(2**15))  # of all 32 bits, whose least has no magnitude
    return bool(np.any(too_far | (decay > 0) | (decay < -(2**16))))


class Form(enum.IntEnum):
    """Which form of a step the kernel computes; each does what those before it do."""

    FREE = 0
    CLAMPED = 1
    FED_BACK = 2


def form_of(operation: DiagonalStep) -> Form:
    """The form of a step."""
    if operation.feedback is not None:
        return Form.FED_BACK
    return Form.CLAMPED if operation.limit else Form.FREE


def largest_sum(operation: DiagonalStep) -> int:
    """What no channel's readout exceeds, summed over its modes."""
    return 2**15 * int(np.abs(operation.readout.data.astype(np.int64)).sum(axis=(0, 1)).max())


def mode_marks(operation: DiagonalStep) -> np.ndarray:
    """The marks of each mode, `[N, H]`: those whose decay has 17 bits, or that are fed back, take longer."""
    fed = _fed_back(operation)
    longer = fed | (operation.decay.data < -(2**15))
    marks = np.where(fed, FED_BACK, 0)
    first = longer.argmax(axis=0)
    channels = np.flatnonzero(first > 0)
    marks[first[channels] - 1, channels] += LAST_PLAIN
    marks[-1] += LAST
    return marks


def _fed_back(operation: DiagonalStep) -> np.ndarray:
    return np.zeros(operation.decay.shape, bool) if operation.feedback is None else operation.feedback


def mode_words(operation: DiagonalStep) -> np.ndarray:
    """The constants of each mode as the four int32 of `S4_MODE` in C, `[H, N, 4]`."""
    decay, rotation, readout = operation.decay.data, operation.rotation.data, operation.readout.data[0]
    words = [
        *operation.input_gain.data,
        _pair(decay, rotation),
        # Decays from -65536 to -32769 have 17 bits.
        _pair(readout, np.where(decay < -(2**15), -(2**15), 0) + mode_marks(operation)),
    ]
    return np.stack([word.T for word in words], axis=-1).astype(np.int32)


def modal_words(operation: ModalStep) -> np.ndarray:
    """The constants of each mode of a bank as `s4_modal` in C has them, int32 `[N, 4]`: gains, decay, rotation."""
    return np.stack([*operation.input_gain.data, operation.decay.data, operation.rotation.data], axis=-1)


def _pair(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`S4_PAIR`: the lower 16 bits of one integer below those of another."""
    return (low.astype(np.int64) & 0xFFFF) + high.astype(np.int64) * 2**16
