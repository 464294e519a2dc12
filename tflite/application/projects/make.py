"""`make`: the model, its kernels and a Makefile, for this computer and for Cortex-M."""

from __future__ import annotations

from keras_s4.tflite.application.own_names import own_names
from keras_s4.tflite.application.projects.export import Export
from keras_s4.tflite.application.projects.parts import (
    KERNELS,
    TEMPLATES,
    application_files,
    kernel_files,
    licence,
    model_files,
)
from keras_s4.tflite.c99.rendering import render

# Of the application what is the self-check's alone.
CHECK = ("main.c", "board_host.c", "golden.h")


def make_project(export: Export) -> dict[str, bytes]:
    """Static libraries of the model and of the kernels, and a self-check on this computer."""
    application = application_files(export)
    del application["Makefile"]
    texts = {f"{KERNELS}/{name}": text for name, text in kernel_files().items()}
    texts |= {f"{export.name}/{name}": text for name, text in model_files(export).items()}
    for name, text in application.items():
        texts[f"{'selfcheck' if name in CHECK else export.name}/{name}"] = text
    context = {"title": export.title, "name": export.name, "kernels": KERNELS}
    for name in ("Makefile", "README.md"):
        texts[name] = render(TEMPLATES / "make" / f"{name}.jinja", **context)
    texts = own_names(texts, export.own_name) | {"LICENSE": licence()}
    return {name: text.encode() for name, text in texts.items()}
