"""All that is used of keras-tuner, some of it from inside: the one module that imports it."""

from __future__ import annotations

from keras_s4 import extras

with extras.needed_for("Searches over ranks", "search"):
    extras.require("search", "Searches over ranks", "tensorboard")  # keras-tuner needs it, and does not say so
    import keras_tuner
    from keras_tuner.engine.metrics_tracking import infer_metric_direction
    from keras_tuner.errors import FailedTrialError, FatalRuntimeError

__all__ = ["FailedTrialError", "FatalRuntimeError", "infer_metric_direction", "keras_tuner"]
