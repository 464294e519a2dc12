"""Choosing a threshold on validation streams: the best F1, or the most events found at a rate of false alarms."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from keras_s4.brief import Brief
from keras_s4.checks import number, whole_number
from keras_s4.decisions.decider import average, decide
from keras_s4.decisions.integers import Integers
from keras_s4.decisions.scores import Scores
from keras_s4.decisions.settings import LABELS, WAKE_WORD, Decision
from keras_s4.recordings import UNLABELLED

POINTS = 96


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Curve(Brief):
    """What each threshold would do on the streams it was tried on, `[T]` each, thresholds ascending.

    An event is a stretch of equal true labels other than the background, or of a label that is there. It is found if it
    is said, on, or fires from its first decision up to `tolerance` behind its last. What fires outside of every event
    of its class is a false alarm; what fires where no label is known counts for nothing.

    Args:
        thresholds: real numbers of the outputs.
        found: events found.
        missed: events not found.
        false_alarms: how many.
        fired: how often something fired where labels are known.
        delay: mean decisions from the start of an event to its finding, NaN where none is found.
        hours: of labelled stream; NaN where the decision knows no rate.
    """

    thresholds: np.ndarray
    found: np.ndarray
    missed: np.ndarray
    false_alarms: np.ndarray
    fired: np.ndarray
    delay: np.ndarray
    hours: float

    @property
    def recall(self) -> np.ndarray:
        """The share of events found; NaN where there are none."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def precision(self) -> np.ndarray:
        """Of all that was found or alarmed falsely, the share found; NaN where nothing was."""
        return _ratio(self.found, self.found + self.false_alarms)

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.found, 2 * self.found + self.missed + self.false_alarms)

    @property
    def false_alarms_an_hour(self) -> np.ndarray:
        """False alarms an hour."""
        return self.false_alarms / self.hours


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Choice(Brief):
    """A threshold, and how it was chosen.

    Args:
        decision: the settings with the threshold.
        curves: one, or one for each label but the background, which keeps its threshold.
        places: where in each curve the choice lies; None for a label that has no event, and keeps its threshold.
    """

    decision: Decision
    curves: tuple[Curve, ...]
    places: tuple[int | None, ...]

    @property
    def threshold(self) -> float | tuple[float, ...]:
        """What was chosen."""
        return self.decision.threshold

    @property
    def curve(self) -> Curve:
        """The curve, where it is one."""
        if len(self.curves) != 1:
            raise ValueError(f"Each of {len(self.curves)} labels has a curve; see `curves`.")
        return self.curves[0]


def choose_threshold(
    decision: Decision,
    streams: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    *,
    scores: Scores | None = None,
    false_alarms: float | None = None,
    tolerance: float = 0.0,
    points: int = POINTS,
) -> Choice:
    """Chooses the threshold of a decision on streams, which should be validation data.

    Labels of kind "labels" get a threshold each; one that never is there keeps its threshold, and a warning names it. A
    release above a threshold that is tried is lowered to it.

    Args:
        decision: all other settings.
        streams: R arrays `[L, C]`: the outputs at each decision of a recording; see `Decider.every`.
        truth: R arrays `[L]` of classes at each decision, `UNLABELLED` where none is known; of "labels" `[L, C]` of 0
            and 1, or `[L]` where C is 1.
        scores: what the outputs are; by default probabilities or other numbers from -1 to 1 of a Keras model. Scores of
            any size, such as those of an anomaly, need `Scores(count=1, softmax=False, scale=largest * 2.0**-30)`.
        false_alarms: how many an hour may be; the most events that can be found with so few are. Where there are no
            events to find, as in recordings of what is normal, the lowest threshold with so few. By default the
            threshold of the best F1.
        tolerance: how long behind its end an event may be found, in the unit of the decision's times.
        points: how many thresholds are tried.

    Raises:
        TypeError: see `Scores.levels`.
        ValueError: streams and truth that do not fit; no rate where alarms are to be counted by the hour; no event, and
            no rate of false alarms either.
    """
    streams, truth = list(streams), [np.asarray(labels) for labels in truth]
    scores = _scores_of(decision, streams) if scores is None else scores
    late = round(decision.in_decisions(number(tolerance, "choose_threshold got tolerance=", 0.0)))
    points = whole_number(points, "choose_threshold got points=", 2)
    if false_alarms is not None:
        number(false_alarms, "choose_threshold got false_alarms=", 0.0)
        if decision.rate is None:
            raise ValueError("choose_threshold got false_alarms an hour, and a decision without a rate; say rate=.")
    integers = Integers.of(decision, scores)
    levels = [average(integers, scores.levels(stream)[None])[0] for stream in streams]
    marks = _marks_of(integers, levels, truth)
    columns = [list(range(scores.count))]
    if decision.kind == LABELS:
        columns = [[c] for c in range(scores.count) if c != integers.background]
    curves = [_curve(decision, scores, integers, levels, marks, own, late, points) for own in columns]
    places = [_place(curve, false_alarms) for curve in curves]
    if all(place is None for place in places):
        raise ValueError(
            "choose_threshold received no event, so that no F1 can be told; give the false alarms an hour that may be: "
            "false_alarms=."
        )
    found = np.array(np.broadcast_to(decision.threshold, scores.count), float)
    for own, curve, place in zip(columns, curves, places, strict=True):
        if place is not None:
            found[own] = curve.thresholds[place]
    _warn_of_absent(decision, [own[0] for own, place in zip(columns, places, strict=True) if place is None])
    several = decision.kind == LABELS and scores.count > 1
    chosen = _with_threshold(decision, tuple(found.tolist()) if several else float(found[0]), scores.count)
    return Choice(chosen, tuple(curves), tuple(places))


