"""Filling budgets with the ranks that lose least."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from keras_s4.checks import is_real
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.parts import other_flash_bytes, parts_of
from keras_s4.surgery.cloning import state_space_layers


@dataclasses.dataclass(frozen=True)
class _Ladder:
    """The choices of one part with what each loses and costs.

    Args:
        ranks: the C choices, ascending.
        lost: by each choice, `[C]`, non-increasing; what different parts lose adds up.
        costs: the cost of each choice under each of the budgets, `[C, budgets]`.
    """

    ranks: tuple[int, ...]
    lost: np.ndarray
    costs: np.ndarray

    def best_raise(self, now: int, left: np.ndarray) -> tuple[float, int] | None:
        """The higher choice that gains most per share of what is left of the budgets, `[budgets]`.

        Returns:
            The ratio and the index of the choice; None if no choice that gains energy fits.
        """
        gains = self.lost[now] - self.lost[now + 1 :]
        extra = self.costs[now + 1 :] - self.costs[now]
        with np.errstate(divide="ignore", invalid="ignore"):
            # A budget that is used up allows what takes nothing of it.
            prices = np.where(extra > 0, extra / left, 0.0).max(axis=1, initial=0.0)
            ratios = np.where((prices <= 1.0) & (gains > 0.0), gains / prices, -np.inf)
        if not np.any(ratios > 0.0):
            return None
        # Of equal ratios the highest choice: all that is free, and a straight part of the spectrum in one go.
        best = len(ratios) - 1 - int(np.argmax(ratios[::-1]))
        return float(ratios[best]), now + 1 + best


class Budgets:
    """What parts may take together, and the choices of each.

    Args:
        parts: parts by name.
        limits: budgets by the field of `Cost`.
        outside: costs outside of the parts, by the field of `Cost`.
        losses: what each choice of a part loses, `[C]`, non-increasing; by default the share of its spectrum's energy.

    Raises:
        ValueError: the lowest ranks exceed a budget.
    """

    def __init__(
        self,
        parts: Mapping[str, Part],
        limits: Mapping[str, int],
        outside: Mapping[str, int],
        losses: Mapping[str, np.ndarray] | None = None,
    ):
        losses = {name: _lost_energy(part) for name, part in parts.items()} if losses is None else losses
        self._ladders = {name: _ladder(part, losses[name], tuple(limits)) for name, part in parts.items()}
        self._limits = np.array([*limits.values()])
        self._outside = np.array([outside.get(kind, 0) for kind in limits])
        lowest = self._spent(self.lowest)
        for (kind, limit), needed in zip(limits.items(), lowest, strict=True):
            if needed > limit:
                fixed = f", {outside[kind]} of them outside of the parts" if outside.get(kind) else ""
                raise ValueError(
                    f"The budget is {kind}={limit}, but one mode per channel already takes {needed} (of a matrix the "
                    f"lowest rank){fixed}. Allow more, or train a smaller model."
                )

    @property
    def lowest(self) -> Ranks:
        """The lowest choice of each part."""
        return {name: ladder.ranks[0] for name, ladder in self._ladders.items()}

    def allow(self, ranks: Ranks) -> bool:
        """Whether parts at these ranks are within all limits."""
        return bool(np.all(self._spent(ranks) <= self._limits))

    def lost(self, ranks: Ranks) -> float:
        """What is lost by all parts together."""
        return float(sum(ladder.lost[ladder.ranks.index(ranks[name])] for name, ladder in self._ladders.items()))

    def fill(self, ranks: Ranks) -> Ranks:
        """The ranks raised where that loses least, by the best ratio of gain and price; see `ranks.budget`.

        Going for the best ratio over all higher choices climbs the upper concave hull of each part's energy over its
        cost, which is the optimum of the problem with fractions of choices allowed (Sinha and Zoltners 1979,
        multiple-choice knapsack); what no hull step fits into is then filled with smaller steps.
        """
        chosen = {name: ladder.ranks.index(ranks[name]) for name, ladder in self._ladders.items()}
        left = self._limits - self._spent(ranks)
        while True:
            found = {name: ladder.best_raise(chosen[name], left) for name, ladder in self._ladders.items()}
            found = {name: best for name, best in found.items() if best is not None}
            if not found:
                return {name: self._ladders[name].ranks[index] for name, index in chosen.items()}
            name = max(found, key=lambda name: found[name][0])
            costs = self._ladders[name].costs
            left = left - (costs[found[name][1]] - costs[chosen[name]])
            chosen[name] = found[name][1]

    def _spent(self, ranks: Ranks) -> np.ndarray:
        """Costs `[budgets]`."""
        return self._outside + sum(ladder.costs[ladder.ranks.index(ranks[n])] for n, ladder in self._ladders.items())


def fill_budgets(parts: Mapping[str, Part], limits: Mapping[str, int], outside: Mapping[str, int]) -> Ranks:
    """The ranks that keep most energy within limits; see `Budgets`."""
    budgets = Budgets(parts, limits, outside)
    return budgets.fill(budgets.lowest)


def check_limits(who: str, **limits: int | None) -> dict[str, int]:
    """Those budgets that are given.

    Raises:
        ValueError: none is, or one is no positive number.
    """
    given = {kind: limit for kind, limit in limits.items() if limit is not None}
    if not given:
        raise ValueError(f"{who} got no limit; give flash, ram or multiply_accumulates.")
    for kind, limit in given.items():
        if not is_real(limit) or not limit > 0:
            raise ValueError(f"{who} got {kind}={limit!r}; expected a positive number.")
    return given


def flash_outside(model: keras.Model, parts: Mapping[str, Part]) -> int:
    """Bytes of the constants that no rank of these parts changes, in the integer program of a whole model."""
    states = parts_of(model, kinds=("states",)) if state_space_layers(model) else {}
    left_alone = [part for name, part in states.items() if name not in parts]
    matrices = [part for part in parts.values() if part.kind == "matrix"]
    outside_of_states = other_flash_bytes(model) + sum(part.cost(part.max_rank).flash for part in left_alone)
    return outside_of_states - sum(part.cost(part.max_rank).flash for part in matrices)


def _ladder(part: Part, lost: np.ndarray, kinds: tuple[str, ...]) -> _Ladder:
    costs = [[getattr(part.cost(rank), kind) for kind in kinds] for rank in part.choices]
    return _Ladder(tuple(part.choices), lost, np.array(costs))


def _lost_energy(part: Part) -> np.ndarray:
    """The share of the spectrum's energy that each choice loses, `[C]`."""
    squares = np.asarray(part.spectrum, float) ** 2
    shares = squares / max(squares.sum(), np.finfo(float).tiny)
    # Summed from the smallest values on, which keeps their digits.
    return np.append(np.cumsum(shares[::-1])[::-1], 0.0)[list(part.choices)]
