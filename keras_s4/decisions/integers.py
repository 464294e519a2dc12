"""The settings of a decision as the integers that Python and C99 compute with."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_s4.decisions.scores import Scores
from keras_s4.decisions.settings import CLASS, Decision

# Of the weight that a new score has in the average.
WEIGHT_BITS = 31


@dataclasses.dataclass(frozen=True)
class Integers:
    """A decision in integers. Levels are those of `Scores`; times are numbers of decisions.

    Args:
        kind: of the decision.
        count: C, of classes.
        weight: of a new score in the average, in 2**-31; 0 for no average.
        thresholds: levels, one a class.
        releases: levels, one a class.
        holds: whether a said class is kept while it is above its release, even if another is sure.
        confirmations: decisions in a row.
        refractory: from a change or event to the next.
        settling: decisions after a reset that are not made.
        background: its index, -1 for none.
    """

    kind: str
    count: int
    weight: int
    thresholds: tuple[int, ...]
    releases: tuple[int, ...]
    holds: bool
    confirmations: int
    refractory: int
    settling: int
    background: int

    @classmethod
    def of(cls, decision: Decision, scores: Scores, unready: int = 0) -> Integers:
        """The integers of a decision from these scores.

        Args:
            decision: the settings.
            scores: what the outputs are.
            unready: decisions after a reset whose outputs mean nothing yet; `settling` is at least that.

        Raises:
            ValueError: the two do not fit together.
        """
        count = scores.count
        if decision.kind == CLASS and count == 1:
            raise ValueError(
                'A decision of kind "class" is between two classes or more, and the model has one output. For a score '
                'above a threshold use kind="labels".'
            )
        thresholds = _levels(decision.threshold, scores, "thresholds")
        releases = thresholds if decision.release is None else _levels(decision.release, scores, "releases")
        if decision.classes and len(decision.classes) != count:
            raise ValueError(f"The decision has {len(decision.classes)} classes, the model {count} outputs.")
        background = -1 if decision.background_index is None else decision.background_index
        if background >= count:
            raise ValueError(f"The decision has background={background}; the model's classes are 0 to {count - 1}.")
        return cls(
            kind=decision.kind,
            count=count,
            weight=_weight(decision.in_decisions(decision.smoothing)),
            thresholds=thresholds,
            releases=releases,
            holds=decision.release is not None,
            confirmations=decision.confirmations,
            refractory=_decisions(decision.in_decisions(decision.refractory)),
            settling=max(unready, _decisions(decision.in_decisions(decision.settling))),
            background=background,
        )


def _levels(real: float | tuple[float, ...], scores: Scores, what: str) -> tuple[int, ...]:
    values = real if isinstance(real, tuple) else (real,) * scores.count
    if len(values) != scores.count:
        raise ValueError(f"The decision has {len(values)} {what}, the model {scores.count} outputs; expected as many.")
    return tuple(map(scores.level, values))


def _weight(time_constant: float) -> int:
    """Of a new score in an average whose old ones fade by 1 / e in the time constant; 0 if there is no average."""
    if time_constant == 0.0:
        return 0
    weight = -math.expm1(-1.0 / time_constant) * 2**WEIGHT_BITS
    return int(np.clip(round(weight), 1, 2**WEIGHT_BITS - 1))


def _decisions(time: float) -> int:
    """The least number of decisions that take so long; what rounding adds to a whole number does not count."""
    return math.ceil(time - 1e-9 * max(1.0, time))
