"""Models and data that commands read, and what they write."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import typer

from keras_s4.cli.kinds import HDF5, KERAS, NPY, NPZ, kind_of
from keras_s4.cli.messages import message_of
from keras_s4.files import json_bytes, write_bytes, write_model

TRAINING = ("x", "y")
VALIDATION = ("x_validation", "y_validation")
SAVE_MODEL = "Save one with model.save('NAME.keras')."
SAVE_DATA = "Write one with numpy.savez('NAME.npz', {})."


def load_model(path: Path):
    """A saved Keras model.

    Where what it was compiled with is not known, as a loss of the user's own, it is not compiled.

    Raises:
        ValueError: there is no such file, it is of another kind or damaged, or holds classes that are not known.
    """
    import keras

    import keras_s4.layers  # noqa: F401  (Keras finds the classes of a saved model only if they are loaded)

    _check_is_file("model", path, SAVE_MODEL)
    _check_is_model(path)
    with warnings.catch_warnings():
        # Of an optimizer that has made no step; no command needs its variables.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        try:
            return keras.saving.load_model(path)
        except Exception as error:  # zipfile, zlib, h5py, json and Keras each have errors of their own
            compiled = error
        try:
            model = keras.saving.load_model(path, compile=False)
        except Exception as error:
            raise ValueError(_unreadable(path, error)) from error
    reason = _unknown_class(compiled) or message_of(compiled).splitlines()[0]
    typer.echo(f"Warning: {path} is used without what it was compiled with: {reason} is not known.", err=True)
    return model


def load_arrays(path: Path, *needed: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file: x, y for training, x_validation, y_validation for choosing.

    An .npy file, which has one array, is taken for `x` where no other is needed.

    Raises:
        ValueError: no such file, one of another kind or a damaged one; an array that is needed is missing, empty, of
            another length than its labels, or holds something other than finite numbers.
    """
    advice = SAVE_DATA.format(", ".join(f"{name}=..." for name in needed))
    _check_is_file("file", path, advice)
    kind = kind_of(path)
    if kind not in (NPZ, NPY):
        words = {KERAS: "a Keras model, not data", HDF5: "an HDF5 file"}.get(kind, kind)
        raise ValueError(f"{path} is no .npz file of arrays, or damaged: it is {words}. {advice}")
    if kind == NPY and needed != ("x",):
        raise ValueError(f"{path} is an .npy file with a single array; {', '.join(needed)} are needed. {advice}")
    try:
        arrays = {"x": np.load(path)} if kind == NPY else _arrays_of_npz(path, needed)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, KeyError, NotImplementedError) as error:
        if "pickle" in str(error):
            raise ValueError(
                f"{path} holds Python objects, as lists of different lengths become; expected arrays of numbers. "
                f"Cut or pad the sequences to one length. {advice}"
            ) from error
        raise ValueError(f"{path} is damaged: {error}. {advice}") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        with np.load(path) as file:
            there = ", ".join(file.files) or "none"
        raise ValueError(f"{path} has no array {', '.join(missing)}; it has {there}. {advice}")
    for name, array in arrays.items():
        _check_numbers(path, name, array)
    for x, y in (TRAINING, VALIDATION):
        if x in arrays and y in arrays and len(arrays[x]) != len(arrays[y]):
            raise ValueError(f"{path} has {len(arrays[x]):,} sequences in {x} and {len(arrays[y]):,} labels in {y}.")
    return arrays


def _arrays_of_npz(path: Path, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in needed if name in file.files}


def check_places(read: Mapping[str, Path | None], files: Mapping[str, Path | None], **folders: Path | None) -> None:
    """Refuses, before the work, what could not be written after it or would replace what was read.

    Args:
        read: the files that are read, by what the user calls them.
        files: that will be written, likewise.
        folders: that will be written into, by the names of their options.

    Raises:
        ValueError: a file that is written twice or read as well, a folder where a file should be, or the reverse.
        OSError: a folder that cannot be written.
    """
    taken = {_place(path): name for name, path in read.items() if path is not None}
    for name, path in files.items():
        if path is None:
            continue
        if _place(path) in taken and not path.is_fifo() and not path.is_char_device():
            raise ValueError(f"{name} and {taken[_place(path)]} are the same file, {path}. Give {name} another name.")
        taken[_place(path)] = name
        if path.is_dir():
            raise ValueError(f"{name} is {path}, which is a folder; give the name of a file.")
        _check_writable(name, path.absolute().parent)
    for name, path in folders.items():
        if path is not None:
            if path.exists() and not path.is_dir():
                raise ValueError(f"--{name} is {path}, which is a file; give the name of a folder.")
            _check_writable(f"--{name}", path.absolute())


def check_model_name(path: Path) -> None:
    """Refuses a name under which Keras does not save.

    Raises:
        ValueError: the name does not end in .keras.
    """
    if path.suffix != ".keras":
        raise ValueError(f"The model cannot be saved as {path}; give a name that ends in .keras.")


