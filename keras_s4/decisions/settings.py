"""What a decision in a live stream is made by: the settings, in numbers of the user's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_s4.checks import choice, is_real, number, quote, whole_number

CLASS, WAKE_WORD, LABELS = KINDS = ("class", "wake word", "labels")
# Decisions that a time may last: the firmware counts them in 32 bits, and confirmations in 16.
LONGEST, MOST_CONFIRMATIONS = 2**31 - 1, 2**16 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """How decisions are made from the outputs of a model, one every `every` steps of a stream that has no end.

    - "class": one class is said at any time, and another one only when it is sure. At first that is the background,
      without one the likeliest class.
    - "wake word": an event of one class at a time, when it appears; the next one of the same class needs its score to
      fall to `release` first.
    - "labels": each label is on or off by itself, with an event when it goes on. So is an alarm of a model with one
      score.

    Args:
        kind: "class", "wake word" or "labels".
        every: steps of the signal from one decision to the next.
        rate: steps a second; `smoothing`, `refractory` and `settling` are then in seconds, without it in decisions.
        smoothing: time constant of the exponential average of the scores; 0 for none.
        threshold: above which a class is sure, as a real number of the model's outputs: of a softmax a probability.
            Or one for each class.
        release: at or below which it is so no more (hysteresis), at most `threshold` where there are events. By default
            that is the threshold; a said class then gives way to any other that is sure.
        confirmations: decisions in a row that must agree before something changes.
        refractory: time from a change or event to the next one; with "labels" of the same label.
        settling: time after a start or a gap in which nothing is decided.
        background: the class that means that nothing happens: it is no event, and is said where no class is sure; its
            index, or its name. None if there is no such class.
        classes: their names, if they have any.
        output: the name of the output that decides, where a model has several.

    Raises:
        ValueError: settings that contradict each other, or numbers out of range.
    """

    kind: str = CLASS
    every: int = 1
    rate: float | None = None
    smoothing: float = 0.0
    threshold: float | tuple[float, ...] = 0.5
    release: float | tuple[float, ...] | None = None
    confirmations: int = 1
    refractory: float = 0.0
    settling: float = 0.0
    background: int | str | None = None
    classes: tuple[str, ...] = ()
    output: str | None = None

    def __post_init__(self):
        choice(self.kind, "Decision got kind=", KINDS)
        self._set("every", whole_number(self.every, "Decision got every="))
        if self.rate is not None:
            self._set("rate", number(self.rate, "Decision got rate="))
            if self.rate <= 0:
                raise ValueError(f"Decision got rate={quote(self.rate)}; expected steps a second, above 0, or None.")
        for name in ("smoothing", "refractory", "settling"):
            self._set(name, number(getattr(self, name), f"Decision got {name}=", 0.0))
            if self.in_decisions(getattr(self, name)) > LONGEST:
                raise ValueError(
                    f"Decision got {name}={getattr(self, name):g}, which is {self.in_decisions(getattr(self, name)):g} "
                    f"decisions; expected {LONGEST} at most."
                )
        self._set("confirmations", whole_number(self.confirmations, "Decision got confirmations="))
        if self.confirmations > MOST_CONFIRMATIONS:
            raise ValueError(f"Decision got confirmations={self.confirmations}; expected {MOST_CONFIRMATIONS} at most.")
        self._check_names()
        self._set("threshold", _numbers(self.threshold, "threshold"))
        if self.release is not None:
            self._set("release", _numbers(self.release, "release"))
        if self.kind != CLASS and self.release is not None:
            self._check_release()

    @property
    def background_index(self) -> int | None:
        """The number of the background class."""
        return self.classes.index(self.background) if isinstance(self.background, str) else self.background

    def in_decisions(self, time: float) -> float:
        """A time of these settings as a number of decisions, which need not be whole."""
        return time if self.rate is None else time * self.rate / self.every

    @property
    def seconds(self) -> float | None:
        """From one decision to the next; None where no rate is known."""
        return None if self.rate is None else self.every / self.rate

    def to_dict(self) -> dict[str, Any]:
        """The settings, ready for JSON and TOML: what is None is left out."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Decision:
        """The settings that `to_dict` gave, or that stand in a table of TOML.

        Raises:
            TypeError: no table.
            ValueError: settings that there are not, or see above.
        """
        if not isinstance(settings, Mapping):
            raise TypeError(f"Decision.from_dict received {quote(settings)}; expected a dict of settings by name.")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [str(name) for name in settings if name not in known]
        if unknown:
            raise ValueError(f"A decision has no setting {', '.join(unknown)}; it has {', '.join(known)}.")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_names(self) -> None:
        if isinstance(self.classes, str) or not isinstance(self.classes, Sequence):
            raise ValueError(f"Decision got classes={quote(self.classes)}; expected names of classes.")
        self._set("classes", tuple(self.classes))
        if not all(isinstance(name, str) for name in self.classes) or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"Decision got classes={quote(self.classes)}; expected different texts.")
        if self.output is not None and not isinstance(self.output, str):
            raise ValueError(f"Decision got output={quote(self.output)}; expected the name of an output, or None.")
        if isinstance(self.background, str):
            if self.background not in self.classes:
                known = ", ".join(map(repr, self.classes)) or "none are given; say classes="
                raise ValueError(f"Decision got background={self.background!r}; expected one of the classes: {known}.")
        elif self.background is not None:
            self._set("background", whole_number(self.background, "Decision got background=", 0))

    def _check_release(self) -> None:
        for release, threshold in zip(*_paired(self.release, self.threshold), strict=True):
            if release > threshold:
                raise ValueError(
                    f"Decision got release={release:g} above threshold={threshold:g}; an event would end when it "
                    "begins. Expected a release of at most the threshold."
                )


def _numbers(value: Any, name: str) -> float | tuple[float, ...]:
    """A number, or one for each class."""
    what = f"Decision got {name}="
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise ValueError(f"{what}{quote(value)}; expected a number, or one for each class.")
        return tuple(number(each, what) for each in value)
    if is_real(value) and not math.isfinite(value):
        raise ValueError(f"{what}{quote(value)}; expected a finite number.")
    return number(value, what)


def _paired(one: float | tuple[float, ...], other: float | tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Both as lists of one length.

    Raises:
        ValueError: they are for different numbers of classes.
    """
    count = max(len(each) if isinstance(each, tuple) else 1 for each in (one, other))
    lists = [list(each) if isinstance(each, tuple) else [each] * count for each in (one, other)]
    if len(lists[0]) != len(lists[1]):
        raise ValueError(
            f"Decision got {len(lists[0])} releases and {len(lists[1])} thresholds; expected as many, or one for all."
        )
    return lists[0], lists[1]
