"""How good decisions in continuous streams are, where nobody knows when an event begins.

The truth is a class at each step, `UNLABELLED` where nobody knows it. An *interval* is a run of steps of one class;
what is `UNLABELLED` between two intervals parts them. Times of decisions are steps: a decision at step t was made when
sample t had come.

Two kinds of answers are judged. *Decisions* say at their steps which class there is. *Events* say once that something
has come, as a wake word does. Both detect an interval that is no background by saying its class at a step from the
first one of the interval up to `tolerance` behind its last one: a decision is due when the event is over, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_s4.brief import Brief
from keras_s4.checks import number, whole_number
from keras_s4.recordings import UNLABELLED

# What a decision says that finds no class, such as one below its threshold.
UNDECIDED = -1
SECONDS_PER_HOUR = 3600.0


class Intervals(NamedTuple):
    """Runs of steps of one class in a stream: their first steps, the steps behind their last ones, their classes."""

    starts: np.ndarray
    stops: np.ndarray
    classes: np.ndarray


class Matches(NamedTuple):
    """What each event of a stream was, and which of its intervals were detected.

    Args:
        intervals: of each event the index of the interval that it detects, or `FALSE`, `REPEATED` or `UNKNOWN`.
        detected: of each interval the step of the event that detects it, or -1.
    """

    intervals: np.ndarray
    detected: np.ndarray


# No interval of its class is there; one is, but was detected before; nobody knows what is there.
FALSE, REPEATED, UNKNOWN = -1, -2, -3


@dataclasses.dataclass(frozen=True, repr=False)
class Answers(Brief):
    """What was said about one continuous stream, and what was true.

    Args:
        steps: of the stream at which something was said, `[D]`, increasing.
        classes: that were said, `[D]`; `UNDECIDED` where none was.
        labels: the true class of each step of the stream, `[T]`; `UNLABELLED` where nobody knows it.

    Raises:
        ValueError: other numbers of classes than of steps; steps that do not increase, or outside the stream.
    """

    steps: np.ndarray
    classes: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        for name in ("steps", "classes", "labels"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
                raise ValueError(f"Answers got {name} of {array.dtype}{list(array.shape)}; expected whole numbers [n].")
            object.__setattr__(self, name, array.astype(np.int64))
        if len(self.steps) != len(self.classes):
            raise ValueError(f"Answers got {len(self.steps)} steps and {len(self.classes)} classes; expected as many.")
        if (np.diff(self.steps) <= 0).any():
            raise ValueError("Answers got steps that do not increase; expected one answer a step at most, in order.")
        if self.steps.size and (self.steps[0] < 0 or self.steps[-1] >= len(self.labels)):
            raise ValueError(
                f"Answers got steps from {self.steps[0]} to {self.steps[-1]} of a stream of {len(self.labels)}."
            )


def find_intervals(labels: np.ndarray) -> Intervals:
    """The intervals of a stream, in their order.

    Args:
        labels: `[T]`.
    """
    labels = np.asarray(labels)
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]]) if len(labels) else [0]
    starts, stops = np.asarray(bounds[:-1], int), np.asarray(bounds[1:], int)
    known = labels[starts] != UNLABELLED
    return Intervals(starts[known], stops[known], labels[starts[known]])


def are_settled(labels: np.ndarray, steps: int) -> np.ndarray:
    """Which steps of a stream have a class that has been true for so many steps, `[T]`; the start is a change, too."""
    settled = np.zeros(len(labels), bool)
    for start, stop, _ in zip(*find_intervals(labels), strict=True):
        settled[start + steps : stop] = True
    return settled


def onsets(answers: Answers, background: int | None = None) -> Answers:
    """The decisions that begin to say a class, as events: those whose class is not that of the decision before.

    Args:
        answers: decisions.
        background: the class that means that nothing happens; it is no event.
    """
    before = np.concatenate([[UNDECIDED], answers.classes[:-1]])
    begins = (answers.classes != before) & (answers.classes != UNDECIDED) & (answers.classes != background)
    return Answers(answers.steps[begins], answers.classes[begins], answers.labels)


def match_events(events: Answers, tolerance: int = 0) -> Matches:
    """Which events detect which intervals.

    In the order of time, each event detects the earliest interval of its class that may be detected at its step and was
    not yet. No event detects two intervals, and none is detected twice: a further event within it is `REPEATED`, which
    is no false alarm. An event that may detect none is a `FALSE` alarm, and `UNKNOWN` where its step is `UNLABELLED`.

    Args:
        events: what was said.
        tolerance: steps behind an interval at which it may still be detected.
    """
    found = find_intervals(events.labels)
    matched = np.full(len(events.steps), FALSE)
    detected = np.full(len(found.starts), -1)
    for index, (step, label) in enumerate(zip(events.steps, events.classes, strict=True)):
        there = (found.classes == label) & (found.starts <= step) & (step < found.stops + tolerance)
        free = np.flatnonzero(there & (detected < 0))
        if free.size:
            matched[index], detected[free[0]] = free[0], step
        elif there.any():
            matched[index] = REPEATED
        elif events.labels[step] == UNLABELLED:
            matched[index] = UNKNOWN
    return Matches(matched, detected)


def score_events(
    streams: Sequence[Answers], rate: float, tolerance: float = 0.0, background: int | None = None
) -> dict[str, Any]:
    """How well events say that something has come, over several streams.

    Args:
        streams: the events of each.
        rate: steps a second.
        tolerance: seconds behind an interval at which it may still be detected; see `match_events`.
        background: the class that means that nothing happens; None if something always does.

    Returns:
        JSON-ready: "hours" of all streams; "intervals", how many were to be detected, "missed" of them, and
        "missed_share" (None without any); "delay", "median" and "p90" of the seconds from the first step of an interval
        to what detects it (None if nothing does); "false_alarms" and "false_alarms_per_hour" of all streams' time;
        "repeated", how many events detected what was detected before.

    Raises:
        ValueError: no streams, or a rate or tolerance out of range.
    """
    steps = _steps_of(streams, rate, tolerance)
    pairs = [(match_events(_without(events, background), steps), find_intervals(events.labels)) for events in streams]
    due = [found.classes != background for _, found in pairs]
    detected = [match.detected[wanted] for (match, _), wanted in zip(pairs, due, strict=True)]
    starts = [found.starts[wanted] for (_, found), wanted in zip(pairs, due, strict=True)]
    said = np.concatenate([match.intervals for match, _ in pairs])
    return _figures_of_detection(streams, rate, starts, detected) | _figures_of_alarms(
        streams, rate, int(np.sum(said == FALSE)), repeated=int(np.sum(said == REPEATED))
    )


def score_decisions(
    streams: Sequence[Answers],
    classes: int,
    rate: float,
    tolerance: float = 0.0,
    background: int | None = None,
) -> dict[str, Any]:
    """How well decisions say what there is, at any time, over several streams.

    An interval is detected by the first decision for its class within it, whether or not it was said before it began.
    A false alarm is a decision that begins to say a class (see `onsets`) of which no interval may be detected there.

    Args:
        streams: the decisions of each.
        classes: C, how many there are.
        rate: steps a second.
        tolerance: seconds behind a change within which nobody could know. Decisions then do not count as settled, and
            what was true before may still be said.
        background: the class that means that nothing happens; None if something always does.

    Returns:
        JSON-ready, what `score_events` returns without "repeated", and: "decisions", how many are about labelled steps,
        and the "accuracy" of these; "settled", how many of them are not within the tolerance of a change,
        "settled_accuracy" of these, "per_class", the share of right ones of each class, `[C]`, and "confusion", how
        often each class (a row) was taken for each other, `[C, C]`. Shares of none are None.

    Raises:
        ValueError: no streams, a rate or tolerance out of range, or classes that are not 0 to C - 1.
    """
    classes = whole_number(classes, "score_decisions got classes=")
    steps = _steps_of(streams, rate, tolerance)
    for answers in streams:
        _check_classes(answers, classes)
    true, said, settled = (
        np.concatenate(parts) for parts in zip(*(_at_decisions(answers, steps) for answers in streams), strict=True)
    )
    labelled = true != UNLABELLED
    counts = np.zeros((classes, classes + 1), int)
    np.add.at(counts, (true[settled], said[settled]), 1)  # UNDECIDED, which is -1, is the last column
    starts, detected = zip(*(_first_decisions(answers, steps, background) for answers in streams), strict=True)
    alarms = sum(_false_onsets(answers, steps, background) for answers in streams)
    return {
        "decisions": int(labelled.sum()),
        "accuracy": _share((said == true)[labelled]),
        "settled": int(settled.sum()),
        "settled_accuracy": _share((said == true)[settled]),
        "per_class": [_share((said == index)[settled & (true == index)]) for index in range(classes)],
        "confusion": counts[:, :classes].tolist(),
        **_figures_of_detection(streams, rate, starts, detected),
        **_figures_of_alarms(streams, rate, alarms),
    }


def _steps_of(streams: Sequence[Answers], rate: float, tolerance: float) -> int:
    """The tolerance in steps, everything checked."""
    if not streams:
        raise ValueError("Streams to score are none; expected at least one.")
    if not number(rate, "The score of streams got rate=", 0.0):
        raise ValueError("The score of streams got rate=0; expected steps a second.")
    return round(number(tolerance, "The score of streams got tolerance=", 0.0) * rate)


def _check_classes(answers: Answers, classes: int) -> None:
    for what, found in (("decisions", answers.classes), ("labels", answers.labels)):
        if found.size and (found.min() < -1 or found.max() >= classes):
            raise ValueError(
                f"score_decisions got {what} from {found.min()} to {found.max()} of {classes} classes; expected 0 to "
                f"{classes - 1}, or -1 for none."
            )


def _without(events: Answers, background: int | None) -> Answers:
    """The events that say something."""
    kept = (events.classes != UNDECIDED) & (events.classes != background)
    return Answers(events.steps[kept], events.classes[kept], events.labels)


def _at_decisions(answers: Answers, tolerance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each decision what is true, what was said, and whether it counts as settled."""
    settled = are_settled(answers.labels, tolerance)
    return answers.labels[answers.steps], answers.classes, settled[answers.steps]


