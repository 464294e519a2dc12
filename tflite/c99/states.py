"""Diagonal steps of DSS layers."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite import fixed_point
from keras_s4.tflite.c99.translation import INDENT, Translation, translates
from keras_s4.tflite.fixed_point import Multiplier
from keras_s4.tflite.operations import DiagonalStep

HIDDEN_SCALE, STATE_LIMIT, MOST_MODES = 2.0**-15, 2**30, 256


@translates(DiagonalStep)
def translate_diagonal_step(operation: DiagonalStep, source: Translation) -> None:
    """See `operations.DiagonalStep`. A channel's modes lie side by side, real and imaginary part of each together."""
    shifts = _partial_shifts(operation)
    _check(operation, shifts)
    name, output = operation.output.name, operation.output
    multiplier = fixed_point.rescale_multiplier(operation.accumulator_scale, output.scale)
    feedthrough = operation.feedthrough
    layer = source.struct(
        "s4_diagonal",
        f"{name} layer",
        constants=source.array(f"{name} modes", _modes(operation), "s4_mode", note="channels, modes"),
        partial_shift=source.array(f"{operation.partial.name} shift", shifts, "uint8_t"),
        feedthrough=source.array(feedthrough.name, feedthrough.data, "int32_t", feedthrough),
        channels=f"{operation.state.shape[-1]}U",
        modes=f"{operation.state.shape[1]}U",
        partial_gain=operation.partial_gain,
        mantissa=int(multiplier.mantissa),
        shift=int(multiplier.shift),
        zero_point=output.zero_point,
        clamped=int(operation.limit > 0),
    )
    _call(operation, source, "s4_diagonal_step", layer)


def _modes(operation: DiagonalStep) -> np.ndarray:
    """The initialiser of each mode's constants, `[H, N]`."""
    rows = [*operation.input_gain.data, operation.decay.data, operation.rotation.data, operation.readout.data[0]]
    values = np.stack([row.T for row in rows], axis=-1)
    modes = [[f"S4_MODE({', '.join(map(str, mode))})" for mode in channel] for channel in values.tolist()]
    return np.array(modes, dtype=object)


def _call(operation: DiagonalStep, source: Translation, function: str, layer: str) -> None:
    state, x, output = (source.pointer(t) for t in (operation.state, operation.input, operation.output))
    channels = operation.state.shape[-1]
    rows = math.prod(operation.input.shape) // channels
    ends = [x, output] if rows == 1 else [f"&{pointer}[row * {channels}U]" for pointer in (x, output)]
    ends = [*ends, "NULL"] if operation.output.type == "int8" else [ends[0], "NULL", ends[1]]
    if rows == 1:
        source.call("diagonal", function, layer, state, *ends)
        return
    source.kernels.add("diagonal")
    source.statements += [
        f"for (uint32_t row = 0; row < {rows}U; ++row) {{",
        f"{INDENT}{function}({', '.join([layer, state, *ends])});",
        "}",
    ]


def _partial_shifts(operation: DiagonalStep) -> np.ndarray | None:
    """By how many bits the sum of each channel's readout is shifted to the right; None if it is no power of two."""
    scales = np.broadcast_to(operation.readout.scale, operation.state.shape[-1:])
    multiplier: Multiplier = fixed_point.product_multiplier(operation.hidden.scale, scales, operation.partial.scale)
    if np.any(multiplier.mantissa != 1 << 30):
        return None
    return 1 - np.asarray(multiplier.shift)


def _check(operation: DiagonalStep, shifts: np.ndarray | None) -> None:
    """Refuse what the kernels leave out, which is nothing that a lowering makes.

    Raises:
        NotImplementedError: which it is.
    """
    state, hidden = operation.state, operation.hidden
    reasons = {
        "readouts of imaginary parts": np.any(operation.readout.data[1]),
        "scales that are no powers of two, or partial sums as fine as their terms": shifts is None
        or np.any((shifts < 1) | (shifts > 30)),
        f"a hidden state other than 2**-15 of {HIDDEN_SCALE}": fixed_point.rescale_multiplier(state.scale, hidden.scale)
        != Multiplier(1 << 30, -14),
        f"more than {MOST_MODES} modes": state.shape[1] > MOST_MODES,
        "poles outside the unit circle": np.any(np.abs(operation.rotation.data) >= 2**15)
        or np.any((operation.decay.data > 0) | (operation.decay.data < -(2**16))),
        "another limit than 2**30": operation.limit not in (0, STATE_LIMIT),
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise NotImplementedError(
            f"The C kernels of DSS layers do not know {', '.join(found)} ({operation.output.name!r}); use the .tflite."
        )
