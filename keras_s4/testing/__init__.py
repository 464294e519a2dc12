"""What contributors check their layers with; random architectures and programs from seeds; the shape of experiments.

`check_layer` needs Keras and is loaded when it is first used; programs, targets and experiments do not.
"""

from __future__ import annotations

import importlib

_NAMES = {
    "LayerReport": "keras_s4.testing.layer_check",
    "check_layer": "keras_s4.testing.layer_check",
}

__all__ = list(_NAMES)


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'keras_s4.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
