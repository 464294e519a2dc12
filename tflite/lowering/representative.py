"""What `convert` may be given as representative data and numbers, and what is said of all else before the work.

Arrays are taken as they are. Of data sets and generators, which may have no end, the first windows are taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.checks import quote
from keras_s4.samples import is_several, real_array
from keras_s4.surgery.calls import input_names

# Windows that are taken of a data set or a generator.
MOST_WINDOWS = 512
# Beyond this, real numbers are fill values or the like.
LARGEST = 1e18
# Below this they are nothing beside any bias.
SMALLEST = 1e-12


def check_count(value: Any, name: str, who: str = "convert") -> int | None:
    """A whole number of 1 or more, or None; numpy's integers are such, truth values and texts are not.

    Raises:
        TypeError: no whole number.
        ValueError: less than 1.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(
            f"{who} received {name}={quote(value)} ({type(value).__name__}); expected a whole number, 1 or more."
        )
    if value < 1:
        raise ValueError(f"{who} received {name}={value}; expected a whole number, 1 or more.")
    return int(value)


def gather(model: keras.Model, data: Any, who: str) -> tuple[Any, str]:
    """Representative data as arrays, and a sentence where only a part of them was taken, otherwise "".

    Args:
        model: built.
        data: an array, or a list or dict of them for several inputs; a list of windows; a `tf.data.Dataset`, a
            generator, a function that returns one, a `keras.utils.PyDataset` or another iterable of batches: of inputs,
            or of `(inputs, targets)`.
        who: asks.

    Raises:
        TypeError: a path, a model, a number, texts, objects or complex numbers.
        ValueError: no batch, or batches that do not fit each other.
    """
    _refuse_what_is_no_data(data, who)
    if callable(data) and not hasattr(data, "__array__"):
        data = data()  # TensorFlow Lite's converter takes such functions
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    names = list(input_names(model))
    if isinstance(data, Mapping):
        return {name: _array(array, f"{who} got data of {name!r}") for name, array in data.items()}, ""
    if hasattr(data, "__array__"):
        return _array(data, f"{who} got data"), ""
    if isinstance(data, (list, tuple)):
        return _of_list(data, shapes, who), ""
    return _of_batches(_batches(data, who), names, shapes, who, type(data).__name__)


def check_array(array: Any, shape: tuple, name: str, model: str) -> np.ndarray:
    """The data of one input as float64 `[B, L, ...]`.

    Args:
        array: what `gather` gave for it.
        shape: of the input, with None for the batch and what is open.
        name: of the input.
        model: its name.

    Raises:
        TypeError: no real numbers.
        ValueError: another shape, no sequence or step, NaN, or numbers that are none of a sensor.
    """
    array = real_array(array, f"Representative data of input {name!r}", finite=False)
    fits = array.ndim == len(shape) and all(
        size in (None, got) for size, got in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"Representative data has shape {list(array.shape)}; model {model!r} takes {list(shape)} as input "
            f"{name!r}. {_remedy(array, shape)}"
        )
    if 0 in array.shape:
        raise ValueError(
            f"Representative data of shape {list(array.shape)} is empty; pass some hundred windows of the training "
            "data, since every scale is chosen from them."
        )
    values = np.asarray(array, np.float64)
    if not (good := np.isfinite(values)).all():
        place = [int(index) for index in np.argwhere(~good)[0]]
        raise ValueError(
            f"Representative data of input {name!r} holds {np.count_nonzero(~good)} NaN or infinite values, the first "
            f"at {place}; remove these sequences, or fill the gaps."
        )
    if 0.0 < np.abs(values).max() < SMALLEST:
        raise ValueError(
            f"Representative data of input {name!r} stays below {np.abs(values).max():.3g}, where nothing can be told "
            f"from zero; expected {SMALLEST:.0g} or more. Give it in other units."
        )
    if np.abs(values).max() > LARGEST:
        raise ValueError(
            f"Representative data of input {name!r} reaches {np.abs(values).max():.3g}; expected numbers below "
            f"{LARGEST:.0g}. Replace fill values, or scale the data."
        )
    return values


def _refuse_what_is_no_data(data: Any, who: str) -> None:
    if isinstance(data, (str, bytes, os.PathLike)):
        name = data if isinstance(data, str) else os.fspath(data) if isinstance(data, os.PathLike) else "bytes"
        load = "np.load(path)['x']" if str(name).endswith(".npz") else "np.load(path)"
        raise TypeError(f"{who} received {name!r} as data; expected an array. Load it first: {load}.")
    if isinstance(data, keras.Model):
        raise TypeError(f"{who} received a model as data; expected windows of the training data, [B, L, features].")
    if data is None or np.isscalar(data):
        raise TypeError(
            f"{who} received {data!r} as data; expected windows of the training data, [B, L, features]: every scale is "
            "chosen from them."
        )


def _array(values: Any, what: str) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(
            f"{what} with masked values, whose numbers would be taken as they are; fill them: np.ma.filled(x, ...)."
        )
    return real_array(values, what, finite=False)


