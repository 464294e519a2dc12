"""How models are trained: the recipe for each kind of output, its losses and metrics."""

from keras_s4.training.compiling import AUTO, pays_to_compile
from keras_s4.training.epochs import SeededEpochs
from keras_s4.training.losses import BinarySmoothedCrossentropy, MeanSquaredErrorInUnits, SmoothedCrossentropy
from keras_s4.training.metrics import LabelAccuracy, RootMeanSquaredError
from keras_s4.training.normalization import normalize_to
from keras_s4.training.recipe import (
    DROPOUT,
    EPOCHS,
    LEARNING_RATE,
    RETRAIN_EPOCHS,
    RETRAIN_LEARNING_RATE,
    UNDECAYED,
    compile_binary,
    compile_classifier,
    compile_for,
    compile_forecaster,
    compile_multi_label,
    compile_regressor,
    fit_windows,
)

__all__ = [
    "AUTO",
    "DROPOUT",
    "EPOCHS",
    "LEARNING_RATE",
    "RETRAIN_EPOCHS",
    "RETRAIN_LEARNING_RATE",
    "UNDECAYED",
    "BinarySmoothedCrossentropy",
    "LabelAccuracy",
    "MeanSquaredErrorInUnits",
    "RootMeanSquaredError",
    "SeededEpochs",
    "SmoothedCrossentropy",
    "compile_binary",
    "compile_classifier",
    "compile_for",
    "compile_forecaster",
    "compile_multi_label",
    "compile_regressor",
    "fit_windows",
    "normalize_to",
    "pays_to_compile",
]
