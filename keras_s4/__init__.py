"""S4 models with diagonal state space layers in Keras: train, reduce, retrain, and export to microcontrollers.

Its modules are loaded when they are first used, so that `keras_s4.systems` and `keras_s4.reduction` need no Keras.
"""

from __future__ import annotations

import importlib

from keras_s4.registration import register_once_keras_is_loaded

_MODULES = {
    name: f"keras_s4.{name}"
    for name in (
        "architectures",
        "augmentation",
        "compression",
        "datasets",
        "decisions",
        "importers",
        "initializers",
        "layers",
        "models",
        "optimizers",
        "reduction",
        "regularizers",
        "resampling",
        "streaming",
        "systems",
        "tflite",
        "training",
    )
} | {
    "kernels": "keras_s4.dss.kernels",
    "lengths": "keras_s4.surgery.lengths",
    "quantization": "keras_s4.tflite.quantization",
    "ranks": "keras_s4.compression.ranks",
}
_FUNCTIONS = {
    "at_length": "keras_s4.surgery.lengths",
    "at_rate": "keras_s4.resampling",
    "average_models": "keras_s4.surgery.averaging",
    "compile_binary": "keras_s4.training",
    "compile_classifier": "keras_s4.training",
    "compile_for": "keras_s4.training",
    "compile_forecaster": "keras_s4.training",
    "compile_multi_label": "keras_s4.training",
    "compile_regressor": "keras_s4.training",
    "error_bound": "keras_s4.compression",
    "normalize_to": "keras_s4.training",
    "quantize_aware": "keras_s4.tflite.quantization",
    "rank_tuning": "keras_s4.compression",
    "reduce": "keras_s4.compression",
    "run": "keras_s4.job.pipeline",
    "search": "keras_s4.compression.search",
    "search_architectures": "keras_s4.architecture_search",
    "spectrum": "keras_s4.compression",
}

__all__ = [*_MODULES, *_FUNCTIONS]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'keras_s4' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


register_once_keras_is_loaded()