def check_figure_name(path: Path | None) -> None:
    """Refuses a kind of figure that cannot be drawn.

    Raises:
        ValueError: the name ends in something else.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if path is not None and _kind_of_figure(path) not in kinds:
        raise ValueError(
            f"--figure is {path}; give a name that ends in .svg, .png, .pdf or another of {', '.join(kinds)}."
        )


def save_model(model, path: Path) -> None:
    """Saves a Keras model, whole or not at all.

    Raises:
        ValueError: the name does not end in .keras.
        OSError: it cannot be written.
    """
    check_model_name(path)
    write_model(_followed(path), model)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Writes figures to a file, if one is wanted."""
    if path is not None:
        write_bytes(_followed(path), json_bytes(figures))


def write_figure(path: Path | None, figure) -> None:
    """Draws a figure into a file of the kind that its name tells, if one is wanted."""
    from keras_s4 import plots

    if path is not None:
        write_bytes(_followed(path), plots.draw(figure, _kind_of_figure(path)))


def _kind_of_figure(path: Path) -> str:
    return path.suffix.removeprefix(".").lower() or "svg"


def _check_is_file(what: str, path: Path, advice: str) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file. {advice}")
    if not path.exists():
        raise ValueError(f"There is no {what} {path}. {advice}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} may not be read: you lack the permission.")


def _check_is_model(path: Path) -> None:
    """Refuses what is no model by its first bytes or its name, since Keras then says that there is no such file."""
    kind = kind_of(path)
    if kind == KERAS and path.suffix != ".keras":
        raise ValueError(f"{path} is a Keras model, but its name does not end in .keras. Rename it.")
    if kind == HDF5 and path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"{path} is an HDF5 file, the format of older Keras versions. Rename it to {path.stem}.h5.")
    if kind == KERAS and not _describes_a_model(path):
        raise ValueError(
            f"{path} is damaged: its config.json describes no model. Copy it again, or save the model again."
        )
    if kind not in (KERAS, HDF5):
        words = {NPZ: "an .npz file of arrays", NPY: "an .npy file with an array"}.get(kind, kind)
        raise ValueError(f"Keras cannot read {path}: it is {words}. {SAVE_MODEL}")


def _describes_a_model(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("config.json"))
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, RecursionError, NotImplementedError):
        return False
    return isinstance(described, dict) and isinstance(described.get("class_name"), str)


def _unreadable(path: Path, error: Exception) -> str:
    """Why Keras could not read a model, and what to do."""
    text = message_of(error)
    unknown = _unknown_class(error)
    if unknown:
        return (
            f"{path} holds {unknown}, which is neither of Keras nor of keras_s4, so this command does not know it. Use "
            "it from Python: import what defines it, under @keras.saving.register_keras_serializable(), load the "
            "model, and call keras_s4.spectrum, keras_s4.reduce or keras_s4.tflite.convert."
        )
    if "Lambda" in text and "safe_mode" in text:
        return (
            f"{path} holds a Lambda layer, whose code is not taken from a file. Write what it computes with layers of "
            "Keras, and save the model again."
        )
    if "No model config found" in text:
        return f"{path} holds weights alone. Save the whole model with model.save('NAME.keras')."
    if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError, json.JSONDecodeError, KeyError, OSError)):
        return f"{path} is damaged: {text}. Copy it again, or save the model again."
    return f"Keras cannot read {path}: {text}"


def _unknown_class(error: BaseException) -> str | None:
    """The class or function of a model that is not known, in words."""
    found = re.search(r"Could not (?:locate|find) (class|function) '([^']+)'", str(error)) or re.search(
        r"(Unknown (?:layer|object|loss function|metric function|optimizer)):? '?\"?([\w>.]+)", str(error)
    )
    return None if found is None else f"the {found[1].lower().removeprefix('unknown ')} {found[2]!r}"


def _check_numbers(path: Path, name: str, array: np.ndarray) -> None:
    """Refuses arrays without sequences, or of anything but finite real numbers."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} has {array.dtype} in {name}; expected real numbers.")
    if array.ndim == 0 or not array.size:
        raise ValueError(f"{path} has {name} of shape {list(array.shape)}; expected sequences along its first axis.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{path} has {array[tuple(place)]} in {name} at {place}; expected finite numbers.")


def _place(path: Path) -> str:
    """What is the same for two names of one file."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return f"{status.st_dev}:{status.st_ino}"


def _check_writable(name: str, folder: Path) -> None:
    there = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ValueError(f"{name} cannot be written: {there} is a file, where a folder should be.")
    try:
        tempfile.TemporaryFile(dir=there).close()  # the permissions alone do not tell
    except OSError as error:
        raise OSError(
            error.errno, f"{name} cannot be written: {there}: {error.strerror}. Choose another folder."
        ) from error


def _followed(path: Path) -> Path:
    """Where a user's own link leads: a file that is asked for by name is written there."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