def _curve(
    decision: Decision,
    scores: Scores,
    integers: Integers,
    levels: list[np.ndarray],
    marks: list[tuple[np.ndarray, np.ndarray]],
    columns: list[int],
    late: int,
    points: int,
) -> Curve:
    """What thresholds do for some of the classes, the others being as they are."""
    judged = [c for c in columns if c != integers.background]
    tried = _candidates([each[integers.settling :, judged] for each in levels], points)
    thresholds = np.tile(np.array(integers.thresholds), (len(tried), 1))
    thresholds[:, columns] = tried[:, None]
    releases = thresholds if decision.release is None else np.array(integers.releases)
    if decision.release is not None and integers.kind in (WAKE_WORD, LABELS):
        releases = np.minimum(releases, thresholds)
    totals, delays = np.zeros((4, len(tried)), int), np.zeros(len(tried))
    steps = 0
    for each, (there, known) in zip(levels, marks, strict=True):
        on, fired = decide(integers, each[None], thresholds, releases)
        seen = fired if integers.kind == WAKE_WORD else on
        for c in judged:
            counts, waited = _count(seen[:, :, c], fired[:, :, c], there[:, c], known, late)
            totals += counts
            delays += waited
        steps += int(known.sum())
    found, missed, false_alarms, all_fired = totals
    hours = float("nan") if decision.rate is None else steps * decision.every / decision.rate / 3600
    return Curve(scores.real(tried + 0.5), found, missed, false_alarms, all_fired, _ratio(delays, found), hours)


