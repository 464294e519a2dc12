"""Models and data that commands read, and what they write."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.files import write_bytes, write_model

TRAINING = ("x", "y")
VALIDATION = ("x_validation", "y_validation")


def load_model(path: Path):
    """A saved Keras model.

    Raises:
        ValueError: there is no such file, or Keras cannot read it.
    """
    import keras

    import keras_s4.layers  # noqa: F401  (Keras finds the classes of a saved model only if they are loaded)

    if not path.is_file():
        raise ValueError(f"There is no model {path}; give a file that model.save('NAME.keras') wrote.")
    try:
        return keras.saving.load_model(path)
    except (OSError, TypeError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"Keras cannot read {path}: {error}") from error


def load_arrays(path: Path, *needed: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file: x, y for training, x_validation, y_validation for choosing.

    Raises:
        ValueError: no such file, a damaged one, or one without an array that is needed.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; write one with numpy.savez, with the arrays {', '.join(needed)}.")
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is no .npz file of arrays, or damaged: {error}") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no array {', '.join(missing)}; it has {', '.join(arrays) or 'none'}. Write it with "
            "numpy.savez(path, x=..., y=..., x_validation=..., y_validation=...)."
        )
    return arrays


def save_model(model, path: Path) -> None:
    """Saves a Keras model, whole or not at all.

    Raises:
        ValueError: the name does not end in .keras.
        OSError: it cannot be written.
    """
    if path.suffix != ".keras":
        raise ValueError(f"The model cannot be saved as {path}; give a name that ends in .keras.")
    write_model(path, model)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Writes figures to a file, if one is wanted."""
    if path is not None:
        write_bytes(path, (json.dumps(figures, indent=2) + "\n").encode())


def write_figure(path: Path | None, figure) -> None:
    """Draws a figure into a file of the kind that its name tells, if one is wanted."""
    from keras_s4 import plots

    if path is not None:
        write_bytes(path, plots.drawn(figure, path.suffix.removeprefix(".") or "svg"))
