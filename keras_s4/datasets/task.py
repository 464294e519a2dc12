"""What is to be learned from which recordings: all that a training, a report and a figure need to know of the data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_s4.augmentation import ShuffledWindows
from keras_s4.brief import Brief
from keras_s4.checks import is_whole, quote
from keras_s4.recordings import Labelled, Recordings
from keras_s4.scoring.heads import CLASSES, REGRESSION, Head


class Splits(NamedTuple):
    """Recordings for three purposes, no group in two of them."""

    train: Recordings
    validation: Recordings
    test: Recordings


@dataclasses.dataclass(frozen=True)
class Sensor:
    """Features of one quantity, which share a pair of axes in figures.

    Args:
        name: the quantity, such as "acceleration".
        axes: a name for each feature, such as `("x", "y", "z")`.
        unit: of the quantity, "" if it has none.
    """

    name: str
    axes: tuple[str, ...]
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Metric:
    """What models are judged by, and a device against its model.

    Args:
        score: key in `keras_s4.scoring.scores.against_targets`.
        likeness: key in `keras_s4.scoring.scores.against_reference`.
    """

    score: str
    likeness: str


METRICS = {CLASSES: Metric("accuracy", "agreement"), REGRESSION: Metric("rmse", "snr")}


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Task(Brief):
    """What is to be learned from which recordings.

    Args:
        name: short; results are kept under it.
        title: a headline.
        purpose: what a model is trained to do, from what: "to recognise ... from ...".
        read: returns the recordings, split; called once, when they are first needed.
        length: L, steps of a window.
        hop: steps from one window to the next.
        sensors: what the features are, in their order.
        classes: C names, if classes are to be told apart; the labels of the recordings are their indices.
        targets: T names, if quantities are to be measured; the labels are these, best at about -1 to 1.
        rate: steps a second; None if they are not steps in time.
        group: what the recordings are split by, in the singular; None if each stands for itself.
        choices: what tells this split from others of the same recordings, by name; JSON-ready.
        meanings: of the names of classes or targets that do not speak for themselves.
        augment: makes what is trained on: `augment(recordings, length, batch_size=, seed=)`, a `keras.utils.PyDataset`
            whose attribute `epoch`, a number, chooses its variations. By default windows in a new order each epoch.

    Raises:
        ValueError: names, sensors, length or hop that no task can have.
    """

    name: str
    title: str
    purpose: str
    read: Callable[[], Splits]
    length: int
    hop: int
    sensors: tuple[Sensor, ...]
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    rate: float | None = None
    group: str | None = None
    choices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    augment: Callable[..., keras.utils.PyDataset] | None = None

    def __post_init__(self):
        if bool(self.classes) == bool(self.targets) or len(self.classes) == 1:
            raise ValueError(
                f"Task {self.name!r} got classes={quote(self.classes)}, targets={quote(self.targets)}; expected the "
                "names of two or more classes, or of one or more targets."
            )
        for field in ("length", "hop"):
            value = getattr(self, field)
            if not is_whole(value) or value < 1:
                raise ValueError(
                    f"Task {self.name!r} got {field}={quote(value)}; expected a whole number of at least 1."
                )
        if not self.input_shape[1]:
            raise ValueError(f"Task {self.name!r} got sensors={quote(self.sensors)}; expected one axis or more.")
        if self.rate is not None and not self.rate > 0:
            raise ValueError(f"Task {self.name!r} got rate={quote(self.rate)}; expected steps a second, or None.")

    @property
    def input_shape(self) -> tuple[int, int]:
        """`(L, features)` of a window."""
        return self.length, sum(len(sensor.axes) for sensor in self.sensors)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what a model gives."""
        return self.classes or self.targets

    @property
    def head(self) -> Head:
        """What the outputs mean."""
        return Head(CLASSES if self.classes else REGRESSION)

    @property
    def metric(self) -> Metric:
        """What models are judged by."""
        return METRICS[self.head.task]

    @functools.cached_property
    def splits(self) -> Splits:
        """The recordings.

        Raises:
            ValueError: they do not fit the task, or one group is in two splits.
        """
        read = tuple(self.read())
        if len(read) != len(Splits._fields):
            raise ValueError(f"Task {self.name!r} read {len(read)} splits; expected train, validation and test.")
        splits = Splits(*map(self._check, Splits._fields, read))
        if self.group is not None:
            self._check_groups(splits)
        return splits

    def windows(self, split: str) -> Labelled:
        """The windows of a split, "train", "validation" or "test", and their labels: `[W, L, features]` and `[W]`."""
        return getattr(self.splits, split).windows(self.length, self.hop)

    def batches(self, batch_size: int, seed: int) -> keras.utils.PyDataset:
        """What is trained on."""
        if self.augment is None:
            return ShuffledWindows(self.splits.train, self.length, self.hop, batch_size=batch_size, seed=seed)
        return self.augment(self.splits.train, self.length, batch_size=batch_size, seed=seed)

    @property
    def identity(self) -> dict[str, Any]:
        """What results depend on besides recordings and choices, by name, JSON-ready."""
        sizes = {name: getattr(self, name) for name in ("length", "hop", "rate", "classes", "targets")}
        return {"task": self.name, **sizes}

    def figures(self) -> dict[str, Any]:
        """Everything but the recordings, JSON-ready."""
        kept = [field.name for field in dataclasses.fields(self) if field.name not in ("read", "augment")]
        figures = {name: getattr(self, name) for name in kept}
        return figures | {"sensors": [dataclasses.asdict(sensor) for sensor in self.sensors]}

    def _check(self, split: str, recordings: Recordings) -> Recordings:
        """Recordings that fit the task, their labels in the form in which heads decide."""
        who = f"Task {self.name!r}, the {split} recordings,"
        if not len(recordings):
            raise ValueError(f"{who} are none; expected some.")
        wanted = self.input_shape[1]
        found = {signal.shape[1] if signal.ndim == 2 else None for signal in recordings.signals}
        if found != {wanted}:
            shapes = sorted({signal.shape[1:] for signal in recordings.signals})
            raise ValueError(f"{who} got steps of shape {shapes}; expected [{wanted}]: {self._axes}.")
        recordings.window_counts(self.length, self.hop)
        if not all(np.isfinite(signal).all() for signal in recordings.signals):
            raise ValueError(f"{who} hold NaN or infinite samples; remove these recordings.")
        labels = self.head.targets(recordings.labels, (len(recordings), len(self.outputs)), who)
        return dataclasses.replace(recordings, labels=labels if self.classes else labels.astype(np.float32))

    def _check_groups(self, splits: Splits) -> None:
        found = [set(np.asarray(recordings.subjects).tolist()) for recordings in splits]
        shared = found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
        if shared:
            raise ValueError(
                f"Task {self.name!r} has the {self.group}s {sorted(shared)} in two splits; a model would be tested on "
                "what it was trained on. Split by group, for example with scikit-learn's GroupKFold."
            )

    @property
    def _axes(self) -> str:
        return ", ".join(f"{sensor.name} {axis}".strip() for sensor in self.sensors for axis in sensor.axes)
