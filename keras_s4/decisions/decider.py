"""Decisions in a stream, in exact integers, as the C99 of a firmware makes them.

At each decision, the levels of all classes (see `scores`) are averaged, compared with thresholds, and counted:

    average += ((level - average) weight + 2**30) >> 31        the first level behind `settling` starts it
    class c is sure:      average[c] > threshold[c]
    class c is released:  average[c] <= release[c]

Right shifts round downwards. Everything fits 32 bits, but for one product of 64 in each average.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import NamedTuple

import numpy as np

from keras_s4.brief import Brief
from keras_s4.decisions.integers import WEIGHT_BITS, Integers
from keras_s4.decisions.scores import Scores
from keras_s4.decisions.settings import CLASS, LABELS, MOST_CONFIRMATIONS, Decision

NOTHING = -1


class Event(NamedTuple):
    """Something that happened: at which decision of the stream, counted from 0, and which class."""

    decision: int
    label: int


@dataclasses.dataclass(frozen=True, repr=False)
class Decisions(Brief):
    """What was decided in a stream.

    Args:
        kind: of the decisions.
        on: bool `[..., L, C]`: which class is said; or is an event that has not been released; or which labels are on.
        fired: bool `[..., L, C]`: to which class was changed, or which event has begun, or which label has gone on.
    """

    kind: str
    on: np.ndarray
    fired: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """Int `[..., L]`: the class that is said, of wake words the one whose event this is; -1 for none.

        Raises:
            ValueError: several labels have no one class.
        """
        if self.kind == LABELS:
            raise ValueError('Decisions of kind "labels" are one for each label; see `on` and `fired`.')
        marks = self.on if self.kind == CLASS else self.fired
        return np.where(marks.any(axis=-1), marks.argmax(axis=-1), NOTHING)

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened in one stream, in its order.

        Raises:
            ValueError: these are several streams.
        """
        if self.fired.ndim != 2:
            raise ValueError(f"These are the decisions of several streams, {list(self.fired.shape)}; take one of them.")
        return tuple(Event(*place) for place in np.argwhere(self.fired).tolist())


class Decider:
    """Makes decisions from the outputs of a model, step by step or for whole streams.

    Args:
        decision: the settings.
        scores: what the outputs are; `Scores(count=C)` for probabilities of a Keras model. A converted model gives both
            together: `firmware.decider(decision)`.
        unready: decisions after a reset whose outputs mean nothing yet, as behind convolutions without padding.

    Raises:
        ValueError: the two do not fit together.
    """

    def __init__(self, decision: Decision, scores: Scores, unready: int = 0):
        self.decision = decision
        self.scores = scores
        self.integers = Integers.of(decision, scores, unready)
        self.reset()

    def __repr__(self) -> str:
        return f"Decider({self.decision!r}, {self.scores!r})"

    def reset(self) -> None:
        """Forgets everything: for the start of a stream, and after a gap in it."""
        self._average = Average(self.integers)
        self._machine = machine_of(self.integers)

    def step(self, values) -> Decisions:
        """Makes the next decision of a stream.

        Args:
            values: the outputs at its end, `[C]`: integers of the program, or real numbers (see `Scores.levels`).

        Returns:
            `on` and `fired`, `[C]`.

        Raises:
            TypeError, ValueError: see `Scores.levels`.
        """
        levels = self.scores.levels(values)
        if levels.ndim != 1:
            raise ValueError(f"step received scores of shape {list(np.shape(values))}; expected [{self.scores.count}].")
        on, fired = self._machine.step(self._average.step(levels)[None])
        return Decisions(self.integers.kind, on[0], fired[0])

    def run(self, values) -> Decisions:
        """Makes all decisions of streams, each from a reset; what `step` has begun goes on behind it.

        Args:
            values: `[L, C]` of a stream or `[B, L, C]` of several: the outputs at each decision, not at each step.

        Returns:
            `on` and `fired`, of the same shape.

        Raises:
            TypeError, ValueError: see `Scores.levels`.
        """
        levels = self.scores.levels(values)
        if levels.ndim not in (2, 3):
            raise ValueError(
                f"run received scores of shape {list(np.shape(values))}; expected [L, {self.scores.count}] of a stream "
                f"or [B, L, {self.scores.count}] of several."
            )
        batch = levels.reshape(-1, *levels.shape[-2:])
        on, fired = decide(self.integers, average(self.integers, batch))
        return Decisions(self.integers.kind, on.reshape(levels.shape), fired.reshape(levels.shape))

    def every(self, outputs) -> np.ndarray:
        """Of the outputs at every step, `[..., steps, C]`, those from which decisions are made, `[..., L, C]`."""
        every = self.decision.every
        return np.asarray(outputs)[..., every - 1 :: every, :]


