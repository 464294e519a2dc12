"""Saved Keras models, read and written; what is wrong with those that cannot be read."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import keras
import typer

import keras_s4.layers  # noqa: F401  (Keras finds the classes of a saved model only if they are loaded)
from keras_s4.cli.files import check_is_file, check_model_name, follow_link
from keras_s4.cli.kinds import HDF5, KERAS, NPY, NPZ, kind_of
from keras_s4.cli.messages import message_of
from keras_s4.files import write_model

SAVE_MODEL = "Save one with model.save('NAME.keras')."


def load_model(path: Path) -> keras.Model:
    """A saved Keras model.

    Where what it was compiled with is not known, as a loss of the user's own, it is not compiled.

    Raises:
        ValueError: there is no such file, it is of another kind or damaged, or holds classes that are not known.
    """
    check_is_file("model", path, SAVE_MODEL)
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


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a Keras model, whole or not at all.

    Raises:
        ValueError: the name does not end in .keras.
        OSError: it cannot be written.
    """
    check_model_name(path)
    write_model(follow_link(path), model)


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
