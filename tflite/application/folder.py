"""Writes the folder that a firmware project starts from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from keras_s4.files import write_folder
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.sources import render_sources

if TYPE_CHECKING:
    from keras_s4.tflite.conversion import Converted


def save(converted: Converted, folder: Path) -> Path:
    """Writes the model, its manifest, golden vectors and the C++ application, whole or not at all.

    The same model gives the same bytes.

    Raises:
        OSError: the folder cannot be written; nothing half-written remains.
    """
    return write_folder(folder, folder_contents(converted))


def folder_contents(converted: Converted) -> dict[str, bytes]:
    """The bytes of each file, by name; `manifest.json`, which holds the hashes of all others, is the last."""
    golden = golden_vectors(converted.program)
    sources = render_sources(converted.program, converted.manifest, converted.tflite, golden)
    contents = {"model.tflite": converted.tflite, "golden.npz": golden.npz()}
    contents |= {name: text.encode() for name, text in sources.items()}
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(contents.items())
    }
    manifest = {**converted.manifest, "files": files}
    contents["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return contents
