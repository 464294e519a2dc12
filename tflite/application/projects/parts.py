"""What every kind of project holds: the model with its application, the kernels, and known samples with results."""

from __future__ import annotations

from pathlib import Path

from keras_s4.tflite.application.firmware import render_firmware, windows_of
from keras_s4.tflite.application.projects.export import Export
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.names import LIBRARY

TEMPLATES = Path(__file__).parent / "templates"
KERNELS = "keras_s4_kernels"


def licence() -> str:
    """The text of the licence of kernels and generated code."""
    return (TEMPLATES / "LICENSE").read_text()


def kernel_files() -> dict[str, str]:
    """All kernels, whichever a model calls: two models in one firmware then share them."""
    return {path.name: path.read_text() for path in sorted(LIBRARY.iterdir()) if path.suffix in (".c", ".h")}


def model_files(export: Export) -> dict[str, str]:
    """The model as C99, without kernels."""
    window = windows_of(export.program, export.manifest["window_length"]) or None
    sources = c_source(export.program, export.name, window)
    return {name: text for name, text in sources.items() if name not in kernel_files()}


def application_files(export: Export) -> dict[str, str]:
    """The application around the model, and the board that plays known samples to it."""
    return render_firmware(
        export.program, dict(export.manifest), export.golden, export.name, export.decision, export.sensors
    )
