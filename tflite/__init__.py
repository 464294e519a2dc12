"""Export to integer programs: an int8 `.tflite` that runs on TensorFlow Lite Micro with built-in operators only.

`convert` and `verify` need Keras and are loaded when they are first used; the integer program and its readers do not.
"""

from __future__ import annotations

import importlib

_NAMES = {
    "Analysis": "keras_s4.tflite.analysis",
    "analyse": "keras_s4.tflite.analysis",
    "Formats": "keras_s4.tflite.formats",
    "compare_formats": "keras_s4.tflite.formats",
    "Converted": "keras_s4.tflite.firmware",
    "convert": "keras_s4.tflite.conversion",
    "estimate": "keras_s4.costs",
    "measure": "keras_s4.tflite.measuring",
    "Verification": "keras_s4.tflite.verification",
    "verify": "keras_s4.tflite.verification",
    "Replay": "keras_s4.tflite.web",
    "web_page": "keras_s4.tflite.web",
}

__all__ = list(_NAMES)


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'keras_s4.tflite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
