"""Rank-Tuning: the lowest ranks at which a model holds a metric on validation data."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from keras_s4 import plots
from keras_s4.brief import Brief
from keras_s4.checks import check_model, check_parts, choice, is_real, quote
from keras_s4.compression.budgets import flash_outside
from keras_s4.compression.evaluations import Evaluation, Evaluations
from keras_s4.compression.fingerprints import digest, model_digest
from keras_s4.compression.layer_states import AUTO
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.parts import parts_of
from keras_s4.compression.rank_search import SEARCHES, polish_ranks, repair_ranks, search_each_part, whole_ranks
from keras_s4.compression.reduce import reduce
from keras_s4.reduction import METHODS
from keras_s4.tables import text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class RankTuning(Brief):
    """What Rank-Tuning found.

    Attributes:
        ranks: the rank of every part, together, for `keras_s4.reduce`.
        individual: the lowest rank of each part with all others whole.
        target: the metric that the joint model holds.
        intact: the evaluation of the model as it is.
        joint_individual: the metric of all parts at their individual ranks, before any repair.
        joint: the metric of the model at `ranks`.
        history: all models that were looked at, in order; a cloud of metric over size.
        computed: how many of them were evaluated in this run; the others came from the cache.
        methods: that reduce the states at `ranks`, by part.
    """

    ranks: Ranks
    individual: Ranks
    target: float
    intact: Evaluation
    joint_individual: Evaluation
    joint: Evaluation
    history: tuple[Evaluation, ...]
    computed: int
    methods: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def frontier(self) -> tuple[Evaluation, ...]:
        """The models of the history that no other beats in both size and metric, smallest first."""
        best, kept = -math.inf, []
        for model in sorted(self.history, key=lambda model: (model.flash, -model.metric)):
            if model.metric > best:
                best = model.metric
                kept.append(model)
        return tuple(kept)

    def figures(self) -> dict[str, Any]:
        """JSON-ready: the ranks, metric and bytes before and after, and the history."""
        return {
            "target": self.target,
            "ranks": self.ranks,
            "methods": self.methods,
            "individual_ranks": self.individual,
            "intact": self.intact.figures(),
            "joint_individual": self.joint_individual.figures(),
            "joint": self.joint.figures(),
            "evaluations": len(self.history),
            "computed": self.computed,
            "history": [model.figures() for model in self.history],
        }

    def table(self) -> Table:
        """A row a part with its ranks, then metric and bytes: as it is, at individual and at joint ranks."""
        table = Table(title=f"Ranks that hold a metric of {self.target:.4g}, {len(self.history)} models evaluated")
        table.add_column("part")
        for header in ("intact", "individual", "joint"):
            table.add_column(header, justify="right")
        models = (self.intact, self.joint_individual, self.joint)
        for name in self.ranks:
            table.add_row(name, *(f"{model.ranks[name]:,}" for model in models))
        table.add_section()
        table.add_row("metric of all together", *(f"{model.metric:.4g}" for model in models))
        table.add_row("bytes", *(f"{model.flash:,}" for model in models))
        return table

    def figure(self) -> Figure:
        """The metric of every model that was looked at against its bytes, with the front."""
        front = self.frontier
        points = [
            {"metric": model.metric, "cost": model.flash, "feasible": True, "front": model in front}
            for model in self.history
            if math.isfinite(model.metric)
        ]
        original = {"metric": self.intact.metric, "cost": self.intact.flash}
        return plots.pareto_front(points, original, "bytes", "metric")

    def __str__(self) -> str:
        return text_of(self.table())


def rank_tuning(
    model: keras.Model,
    evaluate: Callable[[keras.Model], float],
    target: float | None = None,
    relative_loss: float | None = None,
    parts: Mapping[str, Part] | None = None,
    search: str = "bisection",
    data: Any = None,
    method: str = "balanced",
    polish: bool = True,
    cache: str | Path | None = None,
    rebuild: bool = False,
    progress: bool = True,
    **options: Any,
) -> RankTuning:
    """The lowest ranks at which a trained model holds a metric, found by evaluating reduced models.

    First the lowest rank of each part alone, with all others whole. Then all parts together at these ranks, which as a
    rule lose more than each alone: the rank that gains most metric per byte is raised until the joint model holds the
    target. At last single ranks are lowered as long as it still does (`polish`).

    Choose ranks on validation data, and report the reduced model on test data that had no say in them.

    Args:
        model: trained, functional or sequential; it is not changed.
        evaluate: the metric of a model on validation data, higher is better, always the same for the same weights;
            see `accuracy_on`, `error_on` and `metric_on`.
        target: the metric to hold.
        relative_loss: in place of `target`, the share of the intact model's metric that may be lost: 0.014 holds 98.6%.
        parts: parts to choose ranks for; by default `parts_of(model, data=data)`.
        search: the search of each part alone: "bisection" needs few evaluations and finds the lowest rank if the metric
            rises with the rank; "scan" tries all ranks from the lowest on.
        data: inputs of the model that make the truncations aware of them, see `keras_s4.reduce`.
        method: the method that reduces states, a key of `keras_s4.reduction.METHODS`, or "auto": at each of its ranks
            every layer is reduced by that with the least error of the layer, for inputs of the measured power spectrum
            if there is data. The result says which these are.
        polish: whether to lower single ranks in the end. It fits the ranks more closely to the validation data.
        cache: a JSON file that keeps every evaluation, so that a run that was interrupted, or one with another target,
            goes on from what is known. It belongs to the model, the parts, the method and the data of one search, and
            to the data of `evaluate` if that tells by an attribute `fingerprint`, as `accuracy_on` does.
        rebuild: evaluate each model as `keras_s4.reduce` builds it. Otherwise one model of full size is filled with the
            reduced parts (`PaddedModel`): the same outputs, without a new graph for every evaluation.
        progress: whether to show a progress bar.
        options: options of the method.

    Warns:
        UserWarning: the intact model is no better than one that always gives the same answer, where `evaluate` tells.

    Returns:
        A :class:`RankTuning`; its `ranks` and `methods` are for
        `keras_s4.reduce(model, ranks, methods, data, **options)`.

    Raises:
        TypeError: no model, or no parts.
        ValueError: not exactly one of `target` and `relative_loss` is given, or it is out of range; an unknown search;
            the intact model misses the target, or has a metric of 0; targets that do not fit the model's outputs;
            `evaluate` returns no number; the cache is of another search.

    Source: Maison, du Mas des Bourboux and Courtat 2023 (Rank-Tuning, arXiv 2310.12688).
    """
    check_model(model, evaluate, "rank_tuning")
    _check_arguments(evaluate, target, relative_loss, search)
    choice(method, "rank_tuning got method=", (*METHODS, AUTO))
    if parts is not None:
        check_parts(parts, "rank_tuning")
    if hasattr(evaluate, "for_model"):
        evaluate = evaluate.for_model(model)
    parts = parts_of(model, data=data) if parts is None else parts
    if not parts:
        raise ValueError("rank_tuning got no part to choose a rank for; `parts` is empty.")
    with _bar(_expected_evaluations(parts, search), progress) as report:
        evaluations = Evaluations(
            _measure(model, parts, evaluate, rebuild, data, method, options),
            parts,
            outside=flash_outside(model, parts),
            path=cache,
            fingerprint=None if cache is None else _fingerprint(model, parts, evaluate, data, method, options),
            report=report,
        )
        intact = evaluations(whole_ranks(parts)).metric
        if hasattr(evaluate, "blind") and intact <= evaluate.blind:
            warnings.warn(
                f"Model {model.name!r} reaches a metric of {intact:.4g} on the validation data, no more than the "
                f"{evaluate.blind:.4g} of always giving the same answer: every rank may hold that. See whether the "
                "targets belong to the inputs, and are in their order, or train the model further.",
                stacklevel=2,
            )
        found = tune_ranks(parts, evaluations, target, relative_loss, search, polish)
        return dataclasses.replace(found, methods=_methods_at(parts, found.ranks, method, options))


def tune_ranks(
    parts: Mapping[str, Part],
    evaluations: Evaluations,
    target: float | None = None,
    relative_loss: float | None = None,
    search: str = "bisection",
    polish: bool = True,
) -> RankTuning:
    """The search of `rank_tuning` over anything that can be evaluated at ranks."""
    intact = evaluations(whole_ranks(parts))
    if not math.isfinite(intact.metric):
        raise ValueError("The intact model has no finite metric; see what `evaluate` returns for it.")
    if target is None and intact.metric == 0.0:
        raise ValueError(
            "The intact model has a metric of 0, of which nothing can be lost: every rank would hold it. See whether "
            "the targets belong to the inputs, or give a target."
        )
    if target is None:
        target = intact.metric - relative_loss * abs(intact.metric)
    if intact.metric < target:
        raise ValueError(
            f"The intact model reaches a metric of {intact.metric:.6g}, less than the target of {target:.6g}. Lower "
            "the target, give relative_loss, or train the model further."
        )
    individual = search_each_part(parts, evaluations, target, search)
    ranks = repair_ranks(parts, individual, evaluations, target)
    if polish:
        ranks = polish_ranks(parts, ranks, evaluations, target)
    joint_individual, joint = evaluations(individual), evaluations(ranks)
    return RankTuning(
        ranks, individual, target, intact, joint_individual, joint, evaluations.history, evaluations.computed
    )


def _measure(
    model: keras.Model,
    parts: Mapping[str, Part],
    evaluate: Callable[[keras.Model], float],
    rebuild: bool,
    data: Any,
    method: str,
    options: Mapping[str, Any],
) -> Callable[[Ranks], float]:
    padded = None if rebuild else PaddedModel(model, parts, method, **options)

    def measure(ranks: Ranks) -> float:
        if padded:
            metric = evaluate(padded.at(ranks))
        else:
            own = _methods_at(parts, ranks, method, options) if method == AUTO else method
            metric = evaluate(reduce(model, ranks, own, data, **options))
        try:
            return float(metric)
        except (TypeError, ValueError) as error:
            raise ValueError(f"evaluate returned {quote(metric)}; expected one number, higher is better.") from error

    return measure


def _methods_at(parts: Mapping[str, Part], ranks: Ranks, method: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The method for each layer whose states are reduced."""
    reduced = {n: part for n, part in parts.items() if part.kind == "states" and ranks[n] < part.max_rank}
    if method != AUTO:
        return dict.fromkeys(reduced, method)
    return {name: part.truncate(ranks[name], method, **options).method for name, part in reduced.items()}


