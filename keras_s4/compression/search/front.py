"""One call for a whole search: alone, or as the chief or a worker of several processes."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4.checks import is_real, whole_number
from keras_s4.compression.fingerprints import digest
from keras_s4.compression.part import Part
from keras_s4.compression.search import distribution
from keras_s4.compression.search.conducting import TRIALS, begin, conduct
from keras_s4.compression.search.engine import keras_tuner
from keras_s4.compression.search.hypermodel import RankHyperModel
from keras_s4.compression.search.oracles import TUNERS, oracle_of
from keras_s4.compression.search.result import FILES, SearchResult
from keras_s4.compression.search.scoring import (
    Measures,
    check_budgets,
    direction_of,
    excess,
    measure_checked,
    weight_bytes,
)
from keras_s4.compression.search.trials import Trial, TrialFolder, trial_name
from keras_s4.compression.search.tuner import Experiment
from keras_s4.samples import check_examples, is_several
from keras_s4.scoring.outputs import check_training_targets

# Beyond it single precision is infinite.
LARGEST_RATE = 3e38
Measure = Callable[[keras.Model], Mapping[str, float]]


def search(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: tuple[Any, Any],
    folder: str | Path,
    budgets: Mapping[str, float] | None = None,
    measure: Measure | None = None,
    metric: str | None = None,
    direction: str | None = None,
    tuner: str = "bayesian",
    trials: int | None = 20,
    epochs: int = 2,
    seed: int = 0,
    parts: Mapping[str, Part] | None = None,
    methods: Sequence[str] = ("balanced",),
    choices: int | Mapping[str, Sequence[int]] = 8,
    learning_rate: float | None = None,
    batch_size: int = 32,
    retrain: Callable[[keras.Model, int], Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    check_first: bool = True,
    time_limit: float | None = None,
    on_trial: Callable[[Trial], Any] | None = None,
) -> SearchResult:
    """Searches the ranks and the method of reduction with the best metric after a brief training, within budgets.

    Every trial reduces the trained model, trains the result, and measures it. Finished trials are kept in the folder: a
    search that was killed, called again with the same arguments, runs only what is missing, and with a higher `trials`
    goes on from there.

    Several processes share a search if each calls this function with the same arguments and folder, and with
    `KERASTUNER_TUNER_ID` ("chief" once, other names for the workers), `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT` in its environment. The chief runs no trials; it writes the result.

    Args:
        model: trained and compiled, functional or sequential.
        x: training inputs, as for `fit`.
        y: training targets.
        validation_data: inputs and targets that the metric is taken on. Not the data that the result is reported on.
        folder: a folder for the trials and the result: `search.json`, `search.txt` and, with
            matplotlib, `pareto.svg`, `pareto.png`.
        budgets: the most that a model may take, by the names of `measure`: `{"tflite_bytes": 20_000}`. A trial over a
            budget is recorded, and ranked below all within them by how far it is over (see `scoring.score`).
        measure: a function from a model to what it takes, numbers by name, for example
            `functools.partial(keras_s4.tflite.measure, representative_data=x)`. Without it, or if it raises
            NotImplementedError for the model, `weight_bytes`: one byte a weight. The result says which.
        metric: a name from `model.evaluate`; by default "accuracy" if the model has it, otherwise "loss".
        direction: "min" or "max"; by default known from the metric.
        tuner: "bayesian", "hyperband", "random" or "grid" of keras-tuner.
        trials: how many at most, repetitions not counted. With Hyperband every continued training is one. None, for
            "grid" alone, tries all.
        epochs: epochs of training in every trial; with Hyperband, of those that survive longest.
        seed: the seed of the proposals and of every training, at least 0.
        parts: parts by name, whose ranks are searched; None for those of `parts_of(model)`.
        methods: methods of reduction to choose from.
        choices: ranks to choose from in each part; see `RankHyperModel`.
        learning_rate: the learning rate of the training; by default as the model was compiled.
        batch_size: sequences of a batch in training.
        retrain: trains a compiled model for a number of epochs, in place of `fit` on x and y.
        options: further arguments of `keras_s4.reduce`, by method.
        check_first: whether to measure before training, and do not train what is over a budget. Right wherever the
            measures follow from the shapes of a model and hardly from its weights: of a `.tflite`, some bytes in a
            thousand do.
        time_limit: seconds after which no trial is begun, and a chief waits for its workers no longer.
        on_trial: called with every trial that this process ran, or found in the folder.

    Returns:
        The trials so far; in a worker those of all workers.

    Raises:
        ValueError: an impossible argument; a folder with another search, or with files of such names that none wrote.
        OSError: the folder cannot be written or the disk is full. What is finished stays.
        ConnectionError: a worker's chief does not answer.
        Exception: what went wrong in a trial, when three in a row failed.
    """
    role = distribution.role()
    trials, epochs, seed, batch_size = _check_numbers(tuner, trials, epochs, seed, batch_size)
    _check_limits(time_limit, learning_rate)
    deadline = time.monotonic() + (math.inf if time_limit is None else time_limit)
    if not isinstance(validation_data, tuple) or len(validation_data) != 2:
        raise ValueError("search needs validation_data=(inputs, targets); without it the largest model would win.")
    _check_data(model, x, y, validation_data)
    space = RankHyperModel(model, parts, methods, choices, learning_rate, options)
    metric, direction, evaluate = _metric(model, metric, direction, validation_data)
    measure, measured_by, measures = _measure(model, measure)
    budgets = check_budgets(budgets, measures)

    folder = Path(folder)
    files = TrialFolder(folder / TRIALS)
    settings = {
        "model": digest(*map(keras.ops.convert_to_numpy, model.weights)),
        "data": digest(*(values for values in (x, y, *validation_data) if isinstance(values, np.ndarray))),
        "tuner": tuner,
        "epochs": epochs,
        "seed": seed,
        "metric": metric,
        "direction": direction,
        "budgets": budgets,
        "measured_by": measured_by,
        "measures": list(measures),
        "choices": space.choices,
        "methods": space.methods,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
    }
    begin(folder, files, settings, FILES, role)
    _record_original(space, evaluate, measures, budgets, files)

    def fit(model: keras.Model, epochs: int) -> None:
        model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)

    experiment = Experiment(space, retrain or fit, evaluate, measure, budgets, files, epochs, seed, check_first)
    oracle = oracle_of(tuner, _declare(space), trials, epochs, seed)
    conduct(folder, oracle, experiment, direction, deadline, FILES, on_trial)
    result = SearchResult.read(folder)
    if role != "worker":
        result.write()
    return result


def _check_numbers(tuner: str, trials: int | None, epochs: int, seed: int, batch_size: int) -> list[int | None]:
    """The numbers in this order."""
    if tuner not in TUNERS:
        raise ValueError(f"tuner is {tuner!r}; expected one of {', '.join(TUNERS)}.")
    if trials is not None or tuner != "grid":
        trials = whole_number(trials, "trials is ")
    return [
        trials,
        whole_number(epochs, "epochs is "),
        whole_number(seed, "seed is ", 0),
        whole_number(batch_size, "batch_size is "),
    ]


def _check_limits(time_limit: float | None, learning_rate: float | None) -> None:
    for name, value in (("time_limit", time_limit), ("learning_rate", learning_rate)):
        if value is not None and not (
            is_real(value) and value > 0.0 and (math.isfinite(value) or name == "time_limit")
        ):
            raise ValueError(f"{name} is {value!r}; expected a positive number, or None.")


def _check_data(model: keras.Model, x: Any, y: Any, validation_data: tuple[Any, Any]) -> None:
    """Refuse arrays that no training or metric could use; data sets and generators are as they are.

    Raises:
        TypeError, ValueError: see `check_examples` and `check_training_targets`.
    """
    for (inputs, targets), who in (((x, y), "search"), (validation_data, "search, validation_data,")):
        if targets is not None and (hasattr(inputs, "__array__") or isinstance(inputs, Mapping) or is_several(inputs)):
            check_examples(inputs, targets, who)
            if model.built and model.compiled:
                check_training_targets(model, targets, who)


def _metric(
    model: keras.Model, metric: str | None, direction: str | None, validation_data: tuple[Any, Any]
) -> tuple[str, str, Callable[[keras.Model], float]]:
    """The metric's name, its direction, and the function that takes it."""

    def evaluate(model: keras.Model) -> dict[str, float]:
        return model.evaluate(*validation_data, verbose=0, return_dict=True)

    names = list(evaluate(model))
    metric = (metric or ("accuracy" if "accuracy" in names else "loss")).removeprefix("val_")
    if metric not in names:
        raise ValueError(f"metric is {metric!r}; the model's are {', '.join(names)}.")
    if direction not in (None, "min", "max"):
        raise ValueError(f'direction is {direction!r}; expected "min", "max" or None.')
    return metric, direction or direction_of(metric), lambda model: float(evaluate(model)[metric])


def _measure(model: keras.Model, measure: Measure | None) -> tuple[Measure, str, Measures]:
    """The function that measures, what it is called in the result, and what the model itself takes."""
    if measure is not None:
        try:
            return measure, "measure", measure_checked(measure, model)
        except NotImplementedError as error:
            warnings.warn(f"The search measures weight_bytes, because measure cannot: {error}", stacklevel=3)
    return weight_bytes, "weights", measure_checked(weight_bytes, model)


def _record_original(
    space: RankHyperModel,
    evaluate: Callable[[keras.Model], float],
    measures: Measures,
    budgets: Mapping[str, float],
    files: TrialFolder,
) -> None:
    if files.read(trial_name(space.full_ranks, "", 0)) is None:
        metric, over = evaluate(space.model), excess(measures, budgets)
        files.write(Trial(space.full_ranks, "", 0, metric, measures, over, seconds=0.0, finished=0.0))


def _declare(space: RankHyperModel) -> keras_tuner.HyperParameters:
    hyperparameters = keras_tuner.HyperParameters()
    space.declare_hyperparameters(hyperparameters)
    return hyperparameters
