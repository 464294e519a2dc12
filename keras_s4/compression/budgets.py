"""Filling budgets with the ranks that keep most energy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import keras
import numpy as np

from keras_s4.compression.part import Part
from keras_s4.compression.parts import other_flash_bytes, parts_of
from keras_s4.surgery.cloning import dss_layers


@dataclasses.dataclass(frozen=True)
class _Ladder:
    """The choices of one part with what each keeps and costs.

    Args:
        ranks: the C choices, ascending.
        squares: squares of the part's spectrum, in units of their sum.
        costs: the cost of each choice under each of the budgets, `[C, budgets]`.
    """

    ranks: tuple[int, ...]
    squares: np.ndarray
    costs: np.ndarray

    @functools.cached_property
    def lost(self) -> np.ndarray:
        """Energy lost by each choice, `[C]`: summed from the smallest values on, which keeps their digits."""
        tails = np.append(np.cumsum(self.squares[::-1])[::-1], 0.0)
        return tails[list(self.ranks)]

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


def fill_budgets(parts: Mapping[str, Part], limits: Mapping[str, int], outside: Mapping[str, int]) -> dict[str, int]:
    """The ranks that keep most energy within limits, by the best ratio of gain and price; see `ranks.budget`.

    Going for the best ratio over all higher choices climbs the upper concave hull of each part's energy over its cost,
    which is the optimum of the problem with fractions of choices allowed (Sinha and Zoltners 1979, multiple-choice
    knapsack); what no hull step fits into is then fill_budgets with smaller steps.

    Args:
        parts: parts by name.
        limits: budgets by the field of `Cost`.
        outside: costs outside of the parts, by the field of `Cost`.

    Returns:
        A rank for every part.

    Raises:
        ValueError: the lowest ranks exceed a budget.
    """
    ladders = {name: _ladder(part, tuple(limits)) for name, part in parts.items()}
    chosen = dict.fromkeys(parts, 0)
    spent = np.array([outside.get(kind, 0) for kind in limits])
    spent = spent + sum(ladder.costs[0] for ladder in ladders.values())
    for (kind, limit), needed in zip(limits.items(), spent, strict=True):
        if needed > limit:
            fixed = f", {outside[kind]} of them outside of the parts" if outside.get(kind) else ""
            raise ValueError(
                f"budget got {kind}={limit}, but one mode per channel already takes {needed} (of a matrix the lowest "
                f"rank){fixed}. Allow more, or train a smaller model."
            )
    left = np.array([*limits.values()]) - spent
    while True:
        found = {name: ladder.best_raise(chosen[name], left) for name, ladder in ladders.items()}
        found = {name: best for name, best in found.items() if best is not None}
        if not found:
            return {name: ladders[name].ranks[index] for name, index in chosen.items()}
        name = max(found, key=lambda name: found[name][0])
        costs = ladders[name].costs
        left = left - (costs[found[name][1]] - costs[chosen[name]])
        chosen[name] = found[name][1]


def flash_outside(model: keras.Model, parts: Mapping[str, Part]) -> int:
    """Bytes of the constants that no rank of these parts changes, in the integer program of a whole model."""
    states = parts_of(model, kinds=("states",)) if dss_layers(model) else {}
    left_alone = [part for name, part in states.items() if name not in parts]
    matrices = [part for part in parts.values() if part.kind == "matrix"]
    outside_of_states = other_flash_bytes(model) + sum(part.cost(part.max_rank).flash for part in left_alone)
    return outside_of_states - sum(part.cost(part.max_rank).flash for part in matrices)


def _ladder(part: Part, kinds: tuple[str, ...]) -> _Ladder:
    squares = np.asarray(part.spectrum, float) ** 2
    costs = [[getattr(part.cost(rank), kind) for kind in kinds] for rank in part.choices]
    return _Ladder(tuple(part.choices), squares / max(squares.sum(), np.finfo(float).tiny), np.array(costs))
