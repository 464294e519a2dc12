"""Scales for the tensors of an integer program, from the values that really occur."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_s4.tflite.program import Tensor

# Room above the largest value seen in calibration, for tensors whose type has bits to spare.
HEADROOM = 1.25
RANGE_CANDIDATES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclasses.dataclass(frozen=True)
class Signal:
    """A tensor of the program together with the values that it takes in floating point.

    Args:
        tensor: integers of shape `[H]`.
        values: float64, `[B, L, H]` for each step of B streams, each from its first step on with carried state.
    """

    tensor: Tensor
    values: np.ndarray


def check_representative_data(model: keras.Model, data: np.ndarray) -> np.ndarray:
    """The calibration data as float64 `[B, L, features]`.

    Raises:
        ValueError: no data, another shape than the model's input, or NaN.
    """
    expected = model.input_shape
    data = np.asarray(data, np.float64)
    if data.ndim != len(expected) or any(
        size not in (None, got) for size, got in zip(expected[1:], data.shape[1:], strict=False)
    ):
        raise ValueError(
            f"Representative data has shape {list(data.shape)}; model {model.name!r} takes {list(expected)}. "
            "Pass windows of the training data, [B, L, features]."
        )
    if data.shape[0] == 0 or data.shape[1] == 0:
        raise ValueError(
            f"Representative data of shape {list(data.shape)} is empty; pass some hundred windows of the training "
            "data, since every scale is chosen from them."
        )
    if not np.all(np.isfinite(data)):
        raise ValueError(
            f"Representative data holds {np.count_nonzero(~np.isfinite(data))} NaN or infinite values; remove them."
        )
    return data


def power_of_two_scale(largest: float, bits: int, headroom: float = HEADROOM) -> float:
    """The smallest power of two with which `largest * headroom` still fits a signed integer of `bits` bits."""
    return 2.0 ** np.ceil(np.log2(max(largest * headroom, 1e-12) / (2 ** (bits - 1) - 1)))


def int8_range(values: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> tuple[float, int]:
    """Scale and zero point of an int8 tensor that lose least of `function(values)`, in mean squared error.

    What `function` flattens (the tails of a sigmoid, the left side of a GELU) then costs no resolution.
    """
    sample = np.random.default_rng(0).choice(values.ravel(), min(values.size, 50_000), replace=False)
    wanted = function(sample)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0, values.min() + 1e-9)
    best = (np.inf, 1.0, 0)
    for low_part in RANGE_CANDIDATES:
        for high_part in RANGE_CANDIDATES:
            scale = max((high * high_part - low * low_part) / 255.0, 1e-9)
            zero_point = int(np.clip(np.rint(-128 - low * low_part / scale), -128, 127))
            rounded = (np.clip(np.rint(sample / scale) + zero_point, -128, 127) - zero_point) * scale
            error = np.mean((function(rounded) - wanted) ** 2)
            best = min(best, (float(error), float(scale), zero_point))
    return best[1:]


def symmetric_int8_scale(values: np.ndarray) -> float:
    """The power of two that, as the scale of an int8 tensor with zero point 0, loses least in mean squared error."""
    sample = np.random.default_rng(0).choice(values.ravel(), min(values.size, 50_000), replace=False)
    largest = power_of_two_scale(float(np.abs(values).max()), 8, headroom=1.0)

    def error(scale):
        return np.mean((np.clip(np.rint(sample / scale), -128, 127) * scale - sample) ** 2)

    return min((largest, largest / 2, largest / 4), key=error)
