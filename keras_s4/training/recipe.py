"""How models are trained: AdamW with warm-up and cosine decay, smoothed labels, no decay of poles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_s4.checks import check_model, is_truth_value, number, quote, whole_number
from keras_s4.optimizers import slow_poles
from keras_s4.scoring.heads import BINARY, CLASSES, MULTI_LABEL, REGRESSION, TASKS, Head
from keras_s4.scoring.outputs import last_activations
from keras_s4.training.compiling import AUTO, pays_to_compile
from keras_s4.training.losses import BinarySmoothedCrossentropy, MeanSquaredErrorInUnits, SmoothedCrossentropy
from keras_s4.training.metrics import LabelAccuracy, RootMeanSquaredError
from keras_s4.training.normalization import units_of_outputs, warn_of_unadapted

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
    jit_compile: bool | str = AUTO,
    pole_rate: float = 1.0,
) -> keras.Model:
    """Compiles a classifier for a training of a known length: `model.fit(x, y, ...)` follows.

    Labels are whole numbers, one a sequence `[B]` or one a step `[B, L]`, of which -1
    (`keras_s4.recordings.UNLABELLED`) counts for nothing; or rows of probabilities, as mixed windows have them. A
    `sample_weight` is of sequences or of steps.

    Args:
        model: from sequences to class probabilities, or to logits, `[B, C]` or `[B, L, C]`.
        steps: gradient steps of the whole training, epochs times batches an epoch; the first tenth warms up.
        learning_rate: the largest.
        weight_decay: of matrices; poles, time steps, residues, gains and offsets have none.
        label_smoothing: part of the label given to all classes evenly.
        jit_compile: whether XLA compiles the training step; by default where that pays for itself, see
            `keras_s4.training.pays_to_compile`.
        pole_rate: the learning rate of poles and time steps as a fraction of that of the other weights; see
            `keras_s4.optimizers.slow_poles`.

    Returns:
        The model.

    Raises:
        TypeError: no model.
        ValueError: a model with several outputs, or with an output that gives no classes; numbers out of range.
    """
    who = "compile_classifier"
    activation = _activation_of(model, who)
    if _columns(model) == 1:
        raise ValueError(f"{who} got a model with one output, which cannot tell classes apart; use compile_binary.")
    if activation in ("sigmoid", "hard_sigmoid"):
        raise ValueError(
            f"{who} got a model whose outputs are yes or no each ({activation}); use compile_multi_label, or softmax."
        )
    loss = SmoothedCrossentropy(_smoothing(label_smoothing, who), from_logits=activation in _LOGITS)
    optimizer = _optimizer(who, steps, learning_rate, weight_decay, pole_rate)
    return _compile(who, model, optimizer, loss, LabelAccuracy(), steps, jit_compile)


def compile_binary(
    model: keras.Model,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    jit_compile: bool | str = AUTO,
    pole_rate: float = 1.0,
) -> keras.Model:
    """Compiles a model of one yes or no, `[B, 1]` or `[B, L, 1]`; the arguments are those of `compile_classifier`.

    Labels are 0 or 1, `[B]` or `[B, L]`; -1 counts for nothing.

    Returns:
        The model.
    """
    who = "compile_binary"
    _activation_of(model, who)
    if _columns(model) not in (1, None):
        raise ValueError(
            f"{who} got a model with {_columns(model)} outputs; expected one. Use compile_classifier for "
            "classes, or compile_multi_label for a yes or no of each."
        )
    return _compile_labels(who, model, steps, learning_rate, weight_decay, label_smoothing, jit_compile, pole_rate)


def compile_multi_label(
    model: keras.Model,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    jit_compile: bool | str = AUTO,
    pole_rate: float = 1.0,
) -> keras.Model:
    """Compiles a model that gives a yes or no for each class; the arguments are those of `compile_classifier`.

    Labels are rows of zeros and ones, `[B, C]` or `[B, L, C]`; -1 counts for nothing.

    Returns:
        The model.
    """
    who = "compile_multi_label"
    if _activation_of(model, who) in ("softmax", "log_softmax", "sparsemax"):
        raise ValueError(
            f"{who} got a model whose outputs exclude each other (softmax); expected sigmoid, as of classifier(..., "
            "multi_label=True)."
        )
    return _compile_labels(who, model, steps, learning_rate, weight_decay, label_smoothing, jit_compile, pole_rate)


def compile_regressor(
    model: keras.Model,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.05,
    jit_compile: bool | str = AUTO,
    pole_rate: float = 1.0,
    units: float | Sequence[float] | None = None,
) -> keras.Model:
    """Compiles a model of quantities for a training of a known length; the arguments are those of `compile_classifier`.

    Args:
        model: from sequences to quantities, `[B, T]` or `[B, L, T]`.
        steps, learning_rate, weight_decay, jit_compile, pole_rate: see `compile_classifier`.
        units: what counts as an error of 1, of each quantity or of all; by default the deviations that
            `normalize_to` found, or 1.

    Returns:
        The model, with the mean squared error as its loss, and the metric "rmse" in the unit of the targets.
    """
    return _compile_quantities(
        "compile_regressor", model, steps, learning_rate, weight_decay, jit_compile, pole_rate, units
    )


def compile_forecaster(
    model: keras.Model,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.05,
    jit_compile: bool | str = AUTO,
    pole_rate: float = 1.0,
    units: float | Sequence[float] | None = None,
) -> keras.Model:
    """Compiles a forecaster, `[B, horizon, features]` or `[B, L, horizon, features]`; see `compile_regressor`.

    Returns:
        The model, with the mean squared error as its loss, and the metric "rmse" in the unit of the series.
    """
    return _compile_quantities(
        "compile_forecaster", model, steps, learning_rate, weight_decay, jit_compile, pole_rate, units
    )


_BY_TASK: dict[str, Callable[..., keras.Model]] = {
    CLASSES: compile_classifier,
    BINARY: compile_binary,
    MULTI_LABEL: compile_multi_label,
    REGRESSION: compile_regressor,
}


def compile_for(task: Any, model: keras.Model, steps: int, **arguments) -> keras.Model:
    """Compiles a model for what it is to learn.

    Args:
        task: a `keras_s4.datasets.Task`, a `keras_s4.scoring.heads.Head`, or its word: "classes", "binary",
            "multi_label", "regression", or "forecast".
        model: whose outputs fit the task.
        steps: gradient steps of the whole training.
        arguments: further ones of `compile_classifier` or of its sibling.

    Returns:
        The model.

    Raises:
        ValueError: another task.
    """
    if getattr(task, "horizon", 0) or task == "forecast":
        return compile_forecaster(model, steps, **arguments)
    head = getattr(task, "head", task)
    word = head.task if isinstance(head, Head) else head
    if not isinstance(word, str) or word not in _BY_TASK:
        raise ValueError(
            f"compile_for got task={quote(task)}; expected a Task, a Head, or one of "
            f"{', '.join(map(repr, (*TASKS, 'forecast')))}."
        )
    if word == CLASSES and _columns(model) == 1:
        word = BINARY  # a task of two classes, for which one output is enough
    return _BY_TASK[word](model, steps, **arguments)


def fit_windows(
    model: keras.Model,
    windows: keras.utils.PyDataset,
    epochs: int,
    learning_rate: float = LEARNING_RATE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    jit_compile: bool | str = AUTO,
    compile_model: Callable[..., keras.Model] = compile_classifier,
) -> keras.callbacks.History:
    """Trains a model on batches of windows.

    Args:
        model: from windows to class probabilities, or to what `compile_model` compiles it for.
        windows: batches, as those of `keras_s4.augmentation`.
        epochs: of the training.
        learning_rate: the largest.
        callbacks: see `keras.Model.fit`.
        jit_compile: by XLA; see `compile_classifier`.
        compile_model: `compile_classifier` or one of its siblings.
    """
    compile_model(model, epochs * len(windows), learning_rate, jit_compile=jit_compile)
    return model.fit(windows, epochs=epochs, verbose=0, callbacks=list(callbacks))


# Of outputs that are no probabilities. Where the activation cannot be read, they are taken for some.
_LOGITS = ("linear",)


def _activation_of(model: keras.Model, who: str) -> str | None:
    """The last activation of a model's only output; None if it cannot be read."""
    check_model(model, None, who)
    found = last_activations(model)
    if len(found) != 1:
        raise ValueError(
            f"{who} got a model with {len(found)} outputs, {', '.join(found)}; expected one. Compile several yourself, "
            "with the losses of keras_s4.training."
        )
    return next(iter(found.values()))


