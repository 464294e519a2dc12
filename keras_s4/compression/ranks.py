"""Choosing a rank for every part of a model. Each function returns `{part name: rank}` for `keras_s4.reduce`.

Every chooser takes `parts`, any mix of states and matrices as `parts_of` gives them (by default `parts_of(model)`), and
chooses among `part.choices`: a rank of a matrix that saves nothing is never chosen. Parts that are left out of `parts`
are left out of the result, and so stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4 import checks
from keras_s4.compression.budgets import Budgets, check_limits, fill_budgets, flash_outside
from keras_s4.compression.layer_states import AUTO
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.parts import KINDS, parts_of
from keras_s4.compression.sensitivities import BOUND, OUTPUTS, Sensitivities
from keras_s4.reduction import METHODS

Parts = Mapping[str, Part]

# Fractions that are tried where the largest is sought that is within a budget.
_SHARES = 64


def uniform(
    model: keras.Model, rank: int | None = None, fraction: float | None = None, parts: Parts | None = None
) -> Ranks:
    """The same rank, or the same fraction of its largest rank, for every part, rounded up to a choice of the part.

    Args:
        model: trained.
        rank: the rank of all parts; a part whose largest rank is lower stays as it is.
        fraction: the share of each part's largest rank, above 0 and at most 1.
        parts: parts to choose ranks for; by default `parts_of(model)`.

    Raises:
        ValueError: not exactly one of the two is given, or one is out of range.
    """
    if (rank is None) == (fraction is None):
        raise ValueError(f"uniform got rank={rank}, fraction={fraction}; give exactly one of the two.")
    if fraction is not None:
        fraction = checks.fraction(fraction, "uniform got fraction=")
    parts = _parts(model, parts)
    if rank is not None:
        largest = max(parts, key=lambda name: parts[name].max_rank)
        rank = check_ranks({largest: rank}, parts)[largest]
    wanted = {name: _share(part.max_rank, fraction) if rank is None else rank for name, part in parts.items()}
    return {name: _choice(part, wanted[name]) for name, part in parts.items()}


def energy(model: keras.Model, keep: float = 0.999, parts: Parts | None = None) -> Ranks:
    """For each part the lowest rank that keeps this part of its spectrum's energy.

    Args:
        model: trained.
        keep: part of the sum of squares of each spectrum, above 0 and at most 1.
        parts: parts to choose ranks for; by default `parts_of(model)`.

    Raises:
        ValueError: `keep` is not above 0 and at most 1.
    """
    keep = checks.fraction(keep, "energy got keep=")
    return {
        name: _lowest(part, lambda rank, part=part: part.energy(rank) >= keep)
        for name, part in _parts(model, parts).items()
    }


def tolerance(model: keras.Model, relative: float = 0.05, parts: Parts | None = None) -> Ranks:
    """For each part the lowest rank whose bound on the relative error is within a tolerance.

    The error of states is measured in Hinf, in the worst channel; that of a matrix in the spectral norm.

    Args:
        model: trained.
        relative: the error allowed, relative to the part as it is.
        parts: parts to choose ranks for; by default `parts_of(model)`.

    Raises:
        ValueError: `relative` is not positive, or no choice below the full rank meets it in some part: the message
            names the part and the smallest bound that a reduction can promise.
    """
    if not checks.is_real(relative) or not relative > 0.0:
        raise ValueError(f"tolerance got relative={relative!r}; expected a positive number.")
    ranks = {}
    for name, part in _parts(model, parts).items():
        ranks[name] = _lowest(part, lambda rank, part=part: part.error_bound(rank) <= relative)
        if ranks[name] == part.max_rank and len(part.choices) > 1:
            nearest = part.choices[-2]
            raise ValueError(
                f"No reduction of part {name!r} promises a relative error of {relative:g}: {nearest} of the "
                f"{part.max_rank} {'modes' if part.kind == 'states' else 'singular values'} promise "
                f"{part.error_bound(nearest):.3g}. Allow a larger error, leave this part out of `parts`, or choose by "
                "budget and retrain."
            )
    return ranks


def budget(
    model: keras.Model,
    flash: int | None = None,
    ram: int | None = None,
    multiply_accumulates: int | None = None,
    parts: Parts | None = None,
) -> Ranks:
    """The ranks that keep most energy within budgets, raised where a byte gains most.

    All parts start at their lowest rank. The next raise is always the one that gains most energy for its price, among
    all higher choices of all parts that still fit: not only the next choice of each part, since a step that gains
    little can lead to one that gains much. Energies are relative to those of their parts, so that parts with spectra of
    different units compare. The price is the share that a raise takes of what is left of a budget; of several
    budgets that of which it takes most. No raise that gains energy fits in the end.

    Args:
        model: trained.
        flash: bytes for the constants of the whole integer program (weights, not the structure of the file), those
            outside of the parts included.
        ram: bytes for the states.
        multiply_accumulates: per step, for the parts.
        parts: parts to choose ranks for; by default `parts_of(model)`.

    Raises:
        ValueError: no budget is given, or the lowest ranks exceed one; the message says what is needed at least.
    """
    limits = check_limits("budget", flash=flash, ram=ram, multiply_accumulates=multiply_accumulates)
    parts = _parts(model, parts)
    return fill_budgets(parts, limits, {"flash": flash_outside(model, parts)} if "flash" in limits else {})


def least_error(
    model: keras.Model,
    data: Any,
    flash: int | None = None,
    ram: int | None = None,
    multiply_accumulates: int | None = None,
    of: str = "outputs",
    method: str = "balanced",
    parts: Parts | None = None,
    **options: Any,
) -> Ranks:
    """The ranks with the least error of the whole model within budgets, by what each part does to its outputs.

    First the error is taken with each part alone at some of its ranks (the others between them are interpolated), so
    that a part whose energy matters little to the outputs does not get as much as one whose energy matters. From there
    on the parts' errors are taken to add up, and ranks are raised where a byte lowers them most, as in `budget`. At
    last these ranks are tried as a model, beside those of `budget`, `uniform` and `scores` for the same budgets, and
    single ranks of the best are exchanged for others as long as that lowers the error.

    Give data that stand for those to come, such as some hundred training sequences; not those of the test. A model like
    the demo's takes seconds to a minute.

    Args:
        model: trained.
        data: inputs of the model, numpy.
        flash: as for `budget`.
        ram: as for `budget`.
        multiply_accumulates: as for `budget`.
        of: what is to be least: "outputs", the measured error of the outputs, or "bound", the sum of what the parts'
            bounds do to it at most (`keras_s4.error_bound`, on a few of the sequences); then no models are tried.
        method: of reducing states that is meant to follow, a key of `keras_s4.reduction.METHODS`, or "auto" for that
            with the least error of each layer.
        parts: parts to choose ranks for; by default `parts_of(model, data=data)`.
        options: options of the method.

    Raises:
        TypeError: no model, or data that holds no real numbers.
        ValueError: an unknown `of` or method; the model does not take the data; no budget is given, or the lowest ranks
            exceed one; for "bound", a layer that has none.

    Source: allocating by what each layer does to the model is that of arXiv 2510.14542, which bounds it.
    """
    checks.check_model(model, data, "least_error")
    checks.choice(of, "least_error got of=", (OUTPUTS, BOUND))
    checks.choice(method, "least_error got method=", (*METHODS, AUTO))
    limits = check_limits("least_error", flash=flash, ram=ram, multiply_accumulates=multiply_accumulates)
    parts = parts_of(model, data=data) if parts is None else _parts(model, parts)
    outside = {"flash": flash_outside(model, parts)} if "flash" in limits else {}
    budgets = Budgets(parts, limits, outside)  # refuses one before anything is measured
    others = [budgets.fill(budgets.lowest)]
    others += [_largest_share(chooser, model, parts, budgets) for chooser in (uniform, scores)]
    return Sensitivities(model, parts, data, of, method, options).ranks(limits, outside, filter(None, others))


def scores(model: keras.Model, fraction: float = 0.5, parts: Parts | None = None) -> Ranks:
    """Ranks by one threshold for all layers, on scores that compare modes across layers (LAST).

    The score of a mode is the square of its Hinf norm, divided by the sum of the squares of all modes of its layer that
    are at least as large, which are those kept along with it. So the largest mode of each layer has score 1 and is
    always kept, and layers that hang on a few modes lose more than those whose modes are alike.

    The layers here keep one rank for all channels: the modes of every channel are sorted by their norms, and the r-th
    mode of a layer stands for the r-th largest of each channel, with the sum of their squares. In a matrix a singular
    value takes the place of the norm: that of the rank-one term as a system without memory.

    Args:
        model: trained.
        fraction: the share of the ranks of all parts together, above 0 and at most 1; as many modes are kept, rounded
            up, and at least one of each part.
        parts: parts to choose ranks for; by default `parts_of(model)`.

    Raises:
        ValueError: `fraction` is not above 0 and at most 1.

    Source: Gwak, Moon, Ko and Park 2024 (LAST, arXiv 2411.02824).
    """
    fraction = checks.fraction(fraction, "scores got fraction=")
    parts = _parts(model, parts)
    by_part = {name: _last_scores(_squared_norms(part)) for name, part in parts.items()}
    owners = np.concatenate([np.full(len(values), index) for index, values in enumerate(by_part.values())])
    best_first = np.argsort(-np.concatenate([*by_part.values()]), kind="stable")
    kept = np.bincount(owners[best_first[: _share(len(owners), fraction)]], minlength=len(parts))
    return {name: _choice(part, max(int(count), 1)) for (name, part), count in zip(parts.items(), kept, strict=True)}


def check_ranks(ranks: Ranks, parts: Parts) -> Ranks:
    """The ranks, complete and in range.

    Raises:
        ValueError: an unknown part, or a rank that is no whole number from 1 to the part's maximum.
    """
    unknown = [name for name in ranks if name not in parts]
    if unknown:
        raise ValueError(f"No part is called {', '.join(map(str, unknown))}; the parts are {', '.join(parts)}.")
    for name, rank in ranks.items():
        if not checks.is_whole(rank) or not 1 <= rank <= parts[name].max_rank:
            raise ValueError(
                f"Part {name!r} got rank {rank!r}; expected a whole number from 1 to {parts[name].max_rank}."
            )
    return {name: int(ranks.get(name, part.max_rank)) for name, part in parts.items()}


def parts_and_ranks(model: keras.Model, ranks: Ranks | int, data: Any) -> tuple[dict[str, Part], Ranks]:
    """The parts that ranks are for, measured on data if there is some, and the ranks, complete and in range.

    A whole number is for all parts of `parts_of(model)`.

    Raises:
        ValueError: an unknown part, or a rank that it cannot have or that saves nothing.
    """
    if not isinstance(ranks, Mapping):
        parts = parts_of(model, data=data)
        return parts, uniform(model, rank=ranks, parts=parts)
    parts = parts_of(model, KINDS, data)
    ranks = check_ranks(ranks, parts)
    for name, rank in ranks.items():
        choices = parts[name].choices
        if rank not in choices:
            raise ValueError(
                f"Part {name!r} got rank {rank}, at which its factors are no smaller than the matrix; expected 1 to "
                f"{choices[-2]}, or {choices[-1]} to leave it whole."
            )
    return parts, ranks


def _parts(model: keras.Model, parts: Parts | None) -> Parts:
    if parts is None:
        checks.check_model(model, None, "A choice of ranks")
        return parts_of(model)
    checks.check_parts(parts, "A choice of ranks")
    if not parts:
        raise ValueError("Got no part to choose a rank for; `parts` is empty.")
    return parts


def _share(count: int, fraction: float) -> int:
    """A fraction of a count, rounded up, but not for the rounding error of the product: 0.1 of 30 is 3."""
    return math.ceil(round(count * fraction, 9))


def _largest_share(chooser: Callable[..., Ranks], model: keras.Model, parts: Parts, budgets: Budgets) -> Ranks | None:
    """The ranks of a chooser by fractions for the largest of some fractions that is within budgets, if one is."""
    found = (chooser(model, fraction=share / _SHARES, parts=parts) for share in range(_SHARES, 0, -1))
    return next((ranks for ranks in found if budgets.allow(ranks)), None)


def _choice(part: Part, rank: int) -> int:
    """The lowest choice of a part that is no lower than a rank, or else its largest."""
    return next((choice for choice in part.choices if choice >= rank), part.max_rank)


def _lowest(part: Part, holds: Callable[[int], bool]) -> int:
    return next((rank for rank in part.choices if holds(rank)), part.max_rank)


def _squared_norms(part: Part) -> np.ndarray:
    """Squares of the Hinf norms of a part's modes, `[max_rank]`, non-increasing, summed over channels."""
    if part.kind != "states":
        return np.asarray(part.spectrum, float) ** 2
    return np.sum(-np.sort(-(part.mode_gains**2), axis=1), axis=0)


def _last_scores(squares: np.ndarray) -> np.ndarray:
    return squares / np.maximum(np.cumsum(squares), np.finfo(float).tiny)
