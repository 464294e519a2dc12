"""`.npz` files and arrays: x `[R, L, features]`, y, groups."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.checks import quote
from keras_s4.recordings.frame import Frame, as_texts, join_names
from keras_s4.recordings.layout import Source
from keras_s4.samples import real_array

SAVE = "Write it with numpy.savez('NAME.npz', x=..., y=..., groups=...)."
# Names of arrays; of those for one split `_train`, `_validation` or `_test` stands behind.
SPLITS = ("train", "validation", "test")
KNOWN = ("x", "y", "groups", "lengths", "splits")
OF_ALL = ("rate", "classes", "features", "targets")


def read_npz(path: Path, name: str, source: Source) -> list[Frame]:
    """The recordings of an .npz file; see `frames_of_arrays`.

    Raises:
        ValueError: it is damaged, holds Python objects, or its arrays do not fit each other.
    """
    try:
        content = np.load(path)
        if isinstance(content, np.ndarray):
            raise ValueError("it holds a single array")
        with content as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, KeyError, NotImplementedError) as error:
        if "pickle" in str(error):
            raise ValueError(
                f"{path.name} holds Python objects, as lists of different lengths and columns of pandas become; "
                "expected arrays of numbers or texts. Pad x with NaN at the end to one length, or save lengths=[...] "
                f"as well; of names save np.array(y, str). {SAVE}"
            ) from error
        raise ValueError(f"{path.name} is no .npz file, or damaged: {error}. {SAVE}") from error
    return frames_of_arrays(arrays, name)


def frames_of_arrays(arrays: Mapping[str, Any], name: str) -> list[Frame]:
    """Recordings in arrays, with columns "x" or "x 1", "x 2", and "label", "label 1", "group", "split".

    Args:
        arrays: by name: `x` `[R, L, features]` or `[R, L]`, or a list of R arrays `[steps, features]`; `y` `[R]`,
            `[R, T]`, or of each step `[R, L]` or `[R, L, T]`, or a list likewise; `groups` `[R]`; `lengths` `[R]`, the
            steps before the padding; `splits` `[R]`, texts; `rate`, a number; `features`, names. Or `x_train`,
            `x_validation`, `x_test` and so on.
        name: of the file, for messages.

    Raises:
        ValueError: no x, other arrays, or other numbers of them.
        TypeError: they hold something other than numbers.
    """
    there = [""] if "x" in arrays else [split for split in SPLITS if f"x_{split}" in arrays]
    if not there:
        raise ValueError(f"{name} has no array x; it has {join_names(arrays)}. {SAVE}")
    _check_names(arrays, there, name)
    return [frame for split in there for frame in _frames(arrays, name, split)]


def _check_names(arrays: Mapping[str, Any], splits: list[str], name: str) -> None:
    """Refuses arrays that are not read and seem to be labels or groups.

    Raises:
        ValueError: there is one with an entry a recording; says which names are known.
    """
    known = {key + (f"_{split}" if split else "") for key in KNOWN for split in splits} | set(OF_ALL)
    counts = {len(arrays[f"x_{split}" if split else "x"]) for split in splits}
    foreign = [
        key for key, array in arrays.items() if key not in known and (np.shape(array)[:1] or (0,))[0] in counts - {0}
    ]
    foreign += [key for key in arrays if key not in known and key.startswith(("x_", "y_")) and key not in foreign]
    if foreign:
        raise ValueError(
            f"{name} has the arrays {join_names(foreign)}, which are not read; expected {', '.join(KNOWN)}, or these "
            f"with {', '.join('_' + split for split in SPLITS)}. Rename them, or leave them out."
        )


def _frames(arrays: Mapping[str, Any], name: str, split: str) -> list[Frame]:
    behind = f"_{split}" if split else ""
    given = {key: arrays[key + behind] for key in KNOWN if key + behind in arrays}
    who = f"{name} has x{behind}"
    if not len(given["x"]):
        raise ValueError(f"{who} of no recording; expected some.")
    signals = _signals(given["x"], who)
    steps = _steps(given, signals, who)
    features = _feature_names(arrays, {signal.shape[1] for signal in signals}, who)
    rate = float(np.asarray(arrays["rate"]).reshape(())) if "rate" in arrays else None
    frames = []
    for index, signal in enumerate(signals):
        columns = dict(zip(features, signal[: steps[index]].T, strict=True))
        columns |= _label_columns(given, index, len(signal), steps[index], who)
        for key, column in (("groups", "group"), ("splits", "split")):
            if key in given:
                columns[column] = _repeat(np.asarray(given[key])[index], steps[index])
        if split:
            columns["split"] = _repeat(split, steps[index])
        frames.append(Frame(f"{name}[{index}]", columns, rate))
    return frames


def _signals(x: Any, who: str) -> list[np.ndarray]:
    """Signals `[steps, features]`, float64, NaN for what is not finite."""
    several = isinstance(x, (list, tuple))
    arrays = (
        [real_array(signal, f"{who}[{index}]", finite=False) for index, signal in enumerate(x)]
        if several
        else [real_array(x, who, finite=False)]
    )
    wanted = (1, 2) if several else (2, 3)
    if not arrays or any(array.ndim not in wanted for array in arrays):
        shapes = join_names(dict.fromkeys(str(list(array.shape)) for array in arrays))
        form = "signals [steps, features]" if several else "[recordings, steps, features]"
        raise ValueError(f"{who} of shape {shapes}; expected {form}.")
    signals = arrays if several else list(arrays[0])
    signals = [np.asarray(signal if signal.ndim == 2 else signal[:, None], np.float64) for signal in signals]
    return [np.where(np.isfinite(signal), signal, np.nan) for signal in signals]


def _steps(given: Mapping[str, Any], signals: list[np.ndarray], who: str) -> list[int]:
    """How many steps of each recording are no padding; NaN at the end are."""
    for key in ("y", "groups", "lengths", "splits"):
        if key in given and len(given[key]) != len(signals):
            raise ValueError(f"{who} of {len(signals)} recordings and {len(given[key])} {key}; expected as many.")
    if "lengths" in given:
        lengths = [int(length) for length in given["lengths"]]
        if any(not 0 < length <= len(signal) for length, signal in zip(lengths, signals, strict=True)):
            raise ValueError(f"{who} of {len(signals[0])} steps and lengths from {min(lengths)} to {max(lengths)}.")
        return lengths
    ends = [np.flatnonzero(~np.isnan(signal).all(axis=1)) for signal in signals]
    return [int(end[-1]) + 1 if end.size else 0 for end in ends]


def _label_columns(given: Mapping[str, Any], index: int, length: int, steps: int, who: str) -> dict[str, np.ndarray]:
    """The labels of a recording as columns, each of one value if they are the recording's."""
    if "y" not in given:
        return {}
    label = np.asarray(given["y"][index])
    if label.dtype.kind == "O":
        raise ValueError(f"{who} and y of Python objects; expected numbers or texts.")
    if label.ndim and len(label) == length and (label.ndim == 2 or length > 1):
        label = label[:steps].reshape(steps, -1)
    elif label.ndim < 2:
        label = np.broadcast_to(label.reshape(1, -1), (steps, label.size))
    else:
        raise ValueError(f"{who} of {length} steps and y of shape {list(label.shape)} a recording; expected labels.")
    names = ["label"] if label.shape[1] == 1 else [f"label {column + 1}" for column in range(label.shape[1])]
    return {name: _column(label[:, column]) for column, name in enumerate(names)}


def _column(values: np.ndarray) -> np.ndarray:
    """A column of numbers, or of texts."""
    if values.dtype.kind in "iufb":
        return values.astype(np.float64)
    return as_texts(values.astype(str).astype(object))


def _repeat(value: Any, steps: int) -> np.ndarray:
    """One value at all steps."""
    (text,) = as_texts(np.array([float(value)]) if isinstance(value, (int, float, np.number)) else np.array([value]))
    return np.full(steps, text, object)


def _feature_names(arrays: Mapping[str, Any], widths: set[int], who: str) -> list[str]:
    if len(widths) > 1:
        raise ValueError(f"{who} of {quote(sorted(widths))} features; expected equally many in all recordings.")
    (width,) = widths
    names = [str(name) for name in np.asarray(arrays.get("features", [])).reshape(-1)]
    if names and len(names) != width:
        raise ValueError(f"{who} of {width} features and {len(names)} names of them; expected as many.")
    return names or (["x"] if width == 1 else [f"x {index + 1}" for index in range(width)])