def _columns(model: keras.Model) -> int | None:
    """How many numbers a model gives at a time; None if nobody knows before it is called."""
    return (getattr(model, "output_shape", None) or (None,))[-1]


def _smoothing(label_smoothing: float, who: str) -> float:
    return number(label_smoothing, f"{who} got label_smoothing=", 0.0, 1.0)


def _compile_labels(
    who, model, steps, learning_rate, weight_decay, label_smoothing, jit_compile, pole_rate
) -> keras.Model:
    """Compiles a model whose outputs are yes or no each."""
    logits = _activation_of(model, who) in _LOGITS
    loss = BinarySmoothedCrossentropy(_smoothing(label_smoothing, who), from_logits=logits)
    optimizer = _optimizer(who, steps, learning_rate, weight_decay, pole_rate)
    return _compile(who, model, optimizer, loss, LabelAccuracy(0.0 if logits else 0.5), steps, jit_compile)


def _compile_quantities(who, model, steps, learning_rate, weight_decay, jit_compile, pole_rate, units) -> keras.Model:
    """Compiles a model whose outputs are numbers."""
    _activation_of(model, who)
    loss = MeanSquaredErrorInUnits(units_of_outputs(model) if units is None else units)
    optimizer = _optimizer(who, steps, learning_rate, weight_decay, pole_rate)
    return _compile(who, model, optimizer, loss, RootMeanSquaredError(), steps, jit_compile)


def _compile(who, model, optimizer, loss, metric, steps, jit_compile) -> keras.Model:
    if jit_compile != AUTO and not is_truth_value(jit_compile):
        raise ValueError(f"{who} got jit_compile={quote(jit_compile)}; expected True, False or {AUTO!r}.")
    warn_of_unadapted(model)
    compiled = pays_to_compile(model, steps) if jit_compile == AUTO else bool(jit_compile)
    model.compile(optimizer, loss, metrics=[metric], jit_compile=compiled)
    return model


def _optimizer(
    who: str, steps: int, learning_rate: float, weight_decay: float, pole_rate: float
) -> keras.optimizers.Optimizer:
    steps = whole_number(steps, f"{who} got steps=")
    learning_rate = number(learning_rate, f"{who} got learning_rate=", 0.0)
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    weight_decay = number(weight_decay, f"{who} got weight_decay=", 0.0)
    optimizer = slow_poles(keras.optimizers.AdamW(schedule, weight_decay=weight_decay, clipnorm=1.0), pole_rate)
    optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    return optimizer