def _of_list(data: Sequence, shapes: list[tuple], who: str) -> Any:
    """A list of arrays for several inputs; or of one; or windows, nested lists too."""
    if not data:
        raise ValueError(f"{who} received an empty list as data; expected windows of the training data.")
    if len(shapes) > 1:
        if len(data) != len(shapes):
            return list(data)  # `arrays_by_name` says what is missing
        return [_array(array, f"{who} got data[{index}]") for index, array in enumerate(data)]
    rank = len(shapes[0])
    if is_several(data) and len(data) == 1 and np.ndim(data[0]) == rank:
        return _array(data[0], f"{who} got data[0]")
    if is_several(data) and len(data) in (2, 3) and np.ndim(data[0]) == rank:
        shapes = ", ".join(str(list(np.shape(array))) for array in data)
        raise ValueError(
            f"{who} received {len(data)} arrays of shapes {shapes} as data of one input; expected the inputs alone, "
            "without labels: pass x of (x, y)."
        )
    return _array(list(data), f"{who} got data")


def _batches(data: Any, who: str) -> Iterator[Any]:
    """The batches of a data set or generator."""
    if isinstance(data, Iterable):
        return iter(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    raise TypeError(
        f"{who} received a {type(data).__name__} as data; expected an array [B, L, features] of windows of the "
        "training data, or a tf.data.Dataset or generator of batches of them."
    )


def _of_batches(
    batches: Iterator[Any], names: list[str], shapes: list[tuple], who: str, kind: str
) -> tuple[list[np.ndarray] | np.ndarray, str]:
    taken: list[list[np.ndarray]] = []
    count = 0
    for batch in batches:
        arrays = _inputs_of_batch(batch, names, who)
        arrays = [
            array[None] if array.ndim == len(shape) - 1 else array for array, shape in zip(arrays, shapes, strict=True)
        ]
        taken.append(arrays)
        count += len(arrays[0])
        if count >= MOST_WINDOWS:
            break
    if not taken:
        raise ValueError(
            f"{who} received a {kind} without a batch as data; a generator that has been read to its end gives no "
            "more. Make a new one."
        )
    shapes_seen = [sorted({array.shape[1:] for array in each}) for each in zip(*taken, strict=True)]
    if any(len(seen) > 1 for seen in shapes_seen):
        lengths = ", ".join(str(list(shape)) for seen in shapes_seen for shape in seen[:4])
        raise ValueError(
            f"{who} received batches of windows of shapes {lengths}; expected windows of one length. Cut or pad them."
        )
    more = next(batches, None) is not None if count >= MOST_WINDOWS else False
    joined = [np.concatenate(each)[:MOST_WINDOWS] for each in zip(*taken, strict=True)]
    said = f"Of the {kind} of representative data the first {MOST_WINDOWS} windows were taken." if more else ""
    return (joined if len(names) > 1 else joined[0]), said


def _inputs_of_batch(batch: Any, names: list[str], who: str) -> list[np.ndarray]:
    """The inputs among what a data set gives at a time: inputs, `(inputs, targets)` or `(inputs, targets, weights)`."""
    with_targets = isinstance(batch, tuple) and len(batch) in (2, 3)
    if with_targets and (len(names) == 1 or isinstance(batch[0], (tuple, list, Mapping))):
        batch = batch[0]
    elif len(names) == 1 and is_several(batch) and len(batch) == 1:
        batch = batch[0]  # a list of the only input, as for TensorFlow Lite's converter
    if isinstance(batch, Mapping):
        if set(batch) != set(names) and not (len(batch) == len(names) == 1):
            raise ValueError(f"{who} received batches of inputs named {sorted(batch)}; expected {names}.")
        batch = list(batch.values()) if len(names) == 1 else [batch[name] for name in names]
    elif len(names) == 1:
        batch = [batch]
    if not isinstance(batch, (tuple, list)) or len(batch) != len(names):
        raise ValueError(
            f"{who} received batches that do not hold the {len(names)} inputs {', '.join(names)}; expected tuples or "
            "dicts of them, or (inputs, targets)."
        )
    return [_array(array, f"{who} got a batch") for array in batch]


def _remedy(array: np.ndarray, shape: tuple) -> str:
    """What to do about another shape than an input's."""
    if array.ndim == len(shape) == 3:
        swapped = (array.shape[2], array.shape[1])
        if all(size in (None, got) for size, got in zip(shape[1:], swapped, strict=True)):
            return "Steps come before features: np.swapaxes(x, 1, 2)."
    if array.ndim == len(shape) - 1:
        if shape[-1] == 1 and len(shape) == 3 and shape[1] in (None, array.shape[1]):
            return "Sequences of one feature need an axis for it: x[..., None]."
        return "Pass windows of the training data, [B, L, features]; a single one is x[None]."
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        return "Take the last axis off: x[..., 0]."
    if array.ndim == len(shape) == 3 and shape[1] not in (None, array.shape[1]):
        return f"Pass windows of the training data, {shape[1]} steps each."
    if array.ndim == len(shape) == 3:
        return f"A step must have {shape[-1]} features, as in training."
    return "Pass windows of the training data, [B, L, features]."
