"""How models are trained: AdamW with warm-up and cosine decay, label smoothing, no decay of poles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

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
    model.compile(
        _optimizer(steps, learning_rate, weight_decay, pole_rate),
        SmoothedCrossentropy(label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=jit_compile,
    )
    return model


def compile_regressor(
    model: keras.Model,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.05,
    jit_compile: bool = True,
    pole_rate: float = 1.0,
) -> keras.Model:
    """Compiles a model of quantities for a training of a known length; the arguments are those of `compile_classifier`.

    Returns:
        The model, with the mean squared error as its loss.
    """
    model.compile(
        _optimizer(steps, learning_rate, weight_decay, pole_rate),
        keras.losses.MeanSquaredError(),
        metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
        jit_compile=jit_compile,
    )
    return model


def _optimizer(steps: int, learning_rate: float, weight_decay: float, pole_rate: float) -> keras.optimizers.Optimizer:
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
    return optimizer


def fit_windows(
    model: keras.Model,
    windows: keras.utils.PyDataset,
    epochs: int,
    learning_rate: float = LEARNING_RATE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    jit_compile: bool = True,
    compile_model: Callable[..., keras.Model] = compile_classifier,
) -> keras.callbacks.History:
    """Trains a model on batches of windows.

    Args:
        model: from windows to class probabilities, or to what `compile_model` compiles it for.
        windows: batches, as those of `keras_s4.augmentation`.
        epochs: of the training.
        learning_rate: the largest.
        callbacks: see `keras.Model.fit`.
        jit_compile: by XLA.
        compile_model: `compile_classifier`, or `compile_regressor` for quantities.
    """
    compile_model(model, epochs * len(windows), learning_rate, jit_compile=jit_compile)
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
