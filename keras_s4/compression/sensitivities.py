"""What the ranks of single parts do to the whole model: losses that add up, measured once, and ranks by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.compression.budgets import Budgets
from keras_s4.compression.error_bound import check_rules, error_bound
from keras_s4.compression.output_error import OutputError
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.rank_search import whole_ranks

Parts = Mapping[str, Part]
Loss = Callable[[Ranks], float]

# Choices of a part that are measured; between them the logarithm of the loss is interpolated.
_MEASURED = 12
# Models that are tried for exchanges, for each part.
_TRIED = 12
# Sequences that a bound is taken on: it hangs on the norms of signals, which differ little.
_BOUNDED = 16
_TINY = np.finfo(float).tiny


def measured_loss(model: keras.Model, parts: Parts, data: Any, method: str, options: Mapping[str, Any]) -> Loss:
    """The square of the outputs' relative error on data, by the ranks of all parts; each is measured once."""
    padded = PaddedModel(model, parts, method, **options)
    error = OutputError(padded.at(whole_ranks(parts)), data)
    return _remembered(lambda ranks: error(padded.at(ranks)) ** 2, parts)


def bounded_loss(model: keras.Model, parts: Parts, data: Any, method: str, options: Mapping[str, Any]) -> Loss:
    """The bound on the outputs' error on a few sequences, their mean, by the ranks of all parts."""
    check_rules(model)
    padded = PaddedModel(model, parts, method, **options)
    few = data[np.unique(np.linspace(0, len(data) - 1, _BOUNDED).astype(int))]

    def bound(ranks: Ranks) -> float:
        return float(np.linalg.norm(error_bound(model, padded.at(ranks), few).bound, axis=1).mean())

    return _remembered(bound, parts)


MEASURES = {"outputs": measured_loss, "bound": bounded_loss}


def losses_of(part: Part, parts: Parts, loss: Loss) -> np.ndarray:
    """What each choice of a part loses with all others whole, `[C]`, non-increasing; nothing at its full rank."""
    whole, last = whole_ranks(parts), len(part.choices) - 1
    if not last:
        return np.zeros(1)
    # Evenly on a logarithmic scale, from the lowest choice to the last below the full rank.
    places = np.unique(np.rint(np.geomspace(1, last, min(last, _MEASURED))).astype(int)) - 1
    found = np.array([loss({**whole, part.name: part.choices[place]}) for place in places])
    ranks = np.log([*part.choices[:-1]])
    between = np.interp(ranks, ranks[places], np.log(np.maximum(found, _TINY)))
    return np.append(np.minimum.accumulate(np.exp(between)), 0.0)


def exchange_ranks(ranks: Ranks, parts: Parts, budgets: Budgets, loss: Loss) -> Ranks:
    """Ranks of less loss within the same budgets: one part gets more and another less, tried as models.

    Those exchanges come first that promise most; steps get shorter where none gains.
    """
    tried = 0
    for step in (4, 2, 1):
        improved = True
        while improved and tried < _TRIED * len(parts):
            improved = False
            for other in sorted(_exchanges(ranks, parts, budgets, step), key=budgets.lost)[:_TRIED]:
                tried += 1
                if loss(other) < loss(ranks):
                    ranks, improved = other, True
                    break
    return ranks


def _exchanges(ranks: Ranks, parts: Parts, budgets: Budgets, step: int) -> Iterator[Ranks]:
    """Ranks with one part some choices lower, another raised by as many if that is allowed, and the rest filled up."""
    for less in parts:
        lower = {**ranks, less: _moved(parts[less], ranks[less], -step)}
        if lower == ranks:
            continue
        for more in parts:
            other = {**lower, more: _moved(parts[more], ranks[more], step)}
            if more != less and budgets.allow(other):
                yield budgets.fill(other)


def _moved(part: Part, rank: int, steps: int) -> int:
    """The choice so many steps above a rank, or the outermost one."""
    place = part.choices.index(rank) + steps
    return part.choices[min(max(place, 0), len(part.choices) - 1)]


def _remembered(measure: Loss, parts: Parts) -> Loss:
    known: dict[tuple[int, ...], float] = {}

    def loss(ranks: Ranks) -> float:
        key = tuple(ranks[name] for name in parts)
        if key not in known:
            known[key] = measure(ranks)
        return known[key]

    return loss