def _first_decisions(answers: Answers, tolerance: int, background: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The starts of the intervals that are no background, and of each the step of its first right decision, or -1."""
    found = find_intervals(answers.labels)
    wanted = found.classes != background
    detected = np.full(len(found.starts), -1)
    for index, (start, stop, label) in enumerate(zip(*found, strict=True)):
        right = (answers.classes == label) & (answers.steps >= start) & (answers.steps < stop + tolerance)
        if right.any():
            detected[index] = answers.steps[right.argmax()]
    return found.starts[wanted], detected[wanted]


def _false_onsets(answers: Answers, tolerance: int, background: int | None) -> int:
    return int(np.sum(match_events(onsets(answers, background), tolerance).intervals == FALSE))


def _figures_of_detection(
    streams: Sequence[Answers], rate: float, starts: Sequence[np.ndarray], detected: Sequence[np.ndarray]
) -> dict[str, Any]:
    starts, detected = np.concatenate(starts), np.concatenate(detected)
    missed = detected < 0
    delays = (detected - starts)[~missed] / rate
    median, late = np.percentile(delays, [50, 90]).tolist() if delays.size else (None, None)
    return {
        "hours": sum(len(answers.labels) for answers in streams) / rate / SECONDS_PER_HOUR,
        "intervals": len(starts),
        "missed": int(missed.sum()),
        "missed_share": _share(missed),
        "delay": {"median": median, "p90": late},
    }


def _figures_of_alarms(streams: Sequence[Answers], rate: float, alarms: int, **more: int) -> dict[str, Any]:
    hours = sum(len(answers.labels) for answers in streams) / rate / SECONDS_PER_HOUR
    return {"false_alarms": alarms, "false_alarms_per_hour": alarms / hours if hours else None, **more}


def _share(right: np.ndarray) -> float | None:
    return float(np.mean(right)) if right.size else None