def _fingerprint(
    model: keras.Model,
    parts: Mapping[str, Part],
    evaluate: Callable[[keras.Model], float],
    data: Any,
    method: str,
    options: Mapping[str, Any],
) -> dict[str, str]:
    # Rounded, since the last digits of a spectrum are those of the machine.
    spectra = {
        name: np.round(part.spectrum / max(part.spectrum[0], np.finfo(float).tiny), 4) for name, part in parts.items()
    }
    return {
        "weights": model_digest(model),
        "ranks to choose from": digest([part.choices for part in parts.values()]),
        "spectra": digest(spectra),
        "method": method,
        "options": digest(options),
        "data": digest(data),
        "validation data": getattr(evaluate, "fingerprint", ""),
    }


def _expected_evaluations(parts: Mapping[str, Part], search: str) -> int:
    """Of the parts alone, by bisection; how many a repair takes nobody knows before."""
    of_part = (lambda count: count - 1) if search == "scan" else lambda count: math.ceil(math.log2(count))
    return 2 + sum(of_part(len(part.choices)) for part in parts.values())


@contextlib.contextmanager
def _bar(expected: int, progress: bool) -> Iterator[Callable[[Evaluation], None]]:
    """Shows evaluations as they come; grows beyond what was expected."""
    columns = (TextColumn("Rank-Tuning"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), transient=True, disable=not progress) as bar:
        task = bar.add_task("", total=expected, note="")
        done = 0

        def report(evaluation: Evaluation) -> None:
            nonlocal done
            done += 1
            note = f"metric {evaluation.metric:.4g} at {evaluation.flash:,} bytes"
            bar.update(task, completed=done, total=max(expected, done), note=note)

        yield report


def _check_arguments(evaluate: Any, target: float | None, relative_loss: float | None, search: str) -> None:
    if not callable(evaluate):
        raise ValueError(
            f"rank_tuning got evaluate={quote(evaluate)}; expected a function of a model, such as accuracy_on(x, y)."
        )
    if (target is None) == (relative_loss is None):
        raise ValueError(
            f"rank_tuning got target={target}, relative_loss={relative_loss}; give exactly one of the two."
        )
    if target is not None and not (is_real(target) and math.isfinite(target)):
        raise ValueError(f"rank_tuning got target={quote(target)}; expected a finite number.")
    if relative_loss is not None and not (is_real(relative_loss) and 0.0 <= relative_loss < math.inf):
        raise ValueError(f"rank_tuning got relative_loss={quote(relative_loss)}; expected a number of at least 0.")
    choice(search, "rank_tuning got search=", SEARCHES)
