"""What the ranks of single parts do to the whole model: losses that add up, measured once, and ranks by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.compression.budgets import Budgets
from keras_s4.compression.error_bound import check_rules, error_bound
from keras_s4.compression.matrices import owner_of
from keras_s4.compression.output_error import OutputError
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.parts import layer_path
from keras_s4.compression.rank_search import whole_ranks
from keras_s4.layers import DSS
from keras_s4.samples import is_several
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.paths import layer_at

Parts = Mapping[str, Part]
Loss = Callable[[Ranks], float]

OUTPUTS, BOUND = "outputs", "bound"

# Choices of a part that are measured; between them the logarithm of the loss is interpolated.
_MEASURED = 12
# Models that are tried for exchanges, for each part.
_TRIED = 12
# Sequences that a bound is taken on: it hangs on the norms of signals, which differ little.
_BOUNDED = 16
# By which a part is made larger to see what its errors do: exact in float32, far from where bounds saturate.
_LITTLE = 2.0**-14
_TINY = np.finfo(float).tiny


def measured_loss(model: keras.Model, parts: Parts, data: Any, method: str, options: Mapping[str, Any]) -> Loss:
    """The square of the outputs' relative error on data, by the ranks of all parts; each is measured once."""
    padded = PaddedModel(model, parts, method, **options)
    error = OutputError(padded.at(whole_ranks(parts)), data)
    return _remembered(lambda ranks: error(padded.at(ranks)) ** 2, parts)


def bound_gains(model: keras.Model, parts: Parts, data: Any) -> dict[str, float]:
    """The bound on the outputs' error by the relative error of each part, where that is small, on a few sequences.

    Each part in turn is made larger by a little. Beyond, the bound saturates, as softmax does, and tells parts no more
    apart.
    """
    check_rules(model)
    if isinstance(data, Mapping) or is_several(data):
        raise ValueError(f"least_error got of={BOUND!r} for a model with several inputs; give of={OUTPUTS!r}.")
    few = np.asarray(data)[np.unique(np.linspace(0, len(data) - 1, _BOUNDED).astype(int))]
    gains = {}
    for name, part in parts.items():
        path, copy = layer_path(name, part), clone(model, {})
        for weight in _weights_of(layer_at(copy, path), name, part):
            weight.assign((1.0 + _LITTLE) * weight)
        found = error_bound(model, copy, few)
        own = found.layers.get(path, (math.inf, 0.0))[0]  # a layer without any output makes no error
        gains[name] = float(np.linalg.norm(found.bound, axis=1).mean()) / own
    return gains


def _weights_of(layer: keras.layers.Layer, name: str, part: Part) -> list[keras.Variable]:
    """Weights that a part is proportional to."""
    if part.kind == "states":
        read = layer.residues if isinstance(layer, DSS) else layer.output_matrix
        return [weight for weight in (read, layer.feedthrough) if weight is not None]
    matrix = name.rpartition("/")[2]
    return [weight for weight in owner_of(layer).weights if weight.name in (matrix, f"{matrix}_left")]


class Sensitivities:
    """What each part at each of its ranks does to a model, measured once, and the ranks of least loss within budgets.

    Attributes:
        losses: what the choices of each part lose, `[C]`, non-increasing, by its name.

    Args:
        model: trained.
        parts: of it, by name.
        data: inputs of the model, numpy.
        of: what is lost: `OUTPUTS`, the square of the relative error of the outputs, or `BOUND`, a bound on the error:
            of each part that on its relative error, times what this does to the outputs at most.
        method: of reducing states, a key of `keras_s4.reduction.METHODS` or "auto"; the bound is that of "balanced".
        options: of the method.
    """

    def __init__(
        self,
        model: keras.Model,
        parts: Parts,
        data: Any,
        of: str = OUTPUTS,
        method: str = "balanced",
        options: Mapping[str, Any] | None = None,
    ):
        self._parts = parts
        if of == BOUND:
            gains = bound_gains(model, parts, data)
            self._loss = None
            self.losses = {
                name: gains[name] * np.array([part.error_bound(rank) for rank in part.choices])
                for name, part in parts.items()
            }
        else:
            self._loss = measured_loss(model, parts, data, method, options or {})
            self.losses = {name: losses_of(part, parts, self._loss) for name, part in parts.items()}

    def ranks(self, limits: Mapping[str, int], outside: Mapping[str, int], others: Iterable[Ranks] = ()) -> Ranks:
        """The ranks with the least loss within budgets.

        Bounds add up, so that these are those of the best sum. Of outputs, they are tried as a model beside others, and
        single ranks of the best exchanged for others as long as that lowers the error.

        Args:
            limits: budgets by the field of `Cost`.
            outside: costs outside of the parts, by the field of `Cost`.
            others: ranks within the budgets.
        """
        budgets = Budgets(self._parts, limits, outside, self.losses)
        ranks = budgets.fill(budgets.lowest)
        if self._loss is None:
            return ranks
        return exchange_ranks(min([ranks, *others], key=self._loss), self._parts, budgets, self._loss)


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
