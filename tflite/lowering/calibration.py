"""Scales for the tensors of an integer program, from the values that really occur."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_s4.samples import arrays_by_name
from keras_s4.surgery.calls import input_names
from keras_s4.tflite.lowering.representative import check_array

# Room above the largest value seen in calibration, for tensors whose type has bits to spare.
HEADROOM = 1.25
# The same where all activations have 16 bits, for what is read by products alone: people whom the calibration had not
# seen reached 2.3 times its peaks.
AMPLE_HEADROOM = 2.5
RANGE_CANDIDATES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
# A range is halved so often at most where a function flattens its end: in a rare event the argument of a tanh may be
# thousands of times that of all other steps. An end is flat if its half gives the same, to a part of all results.
HALVINGS, FLAT = 14, 1 / 512


def check_representative_inputs(model: keras.Model, data) -> dict[str, np.ndarray]:
    """The calibration data of every input of a model, by the input's name.

    Args:
        model: built.
        data: an array; of a model with several inputs a list of arrays in the model's order, or a dict by name.

    Raises:
        TypeError: data that holds no real numbers.
        ValueError: another number of arrays, unknown names, numbers of sequences or steps that differ, or what
            `check_representative_data` refuses.
    """
    names = input_names(model)
    arrays = arrays_by_name(names, data, f"Model {model.name!r}")
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    checked = [
        check_array(array, shape, name, model.name) for array, shape, name in zip(arrays, shapes, names, strict=True)
    ]
    if len({array.shape[:2] for array in checked}) > 1:
        raise ValueError(
            f"Representative data has shapes {[list(array.shape) for array in checked]}; expected as many sequences, "
            "and as many steps, of every input."
        )
    return dict(zip(names, checked, strict=True))


def check_representative_data(model: keras.Model, data: np.ndarray) -> np.ndarray:
    """The calibration data of a model with one input as float64 `[B, L, features]`.

    Raises:
        ValueError: no data, another shape than the model's input, or NaN.
    """
    return check_array(data, model.input_shape, model.inputs[0].name, model.name)


def power_of_two_scale(largest: float, bits: int, headroom: float = HEADROOM, finest: float = 0.0) -> float:
    """The smallest power of two with which `largest * headroom` still fits a signed integer of `bits` bits.

    It is not below `finest`, the scale of what is rounded: where calibration saw nothing but zeros, no range is known.
    """
    return 2.0 ** np.ceil(np.log2(max(max(largest * headroom, 1e-12) / (2 ** (bits - 1) - 1), finest)))


def int8_range(
    values: np.ndarray, function: Callable[[np.ndarray], np.ndarray], finest: float = 0.0
) -> tuple[float, int]:
    """Scale and zero point of an int8 tensor that lose least of `function(values)`, in mean squared error.

    What `function` flattens (the tails of a sigmoid, the left side of a GELU) then costs no resolution. `finest` is as
    in `power_of_two_scale`.
    """
    sample = np.random.default_rng(0).choice(values.ravel(), min(values.size, 50_000), replace=False)
    # Both ends are looked at, however rare.
    sample = np.append(sample, [values.min(), values.max()])
    wanted = function(sample)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0, values.min() + 1e-9)

    def candidate(low: float, high: float) -> tuple[float, float, int]:
        scale = max((high - low) / 255.0, 1e-9, finest)
        zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
        rounded = (np.clip(np.rint(sample / scale) + zero_point, -128, 127) - zero_point) * scale
        return float(np.mean((function(rounded) - wanted) ** 2)), float(scale), zero_point

    flat = _flat_ends(np.array([low, high]), function, wanted)
    for ends in ([True, True], [True, False], [False, True]):
        if np.any(ends > flat):
            continue
        ranges = [tuple(np.where(ends, 2.0**-halvings, 1.0) * (low, high)) for halvings in range(HALVINGS + 1)]
        low, high = min(ranges, key=lambda each: candidate(*each)[0])
    best = (np.inf, 1.0, 0)
    for low_part in RANGE_CANDIDATES:
        for high_part in RANGE_CANDIDATES:
            best = min(best, candidate(low * low_part, high * high_part))
    return best[1:]


def _flat_ends(ends: np.ndarray, function: Callable[[np.ndarray], np.ndarray], results: np.ndarray) -> np.ndarray:
    """Which ends of a range, bool `[2]`, a function flattens, so that less of the range may serve it better."""
    if not np.ptp(results):
        return np.zeros(2, bool)
    return (ends != 0.0) & (np.abs(function(ends) - function(ends / 2.0)) <= FLAT * np.ptp(results))


def symmetric_int8_scale(values: np.ndarray) -> float:
    """The power of two that, as the scale of an int8 tensor with zero point 0, loses least in mean squared error."""
    sample = np.random.default_rng(0).choice(values.ravel(), min(values.size, 50_000), replace=False)
    largest = power_of_two_scale(float(np.abs(values).max()), 8, headroom=1.0)

    def error(scale):
        return np.mean((np.clip(np.rint(sample / scale), -128, 127) * scale - sample) ** 2)

    return min((largest, largest / 2, largest / 4), key=error)