def _count(
    seen: np.ndarray, fired: np.ndarray, there: np.ndarray, known: np.ndarray, late: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of one class: found, missed, false alarms and firings, `[4, T]`, and the summed delays `[T]`.

    Args:
        seen: bool `[T, L]`, where an event may be found.
        fired: bool `[T, L]`.
        there: bool `[L]`, where the class is true.
        known: bool `[L]`.
        late: decisions behind an event that still belong to it.
    """
    changes = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    near = there.copy()
    found, waited = np.zeros(len(seen), int), np.zeros(len(seen))
    starts, ends = changes[::2], changes[1::2]
    for start, end in zip(starts, ends, strict=True):
        near[end : end + late] = True
        part = seen[:, start : end + late]
        hit = part.any(axis=1)
        found += hit
        waited += np.where(hit, part.argmax(axis=1), 0)
    counted = fired & known
    return np.stack([found, len(starts) - found, (counted & ~near).sum(axis=1), counted.sum(axis=1)]), waited


def _candidates(levels: list[np.ndarray], points: int) -> np.ndarray:
    """Levels to try as thresholds, ascending; no score is above the last.

    A third is evenly spaced. Between two of the next third lie equally many scores, and above each of the last a share
    of them that falls by equal factors down to a single score: false alarms are rare.
    """
    largest = np.concatenate([each.max(axis=1) for each in levels])
    if not len(largest):
        raise ValueError("choose_threshold received streams that end before a decision is made.")
    third = -(-points // 3)
    even = np.linspace(largest.min(), largest.max(), third)
    above = 0.5 * np.geomspace(1.0, min(1.0, 2.0 / len(largest)), third)
    shares = np.concatenate([np.linspace(0, 1, third), 1 - above])
    return np.unique(np.concatenate([even, np.quantile(largest, shares)]).astype(np.int64))


def _warn_of_absent(decision: Decision, labels: list[int]) -> None:
    if labels:
        names = ", ".join(repr(decision.classes[label] if decision.classes else label) for label in labels)
        warnings.warn(
            f"choose_threshold received no event of label {names}: no F1 can be told, and its threshold stays as it "
            "was. Give streams with such events, or the false alarms an hour that may be: false_alarms=.",
            stacklevel=3,
        )


def _place(curve: Curve, false_alarms: float | None) -> int | None:
    """The best threshold of a curve, None where no F1 can be told.

    Of equally good neighbours it is that in the middle, or with the fewest scores below.
    """
    if false_alarms is None:
        if not (curve.found + curve.missed).any():
            return None
        best = np.flatnonzero(curve.f1 == curve.f1.max())
        return int(_first_run(best)[(len(_first_run(best)) - 1) // 2])
    # What never falls below a low threshold alarms once and for ever: few alarms count from the top only.
    loud = np.flatnonzero(curve.false_alarms_an_hour > false_alarms)
    start = loud[-1] + 1 if len(loud) else 0
    return int(start + np.argmax(curve.found[start:]))


def _first_run(places: np.ndarray) -> np.ndarray:
    """The first places that follow each other without a gap."""
    gaps = np.flatnonzero(np.diff(places) > 1)
    return places[: gaps[0] + 1] if len(gaps) else places


def _scores_of(decision: Decision, streams: list[np.ndarray]) -> Scores:
    """Real numbers between -1 and 1, probabilities or others."""
    if not streams:
        raise ValueError("choose_threshold received no stream.")
    shape = np.shape(streams[0])
    return Scores(count=shape[1] if len(shape) > 1 else 1, softmax=decision.kind != LABELS)


def _with_threshold(decision: Decision, threshold: float | tuple[float, ...], count: int) -> Decision:
    if decision.release is None or decision.kind not in (WAKE_WORD, LABELS):
        return dataclasses.replace(decision, threshold=threshold)
    if not isinstance(threshold, tuple) and not isinstance(decision.release, tuple):
        return dataclasses.replace(decision, threshold=threshold, release=min(decision.release, threshold))
    both = np.broadcast_to(decision.release, count), np.broadcast_to(threshold, count)
    release = tuple(np.minimum(*both).tolist())
    return dataclasses.replace(decision, threshold=threshold, release=release)


def _marks_of(
    integers: Integers, levels: list[np.ndarray], truth: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where each class is true, bool `[L, C]`, and where anything is known, bool `[L]`, of each stream."""
    if not levels or len(levels) != len(truth):
        raise ValueError(f"choose_threshold received {len(levels)} streams and {len(truth)} truths; expected as many.")
    marks = []
    for index, (each, labels) in enumerate(zip(levels, truth, strict=True)):
        several = integers.kind == LABELS
        labels = labels[:, None] if several and labels.ndim == 1 else labels
        shape = each.shape if several else each.shape[:1]
        if each.ndim != 2 or labels.shape != shape:
            raise ValueError(
                f"choose_threshold received truth of shape {list(labels.shape)} for the scores {list(each.shape)} of "
                f"stream {index}; expected {list(shape)}."
            )
        if labels.dtype.kind not in "iub" or (labels > (1 if several else integers.count - 1)).any():
            expected = "0 and 1" if several else f"classes from 0 to {integers.count - 1}"
            raise ValueError(
                f"choose_threshold received truth of type {labels.dtype} up to {labels.max()} for stream {index}; "
                f"expected {expected}, and {UNLABELLED} where nothing is known."
            )
        there = labels == 1 if several else labels[:, None] == np.arange(integers.count)
        known = (labels != UNLABELLED).all(axis=1) if several else labels != UNLABELLED
        marks.append((there, known))
    return marks


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.where(under > 0, over / np.maximum(under, 1), np.nan)
