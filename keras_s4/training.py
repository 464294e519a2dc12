"""How a classifier is trained: AdamW with warm-up and cosine decay, label smoothing, no decay of poles."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_s4.augmentation import RandomWindows
from keras_s4.optimizers import slow_poles

# For the smartwatch recordings; how they were chosen is told in scripts/reproduce/smartwatch.py.
EPOCHS = 50
RETRAIN_EPOCHS = 20
LEARNING_RATE = 1e-2
RETRAIN_LEARNING_RATE = 5e-3
DROPOUT = 0.2

# Besides poles and time steps; expressions that are found in the names of weights.
UNDECAYED = ("residues", "feedthrough", "gamma", "beta", "bias")


def compile_classifier(
    model: keras.Model,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    jit_compile: bool = True,
    pole_rate: float = 1.0,
) -> keras.Model:
    """Compiles a classifier with integer labels for a training of a known length.

    Args:
        model: from sequences to class probabilities.
        steps: gradient steps of the whole training; the first tenth warms up.
        learning_rate: the largest.
        weight_decay: of matrices; poles, time steps, residues, gains and offsets have none.
        label_smoothing: part of the label given to all classes evenly.
        jit_compile: by XLA, which pays for itself within a hundred steps.
        pole_rate: the learning rate of poles and time steps as a fraction of that of the other weights; see
            `keras_s4.optimizers.slow_poles`.

    Returns:
        The model.
    """
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    optimizer = slow_poles(keras.optimizers.AdamW(schedule, weight_decay=weight_decay, clipnorm=1.0), pole_rate)
    optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    model.compile(
        optimizer,
        SmoothedCrossentropy(label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=jit_compile,
    )
    return model


def fit_windows(
    model: keras.Model,
    windows: RandomWindows,
    epochs: int,
    learning_rate: float = LEARNING_RATE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    jit_compile: bool = True,
) -> keras.callbacks.History:
    """Trains a classifier on random windows; the arguments are those of `compile_classifier` and `fit`."""
    compile_classifier(model, epochs * len(windows), learning_rate, jit_compile=jit_compile)
    return model.fit(windows, epochs=epochs, verbose=0, callbacks=list(callbacks))


@keras.saving.register_keras_serializable(package="keras_s4")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of class probabilities and integer labels, smoothed.

    Args:
        label_smoothing: part of the label given to all classes evenly, 0 to 1.
    """

    def __init__(self, label_smoothing: float = 0.1, name: str = "smoothed_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """The loss of each sequence, `[B]`."""
        labels = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        wanted = keras.ops.one_hot(labels, y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(wanted, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
