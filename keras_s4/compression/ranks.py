"""Choosing a rank for every part of a model. Each function returns `{part name: rank}` for `keras_s4.reduce`."""

from __future__ import annotations

import math

import keras

from keras_s4.compression.parts import StatesPart, other_flash_bytes, parts_of

Ranks = dict[str, int]


def uniform(model: keras.Model, rank: int | None = None, fraction: float | None = None) -> Ranks:
    """The same rank, or the same fraction of its states (rounded up), for every part.

    Raises:
        ValueError: not exactly one of the two is given, or one is out of range.
    """
    if (rank is None) == (fraction is None):
        raise ValueError(f"uniform got rank={rank}, fraction={fraction}; give exactly one of the two.")
    if fraction is not None and not 0.0 < fraction <= 1.0:
        raise ValueError(f"uniform got fraction={fraction}; expected a number above 0 and at most 1.")
    parts = parts_of(model)
    if rank is not None:
        return check_ranks(dict.fromkeys(parts, rank), parts)
    return {name: math.ceil(part.max_rank * fraction) for name, part in parts.items()}


def energy(model: keras.Model, keep: float = 0.999) -> Ranks:
    """For each part the lowest rank that keeps this part of its spectrum's energy.

    Raises:
        ValueError: `keep` is not above 0 and at most 1.
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"energy got keep={keep}; expected a number above 0 and at most 1.")
    parts = parts_of(model)
    return {
        name: _lowest(part, lambda rank, part=part: part.energy(rank) >= keep) or part.max_rank
        for name, part in parts.items()
    }


def tolerance(model: keras.Model, relative: float = 0.05) -> Ranks:
    """For each part the lowest rank whose bound on the relative error (Hinf, worst channel) is within a tolerance.

    Raises:
        ValueError: `relative` is not positive, or no rank below the full one meets it in some part: the message names
            the part and the smallest bound that a reduction can promise.
    """
    if not relative > 0.0:
        raise ValueError(f"tolerance got relative={relative}; expected a positive number.")
    ranks = {}
    for name, part in parts_of(model).items():
        rank = _lowest(part, lambda rank, part=part: part.error_bound(rank) <= relative)
        if rank == part.max_rank and part.max_rank > 1:
            raise ValueError(
                f"No reduction of part {name!r} promises a relative error of {relative:g}: {part.max_rank - 1} of the "
                f"{part.max_rank} modes promise {part.error_bound(part.max_rank - 1):.3g}. Allow a larger error, or "
                "choose by budget and retrain."
            )
        ranks[name] = rank
    return ranks


def budget(
    model: keras.Model, flash: int | None = None, ram: int | None = None, multiply_accumulates: int | None = None
) -> Ranks:
    """The ranks that keep most energy within budgets, raised one by one where a byte gains most.

    Args:
        model: trained.
        flash: bytes for the constants of the whole integer program (weights, not the structure of the file).
        ram: bytes for the states.
        multiply_accumulates: per step, for the states.

    Raises:
        ValueError: no budget is given, or rank 1 everywhere exceeds one; the message says what is needed at least.
    """
    limits = {"flash": flash, "ram": ram, "multiply_accumulates": multiply_accumulates}
    limits = {kind: limit for kind, limit in limits.items() if limit is not None}
    if not limits:
        raise ValueError("budget got no limit; give flash, ram or multiply_accumulates.")
    parts = parts_of(model)
    ranks = dict.fromkeys(parts, 1)

    def spent(kind: str, ranks: Ranks) -> int:
        fixed = other_flash_bytes(model) if kind == "flash" else 0
        return fixed + sum(getattr(parts[name].cost(rank), kind) for name, rank in ranks.items())

    for kind, limit in limits.items():
        if spent(kind, ranks) > limit:
            raise ValueError(f"budget got {kind}={limit}, but one mode per channel already takes {spent(kind, ranks)}.")
    while True:
        raised = {name: {**ranks, name: rank + 1} for name, rank in ranks.items() if rank < parts[name].max_rank}
        fitting = [
            name
            for name, candidate in raised.items()
            if all(spent(kind, candidate) <= limit for kind, limit in limits.items())
        ]
        if not fitting:
            return ranks
        ranks = raised[max(fitting, key=lambda name: _gain(parts[name], ranks[name]))]


def check_ranks(ranks: Ranks, parts: dict[str, StatesPart]) -> Ranks:
    """The ranks, complete and in range.

    Raises:
        ValueError: an unknown part, or a rank that is no whole number from 1 to the part's maximum.
    """
    unknown = set(ranks) - set(parts)
    if unknown:
        raise ValueError(f"No part is called {', '.join(sorted(unknown))}; the parts are {', '.join(parts)}.")
    for name, rank in ranks.items():
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= parts[name].max_rank:
            raise ValueError(
                f"Part {name!r} got rank {rank!r}; expected a whole number from 1 to {parts[name].max_rank}."
            )
    return {name: ranks.get(name, part.max_rank) for name, part in parts.items()}


def _lowest(part: StatesPart, holds) -> int | None:
    return next((rank for rank in range(1, part.max_rank + 1) if holds(rank)), None)


def _gain(part: StatesPart, rank: int) -> float:
    """Energy per byte that the next mode brings."""
    return float(part.spectrum[rank] ** 2) / part.cost(1).flash
