"""Writes the folder that a firmware project starts from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from keras_s4.files import write_folder
from keras_s4.tflite.application.custom import custom_application
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.sources import render_sources
from keras_s4.tflite.flatbuffer import Steps, check_steps

if TYPE_CHECKING:
    from keras_s4.tflite.conversion import Converted

# What the C files and functions of every saved folder are called, so that another model needs no other firmware.
C_NAME = "model"


def save(converted: Converted, folder: Path, dss: Steps = "operators") -> Path:
    """Writes the model, its manifest, its C source, golden vectors and two applications, whole or not at all.

    The same model gives the same bytes. With `dss="custom"` there is a third application in `tflm_custom/`.

    Raises:
        OSError: the folder cannot be written; nothing half-written remains.
        NotImplementedError: the program has an operation in a form that C leaves out, such as more than 255
            modes of a DSS layer.
    """
    return write_folder(folder, folder_contents(converted, dss))


def save_c(converted: Converted, folder: Path) -> Path:
    """Writes the C source alone, whole or not at all.

    Raises:
        OSError, NotImplementedError: see `save`.
    """
    return write_folder(folder, _c_files(converted))


def folder_contents(converted: Converted, dss: Steps = "operators") -> dict[str, bytes]:
    """The bytes of each file, by name; `manifest.json`, which holds the hashes of all others, is the last."""
    check_steps(dss)
    program, golden = converted.program, golden_vectors(converted.program)
    also_custom = dss == "custom"
    sources = render_sources(program, converted.manifest, converted.tflite, golden, C_NAME, also_custom=also_custom)
    firmware = render_firmware(program, converted.manifest, golden, C_NAME)
    contents = {"model.tflite": converted.tflite, "golden.npz": golden.npz()}
    contents |= {name: text.encode() for name, text in sources.items()}
    contents |= {f"c99/{name}": content for name, content in _c_files(converted).items()}
    contents |= {f"firmware/{name}": text.encode() for name, text in firmware.items()}
    if also_custom:
        custom = custom_application(program, converted.manifest, golden, C_NAME)
        contents |= {f"tflm_custom/{name}": content for name, content in custom.items()}
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(contents.items())
    }
    manifest = {**converted.manifest, "files": files}
    contents["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return contents


def _c_files(converted: Converted) -> dict[str, bytes]:
    return {name: text.encode() for name, text in converted.c_source(C_NAME).items()}
