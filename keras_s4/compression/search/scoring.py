"""What a search compares: a metric, budgets on measures, and the one number that a tuner minimises."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import keras
import numpy as np

from keras_s4.checks import is_real
from keras_s4.compression.search.engine import infer_metric_direction

Measures = dict[str, float]


def weight_bytes(model: keras.Model) -> Measures:
    """Bytes of all weights at one byte each: the measure for models that cannot be exported.

    Weights that only training needs (seeds, counters) are not counted.
    """
    weights = [*model.trainable_weights, *(w for w in model.non_trainable_weights if "float" in w.dtype)]
    return {"weight_bytes": sum(int(np.prod(weight.shape)) for weight in weights)}


def excess(measures: Mapping[str, float], budgets: Mapping[str, float]) -> float:
    """By how much measures are over their budgets, as a fraction of each, summed; 0 within all."""
    return sum(max(0.0, measures[name] / limit - 1.0) for name, limit in budgets.items())


def score(metric: float | None, direction: str, excess: float) -> float:
    """What the tuner minimises: between -1 and 1 within all budgets, above 1 over any.

    Within the budgets it is the metric (negated if it is to be maximised) squeezed by `v / (1 + |v|)`, which keeps the
    order. Over a budget it is `1 + log(1 + excess)`, whatever the metric: near the budget in proportion to the excess,
    so that a model of the score leads back to it, and far beyond slower, so that a few hopeless trials do not make all
    differences between good ones look like nothing.
    """
    if excess > 0.0:
        return 1.0 + math.log1p(excess)
    value = metric if direction == "min" else -metric
    return value / (1.0 + abs(value))


def direction_of(metric: str) -> str:
    """Whether a metric is to be minimised or maximised: "min" or "max".

    Raises:
        ValueError: a metric that Keras does not know.
    """
    direction = infer_metric_direction(metric)
    if direction is None:
        raise ValueError(f"It is not known whether metric {metric!r} should be small or large; give direction.")
    return direction


def check_budgets(budgets: Mapping[str, float] | None, measures: Collection[str]) -> dict[str, float]:
    """The budgets, checked against the names of what is measured.

    Raises:
        ValueError: no budget, an unknown name, or a limit that is not a positive number.
    """
    if budgets is None:
        return {}
    if not budgets:
        raise ValueError(f"budgets is empty; limit one or more of {', '.join(measures)}, or give None for no limits.")
    unknown = [name for name in budgets if name not in measures]
    if unknown:
        raise ValueError(
            f"budgets limits {', '.join(unknown)}, but what is measured is {', '.join(measures)}. Give `measure` a "
            "function that measures it, for example keras_s4.tflite.measure with representative data."
        )
    for name, limit in budgets.items():
        if not is_real(limit) or not 0 < limit < math.inf:
            raise ValueError(f"budgets got {name}={limit!r}; expected a positive number.")
    return {name: _plain(limit) for name, limit in budgets.items()}


def measure_checked(measure: Callable[[keras.Model], Mapping[str, float]], model: keras.Model) -> Measures:
    """What a measure says of a model, as plain numbers.

    Raises:
        ValueError: it is not finite numbers by name.
    """
    found = measure(model)
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"measure returned {found!r}; expected numbers by name, such as {{'tflite_bytes': 20000}}.")
    plain = {name: _plain(value) for name, value in found.items()}
    for name, value in plain.items():
        if not is_real(value) or not math.isfinite(value):
            raise ValueError(f"measure returned {name}={value!r}; expected a finite number.")
    return plain


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
