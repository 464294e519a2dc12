"""The searches of Rank-Tuning: the lowest rank of each part alone, the repair of all together, what can go after it.

All of them see a model only through its evaluations, and hold a target: the metric of a model must be at least that.
With all parts whole it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from keras_s4.compression.evaluations import Evaluation, Evaluations
from keras_s4.compression.part import Part, Ranks

Parts = Mapping[str, Part]


def whole_ranks(parts: Parts) -> Ranks:
    """The ranks at which no part is reduced."""
    return {name: part.max_rank for name, part in parts.items()}


def bisection(choices: tuple[int, ...], holds: Callable[[int], bool]) -> int:
    """A choice that holds while the next lower one does not; the lowest that holds, if all above it hold as well.

    The last choice is known to hold and never asked for; whatever is returned besides it was asked for and held.
    """
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high) // 2
        if holds(choices[middle]):
            high = middle
        else:
            low = middle + 1
    return choices[high]


def scan(choices: tuple[int, ...], holds: Callable[[int], bool]) -> int:
    """The lowest choice that holds, whatever the others do; the last is known to hold."""
    return next((choice for choice in choices[:-1] if holds(choice)), choices[-1])


SEARCHES = {"bisection": bisection, "scan": scan}


def search_each_part(parts: Parts, evaluate: Evaluations, target: float, search: str) -> Ranks:
    """For each part a lowest choice that holds the target while all other parts are whole."""
    whole = whole_ranks(parts)
    return {
        name: SEARCHES[search](part.choices, lambda rank, name=name: evaluate({**whole, name: rank}).metric >= target)
        for name, part in parts.items()
    }


def repair_ranks(parts: Parts, ranks: Ranks, evaluate: Evaluations, target: float) -> Ranks:
    """Ranks at which the joint model holds the target, raised from those given where a byte gains most metric.

    Where no part alone gains anything, all are raised together, by more choices each time. Every round raises a rank,
    so that it ends at whole parts at the latest, which hold the target.
    """
    now, stride = evaluate(ranks), 1
    while now.metric < target:
        better = _best_raise(parts, now, evaluate, target)
        if better is None:
            better = evaluate({name: _raise_rank(part, now.ranks[name], stride) for name, part in parts.items()})
            stride *= 2
        now = better
    return now.ranks


def polish_ranks(parts: Parts, ranks: Ranks, evaluate: Evaluations, target: float) -> Ranks:
    """Lower ranks at which the joint model still holds the target, from ranks at which it does.

    One choice at a time goes, that which saves most bytes first. A part whose next choice failed is not tried again.
    """
    now, candidates = evaluate(ranks), list(parts)
    while True:
        lowered = {name: {**now.ranks, name: _raise_rank(parts[name], now.ranks[name], -1)} for name in candidates}
        saved = {name: now.flash - evaluate.flash(lower) for name, lower in lowered.items()}
        for name in sorted(candidates, key=saved.__getitem__, reverse=True):
            if saved[name] > 0 and evaluate(lowered[name]).metric >= target:
                now = evaluate(lowered[name])
                break
            candidates.remove(name)
        else:
            return now.ranks


def _best_raise(parts: Parts, now: Evaluation, evaluate: Evaluations, target: float) -> Evaluation | None:
    """The best model with one part raised, by a choice or, as long as that changes nothing for the better, by more.

    Returns:
        The smallest that holds the target, or else that with the best gain per byte; None where none gains.
    """
    open_parts = {name: part for name, part in parts.items() if now.ranks[name] < part.max_rank}
    for step in (
        2**exponent for exponent in range(max(len(part.choices) for part in open_parts.values()).bit_length())
    ):
        raised = [
            evaluate({**now.ranks, name: _raise_rank(part, now.ranks[name], step)}) for name, part in open_parts.items()
        ]
        holding = [model for model in raised if model.metric >= target]
        if holding:
            return min(holding, key=lambda model: (model.flash, -model.metric))
        gaining = [model for model in raised if model.metric > now.metric]
        if gaining:
            return max(gaining, key=lambda model: _gain_per_byte(now, model))
    return None


def _gain_per_byte(before: Evaluation, after: Evaluation) -> float:
    extra = after.flash - before.flash
    return (after.metric - before.metric) / extra if extra > 0 else math.inf


def _raise_rank(part: Part, rank: int, steps: int) -> int:
    """The choice so many steps above a rank, or below for negative steps; the outermost one beyond the ends."""
    index = part.choices.index(rank) + steps
    return part.choices[min(max(index, 0), len(part.choices) - 1)]
