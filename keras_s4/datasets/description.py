"""What is said of a task, section by section, as it stands in a TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from keras_s4.checks import number, whole_number
from keras_s4.datasets.live import Live
from keras_s4.recordings.layout import Channels, Groups, Labels, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aim:
    """Section `[task]`: what is to be learned.

    Args:
        name: short; results are kept under it. By default that of the file.
        title: a headline.
        purpose: "to recognise ... from ...".
        kind: "classes" to be told apart, "targets" to be measured, "multi_label" for several classes at once,
            "forecast" of the next steps, or "anomaly".
        horizon: of forecasts and anomalies, in steps.
        every_step: whether a model gives an output at every step.
    """

    name: str = ""
    title: str = ""
    purpose: str = ""
    kind: Literal["classes", "targets", "multi_label", "forecast", "anomaly"] = "classes"
    horizon: int = 1
    every_step: bool = False

    def __post_init__(self):
        whole_number(self.horizon, "[task] got horizon=")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows:
    """Section `[windows]`: what a model is trained on and tested with.

    Args:
        seconds: of a window.
        length: of a window in steps, instead of seconds.
        hop_seconds: from one window to the next; by default half a window.
        hop: likewise in steps.

    Raises:
        ValueError: both units, or none, or numbers out of range.
    """

    seconds: float | None = None
    length: int | None = None
    hop_seconds: float | None = None
    hop: int | None = None

    def __post_init__(self):
        if (self.seconds is None) == (self.length is None):
            found = "both seconds and length" if self.length is not None else "neither seconds nor length"
            raise ValueError(f"[windows] has {found}; expected one: the seconds of a window, or its length in steps.")
        if self.hop_seconds is not None and self.hop is not None:
            raise ValueError("[windows] has both hop_seconds and hop; expected one.")
        for name in ("seconds", "hop_seconds"):
            value = getattr(self, name)
            if value is not None and not number(value, f"[windows] got {name}=", 0.0):
                raise ValueError(f"[windows] got {name}=0; expected a number above 0.")
        for name in ("length", "hop"):
            if getattr(self, name) is not None:
                whole_number(getattr(self, name), f"[windows] got {name}=")

    def steps(self, rate: float | None) -> tuple[int, int]:
        """Length and hop in steps.

        Raises:
            ValueError: they are in seconds, and no rate is known; or shorter than a step.
        """
        length = self.length or self._steps("seconds", rate)
        if self.hop is None and self.hop_seconds is None:
            return length, max(1, length // 2)
        return length, self.hop or self._steps("hop_seconds", rate)

    def _steps(self, name: str, rate: float | None) -> int:
        seconds = getattr(self, name)
        if rate is None:
            raise ValueError(
                f"[windows] says {name} = {seconds:g}, and no rate is known: say [recordings] rate, steps a second, or "
                "[recordings] time, the column of times; or give lengths in steps."
            )
        if round(seconds * rate) < 1:
            raise ValueError(f"[windows] says {name} = {seconds:g}, which is no step at {rate:g} steps a second.")
        return round(seconds * rate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Section `[split]`: what models are tested with.

    Args:
        by: "group": no person, machine or recording on two sides; "time": each recording is cut in time; "given": the
            recordings say so themselves, by {split} in the path, a column or the table.
        fold: which part of the groups is kept for the test, from 0 on.
        folds: how many parts there are.
        stratified: whether each class should be in all parts.
    """

    by: Literal["group", "time", "given"] = "group"
    fold: int = 0
    folds: int = 5
    stratified: bool = True

    def __post_init__(self):
        whole_number(self.folds, "[split] got folds=", 3)
        if whole_number(self.fold, "[split] got fold=", 0) >= self.folds:
            raise ValueError(f"[split] got fold={self.fold}; expected a whole number from 0 to {self.folds - 1}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """All that is said of a task.

    Args:
        task: what is to be learned.
        recordings: where they are, and what is done about their faults.
        labels: where labels come from.
        groups: who or what was recorded.
        sensors: what the columns are; by default each column of numbers is a sensor.
        windows: what a model sees.
        split: what models are tested with.
        live: what a decision is in a live stream; None if models are asked at the end of a window.
        decision: of the decision layer in the firmware, by name; see `keras_s4.decisions`.
        training: what the job is asked for, by name; see `keras_s4.job.settings.Settings`. And `balance`,
            `mixed_lengths` and `augmentation` of `keras_s4.datasets.Task`.
    """

    task: Aim = dataclasses.field(default_factory=Aim)
    recordings: Source = dataclasses.field(default_factory=Source)
    labels: Labels = dataclasses.field(default_factory=Labels)
    groups: Groups = dataclasses.field(default_factory=Groups)
    sensors: tuple[Channels, ...] = ()
    windows: Windows = dataclasses.field(default_factory=lambda: Windows(length=128))
    split: Split = dataclasses.field(default_factory=Split)
    live: Live | None = None
    decision: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
