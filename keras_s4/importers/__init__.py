"""Models trained elsewhere, in PyTorch or JAX, as Keras models.

What reads files and recognises layers needs no Keras; `load`, which builds the model, is loaded when it is first used.
"""

from __future__ import annotations

import importlib

from keras_s4.importers.checkpoint import CheckpointError

__all__ = ["CheckpointError", "load"]


def __getattr__(name: str):
    if name == "load":
        return importlib.import_module("keras_s4.importers.loading").load
    raise AttributeError(f"module 'keras_s4.importers' has no attribute {name!r}")
