"""Inputs and outputs that the source of a checkpoint recorded, to check an import against."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_s4.importers.checkpoint import CheckpointError, as_numbers
from keras_s4.importers.readers import numpy_arrays

NAMES = (("x", "y"), ("inputs", "outputs"))


class Recorded(NamedTuple):
    """What went in, and what came out."""

    inputs: np.ndarray
    outputs: np.ndarray


def read_recorded(path: Path) -> Recorded:
    """Inputs and outputs from an `.npz` file.

    Raises:
        ValueError: there is no such file, or it lacks one of them.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Write one with numpy.savez('NAME.npz', x=..., y=...).")
    arrays = numpy_arrays.read(path).arrays
    names = next((pair for pair in NAMES if all(name in arrays for name in pair)), None)
    if names is None:
        raise CheckpointError(f"{path} has {', '.join(arrays)}; expected x and y, or inputs and outputs.")
    inputs, outputs = (as_numbers(arrays[name], f"{path}: {name!r}") for name in names)
    if len(inputs) != len(outputs):
        raise CheckpointError(f"{path} has {len(inputs)} inputs, but {len(outputs)} outputs.")
    return Recorded(inputs.astype(np.float32) if inputs.dtype.kind == "f" else inputs, outputs.astype(np.float64))
