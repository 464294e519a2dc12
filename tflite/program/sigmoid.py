"""Sigmoid and tanh of int16 values, as TensorFlow Lite's kernels compute them: a table of 256 entries, interpolated.

The input is brought to units of 2**-12 / 3 by a multiplication with 3 or 6; the table holds the sigmoid at multiples of
1/24 in units of 2**-16, and `tanh(x) = 2 sigmoid(2 x) - 1`. The result, in units of 2**-15, is within 1.5 units of the
function. Measured on the tflite-micro package, and compared with it at every int16 value by the tests.
"""

from __future__ import annotations

import functools

import numpy as np

from keras_s4.tflite.program.tensors import Tensor

# The kernels take any scale; with these two the input is multiplied by a whole number, and nothing is rounded. They
# cover -8 to 8 and -16 to 16.
INPUT_SCALES = (2.0**-12, 2.0**-11)
OUTPUT_SCALE = 2.0**-15

_LAST = 255
# The kernels' table is the sigmoid rounded to the nearest whole number, but for these entries, which are one more.
_ONE_MORE = (
    *(4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39),
    *(40, 41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255),
)


@functools.cache
def sigmoid_table() -> np.ndarray:
    """The kernels' table: `sigmoid(i / 24) * 2**16` for i = 0 .. 255, int64."""
    table = np.rint(2.0**16 / (1.0 + np.exp(-np.arange(256) / 24.0))).astype(np.int64)
    table[list(_ONE_MORE)] += 1
    table.flags.writeable = False
    return table


def sigmoid_int16(q: np.ndarray, scale: float) -> np.ndarray:
    """LOGISTIC.

    Args:
        q: int16.
        scale: real value of one unit of `q`, of `INPUT_SCALES`.

    Returns:
        int16 of scale 2**-15, not negative.
    """
    place = q.astype(np.int64) * _factor(scale)
    magnitude = _interpolate(np.abs(place), 9, 0x7FFF << 10)
    return ((np.where(place >= 0, magnitude + 512, (1 << 25) - magnitude + 511)) >> 10).astype(np.int16)


def tanh_int16(q: np.ndarray, scale: float) -> np.ndarray:
    """TANH; arguments and result as for `sigmoid_int16`, the result of both signs."""
    place = q.astype(np.int64) * _factor(scale)
    magnitude = _interpolate(np.abs(place), 8, 0xFFFF << 8) - (1 << 23)
    return ((np.where(place >= 0, magnitude + 128, -magnitude + 127)) >> 8).astype(np.int16)


def check_scales(input: Tensor, output: Tensor) -> None:
    """Refuse scales with which the kernels would do something else.

    Raises:
        ValueError: the input's scale is not one of `INPUT_SCALES`, or the output's is not 2**-15.
    """
    if input.scale not in INPUT_SCALES or output.scale != OUTPUT_SCALE:
        raise ValueError(
            f"A sigmoid or tanh from {input.name!r} of scale {input.scale} to {output.name!r} of scale {output.scale}; "
            "expected 2**-12 or 2**-11, and 2**-15."
        )


def _factor(scale: float) -> int:
    return 3 << INPUT_SCALES.index(scale)


def _interpolate(place: np.ndarray, bits: int, beyond: int) -> np.ndarray:
    """The table at `place / 2**bits`, times `2**bits`; `beyond` at its end."""
    table = sigmoid_table()
    index = np.minimum(place >> bits, _LAST - 1)
    fraction = place & ((1 << bits) - 1)
    value = (table[index] << bits) + fraction * (table[index + 1] - table[index])
    return np.where(place >> bits >= _LAST, beyond, value)