class Average:
    """The exponential average of levels, int64. It starts when the model has settled.

    Args:
        integers: of the decision.
    """

    def __init__(self, integers: Integers):
        self._weight = integers.weight
        self._settling = integers.settling
        self._now: np.ndarray | None = None

    def step(self, levels: np.ndarray) -> np.ndarray:
        """The average with these levels; until the model has settled they themselves."""
        if self._settling:
            self._settling -= 1
            return levels
        if self._now is None or not self._weight:
            self._now = levels
        else:
            self._now = self._now + (((levels - self._now) * self._weight + 2 ** (WEIGHT_BITS - 1)) >> WEIGHT_BITS)
        return self._now


def average(integers: Integers, levels: np.ndarray) -> np.ndarray:
    """Averaged levels of streams, `[B, L, C]`."""
    if not integers.weight or not levels.size:
        return levels
    state = Average(integers)
    return np.stack([state.step(levels[:, index]) for index in range(levels.shape[1])], axis=1).reshape(levels.shape)


def decide(
    integers: Integers, averages: np.ndarray, thresholds: np.ndarray | None = None, releases: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What is on and what fires, bool `[B, L, C]`.

    Args:
        integers: of the decision.
        averages: `[B, L, C]`; or `[1, L, C]` for B decisions with thresholds of their own.
        thresholds: levels `[B, C]` instead of those of the decision.
        releases: levels `[B, C]`.
    """
    batch = len(averages) if thresholds is None else len(thresholds)
    machine = machine_of(integers, batch, thresholds, releases)
    on = np.zeros((batch, *averages.shape[1:]), bool)
    fired = np.zeros_like(on)
    for index in range(averages.shape[1]):
        on[:, index], fired[:, index] = machine.step(averages[:, index])
    return on, fired


class Machine(abc.ABC):
    """What is remembered from one decision to the next, of B streams at once.

    Args:
        integers: of the decision.
        batch: B.
        thresholds: levels `[B, C]`.
        releases: levels `[B, C]`.
    """

    def __init__(self, integers: Integers, batch: int, thresholds: np.ndarray, releases: np.ndarray):
        self.integers = integers
        self.thresholds, self.releases = thresholds, releases
        self.settling = integers.settling
        self.classes = np.arange(integers.count)
        self._rows = np.arange(batch)

    def step(self, averages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is on and what fires, bool `[B, C]`, from averages `[B, C]` or `[1, C]`."""
        if self.settling:
            self.settling -= 1
            return self.marks(), np.zeros_like(self.marks())
        return self._decide(averages)

    @abc.abstractmethod
    def marks(self) -> np.ndarray:
        """What is on."""

    @abc.abstractmethod
    def _decide(self, averages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is on and what fires, once settled; see `step`."""


class ClassMachine(Machine):
    """Says one class, and changes when another is sure.

    The said class gives way to the likeliest one where that is sure, or else to the background where it is released.
    """

    def __init__(self, integers: Integers, batch: int, thresholds: np.ndarray, releases: np.ndarray):
        super().__init__(integers, batch, thresholds, releases)
        self._said = np.full(batch, integers.background)
        self._wanted = np.full(batch, NOTHING)
        self._count = np.zeros(batch, int)
        self._rest = np.zeros(batch, int)

    def marks(self) -> np.ndarray:
        """What is said, bool `[B, C]`."""
        return self._said[:, None] == self.classes

    def _decide(self, averages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        averages = np.broadcast_to(averages, self.thresholds.shape)
        likeliest = averages.argmax(axis=1)
        self._rest = np.maximum(self._rest - 1, 0)
        wanted = self._wish(averages, likeliest)
        differs = wanted != self._said
        again = differs & (wanted == self._wanted)
        self._count = np.where(again, np.minimum(self._count + 1, MOST_CONFIRMATIONS), differs)
        self._wanted = np.where(differs, wanted, NOTHING)
        changes = differs & (self._count >= self.integers.confirmations) & (self._rest == 0)
        first = self._said == NOTHING
        wanted, changes = np.where(first, likeliest, wanted), changes | first
        self._said = np.where(changes, wanted, self._said)
        self._wanted = np.where(changes, NOTHING, self._wanted)
        self._count = np.where(changes, 0, self._count)
        self._rest = np.where(changes, self.integers.refractory, self._rest)
        return self.marks(), self.marks() & changes[:, None]

    def _wish(self, averages: np.ndarray, likeliest: np.ndarray) -> np.ndarray:
        """The class that would be said if nothing had to be confirmed, `[B]`."""
        background, said, rows = self.integers.background, np.maximum(self._said, 0), self._rows
        sure = averages[rows, likeliest] > self.thresholds[rows, likeliest]
        released = averages[rows, said] <= self.releases[rows, said]
        held = ~released & (self._said != background) & self.integers.holds
        wanted = np.where(sure & ~held, likeliest, self._said)
        if background == NOTHING:
            return wanted
        return np.where(~sure & released, background, wanted)


class EventMachine(Machine):
    """Each class goes on when it is sure, and off when it is released; of wake words one at a time goes on."""

    def __init__(self, integers: Integers, batch: int, thresholds: np.ndarray, releases: np.ndarray):
        super().__init__(integers, batch, thresholds, releases)
        self._on = np.zeros(thresholds.shape, bool)
        self._count = np.zeros(thresholds.shape, int)
        self._rest = np.zeros(thresholds.shape, int)

    def marks(self) -> np.ndarray:
        """What is on, bool `[B, C]`."""
        return self._on.copy()

    def _decide(self, averages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._rest = np.maximum(self._rest - 1, 0)
        self._on &= averages > self.releases
        sure = (averages > self.thresholds) & (self.classes != self.integers.background)
        self._count = np.where(sure, np.minimum(self._count + 1, MOST_CONFIRMATIONS), 0)
        fired = ~self._on & (self._count >= self.integers.confirmations) & (self._rest == 0)
        if self.integers.kind == LABELS:
            rests = fired
        else:
            likeliest = np.where(fired, averages, np.iinfo(np.int64).min).argmax(axis=1)
            fired &= self.classes == likeliest[:, None]
            rests = fired.any(axis=1)[:, None]
        self._on |= fired
        self._rest = np.where(rests, self.integers.refractory, self._rest)
        return self.marks(), fired


def machine_of(
    integers: Integers, batch: int = 1, thresholds: np.ndarray | None = None, releases: np.ndarray | None = None
) -> Machine:
    """A machine in its first state; see `decide` for the thresholds."""
    kind = ClassMachine if integers.kind == CLASS else EventMachine
    shape = batch, integers.count
    thresholds = np.broadcast_to(integers.thresholds if thresholds is None else thresholds, shape)
    releases = np.broadcast_to(integers.releases if releases is None else releases, shape)
    return kind(integers, batch, thresholds, releases)
