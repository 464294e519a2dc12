"""What is to be learned from which recordings: all that a training, a report and a figure need to know of the data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.augmentation import AugmentedWindows, from_dict
from keras_s4.augmentation.shuffled_windows import ShuffledArrays
from keras_s4.brief import Brief
from keras_s4.checks import is_whole, quote, truth_value
from keras_s4.datasets.batches import ChangedTargets
from keras_s4.datasets.deciding import check_decision
from keras_s4.datasets.live import Live
from keras_s4.datasets.padding import PADDING, pad_recordings
from keras_s4.datasets.sensor import Sensor
from keras_s4.datasets.weighting import WeightedBatches
from keras_s4.datasets.windows import forecast_windows, shifted_windows, step_windows
from keras_s4.recordings import (
    UNLABELLED,
    Labelled,
    Recordings,
    Splits,
    check_classes,
    check_sources,
    class_weights,
)
from keras_s4.scoring.heads import CLASSES, MULTI_LABEL, REGRESSION, Head


@dataclasses.dataclass(frozen=True)
class Metric:
    """What models are judged by, and a device against its model.

    Args:
        score: key in `keras_s4.scoring.scores.against_targets`.
        likeness: key in `keras_s4.scoring.scores.against_reference`.
    """

    score: str
    likeness: str


# Fields that few tasks set; noted where they are, so that runs of before go on.
RARE = ("multi_label", "horizon", "anomaly", "every_step", "balance", "mixed_lengths", "augmentation", "decision")
METRICS = {
    CLASSES: Metric("accuracy", "agreement"),
    MULTI_LABEL: Metric("accuracy", "agreement"),
    REGRESSION: Metric("rmse", "snr"),
}


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
        targets: T names, if quantities are to be measured; the labels are these.
        multi_label: each class is there or not, whatever the others are; the labels are rows of zeros and ones.
        horizon: if the next steps are to be forecast, how many; the recordings need no labels then.
        anomaly: recordings are normal (label 0) or not (1), and a model learns the normal ones alone, by forecasts of
            the next `horizon` steps.
        every_step: whether a model gives an output at every step, rather than one a window.
        live: what a decision is in a live stream; None if models are asked at the end of a window.
        rate: steps a second; None if they are not steps in time.
        group: what the recordings are split by, in the singular; None if each stands for itself.
        folds: how many splits there are of these recordings, told apart by the choice "fold"; 1 for this one alone.
        choices: what tells this split from others of the same recordings, by name; JSON-ready.
        meanings: of the names of classes or targets that do not speak for themselves.
        settings: what the job is asked for on this task, where that is not the default of
            `keras_s4.job.settings.Settings`, by name.
        decision: how the firmware decides in a live stream, by name; see `keras_s4.decisions.Decision`. Its rate, its
            classes, and with `live` every how many steps and the background, are those of the task.
        balance: whether all classes count alike in training, however many windows each has.
        mixed_lengths: whether recordings shorter than `length` are windows too, padded behind their end with steps that
            the model masks (`mask_value`).
        augmentation: how what is trained on is varied, as `keras_s4.augmentation.from_dict` reads it.
        augment: makes what is trained on, in place of that: `augment(recordings, length, batch_size=, seed=)`, a
            `keras.utils.PyDataset` whose attribute `epoch`, a number, chooses its variations. By default windows in a
            new order each epoch. Not for live decisions, which are trained on windows of streams.

    Raises:
        ValueError: names, sensors, length, hop or decisions that no task can have.
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
    multi_label: bool = False
    horizon: int = 0
    anomaly: bool = False
    every_step: bool = False
    live: Live | None = None
    rate: float | None = None
    group: str | None = None
    folds: int = 1
    choices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    decision: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    balance: bool = False
    mixed_lengths: bool = False
    augmentation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    augment: Callable[..., keras.utils.PyDataset] | None = None

    def __post_init__(self):
        self._check_aim()
        for field in ("balance", "mixed_lengths"):
            truth_value(getattr(self, field), f"Task {self.name!r} got {field}=")
        from_dict(self.augmentation)
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
        check_decision(self)

    @property
    def input_shape(self) -> tuple[int, int]:
        """`(L, features)` of a window."""
        return self.length, sum(len(sensor.axes) for sensor in self.sensors)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in their order."""
        return tuple(f"{sensor.name} {axis}".strip() for sensor in self.sensors for axis in sensor.axes)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what a model gives; of forecasts the features."""
        return self.features if self.horizon else self.classes or self.targets

    @property
    def head(self) -> Head:
        """What the outputs mean."""
        if self.horizon or self.targets:
            return Head(REGRESSION)
        return Head(MULTI_LABEL if self.multi_label else CLASSES)

    @property
    def metric(self) -> Metric:
        """What models are judged by."""
        return METRICS[self.head.task]

    @property
    def in_streams(self) -> bool:
        """Whether a model is asked for one decision after another, and trained on windows of streams."""
        return self.live is not None and not (self.every_step or self.anomaly)

    @property
    def every(self) -> int | None:
        """Steps from one decision in a live stream to the next."""
        return max(1, round(self.live.every * self.rate)) if self.live else None

    @property
    def background(self) -> int | None:
        """The class in which nothing happens, by its number; None if something always does."""
        return None if self.live is None or self.live.background is None else self.classes.index(self.live.background)

    @property
    def mask_value(self) -> float | None:
        """What all features of a padded step are; None if there is no padding."""
        return PADDING if self.mixed_lengths else None

    @functools.cached_property
    def splits(self) -> Splits:
        """The recordings. Warns of what is in two splits though it should not, such as a copy.

        Raises:
            ValueError: they do not fit the task, one group is in two splits, or training has not all classes.
        """
        read = self.read()
        read = read if isinstance(read, Splits) else tuple(read)
        if len(read) != len(Splits._fields):
            raise ValueError(f"Task {self.name!r} read {len(read)} splits; expected train, validation and test.")
        splits = Splits(*map(self._check, Splits._fields, read))
        if self.group is not None:
            self._check_groups(splits)
        if self.classes:
            check_classes(splits, self.classes, f"Task {self.name!r}")
        check_sources(read)
        return splits

    def windows(self, split: str) -> Labelled:
        """The windows of a split, "train", "validation" or "test", and what a model should give for them.

        Returns:
            `[W, L, features]`, and labels `[W]` or quantities `[W, T]`; with `every_step` those of all steps,
            `[W, L]` or `[W, L, T]`, `UNLABELLED` where there is none; of a forecast the steps that follow,
            `[W, horizon, features]`. For anomalies of normal recordings alone, and what comes `horizon` steps behind
            each step, `[W, L, features]`.

        Raises:
            ValueError: no recording holds a window; of anomalies, none is normal.
        """
        recordings, sizes = self._padded(split), (self.length, self.hop)
        if self.anomaly:
            return shifted_windows(self.normal(recordings, split), *sizes, self.horizon)
        if self.horizon:
            return forecast_windows(recordings, *sizes, self.horizon)
        return step_windows(recordings, *sizes) if self.every_step else recordings.windows(*sizes)

    def normal(self, recordings: Recordings, split: str) -> Recordings:
        """Of the recordings of a split those that are normal.

        Raises:
            ValueError: none is.
        """
        normal = np.flatnonzero(np.asarray(recordings.labels) == 0)
        if not normal.size:
            raise ValueError(
                f"Task {self.name!r} has no normal {split} recordings (label 0); a model learns from them."
            )
        return recordings.take(normal)

    def batches(self, batch_size: int, seed: int) -> keras.utils.PyDataset:
        """What is trained on: batches of `(x, y)`, or with `balance` of `(x, y, weights)`."""
        batches = self._unweighted_batches(batch_size, seed)
        if not self.balance:
            return batches
        return WeightedBatches(batches, self.class_weights)

    @functools.cached_property
    def class_weights(self) -> np.ndarray | None:
        """What labels of each class count for in the training, `[C]`; None where all count for 1."""
        return class_weights(self.windows("train")[1], len(self.classes)) if self.balance else None

    def _unweighted_batches(self, batch_size: int, seed: int) -> keras.utils.PyDataset:
        if self.augment is not None:
            return self.augment(self._padded("train"), self.length, batch_size=batch_size, seed=seed)
        if not self.augmentation:
            return ShuffledArrays(*self.windows("train"), batch_size=batch_size, seed=seed)
        train = self.splits.train
        batches = AugmentedWindows(
            self.normal(train, "train") if self.anomaly else train,
            self.length,
            batch_size,
            seed,
            hop=self.hop,
            transforms=from_dict(self.augmentation),
            sensors=self.sensors,
            every_step=self.every_step or self.anomaly,
            horizon=self.horizon,
            classes=len(self.classes) or None,
            mask_value=self.mask_value,
        )
        # Of anomalies each step is forecast once, `horizon` steps ahead.
        return ChangedTargets(batches, lambda y: y[:, :, -1]) if self.anomaly else batches

    def _padded(self, split: str) -> Recordings:
        """The recordings of a split, all of them at least as long as a window if lengths are mixed."""
        recordings = getattr(self.splits, split)
        return pad_recordings(recordings, self.length, self.hop) if self.mixed_lengths else recordings

    @property
    def identity(self) -> dict[str, Any]:
        """What results depend on besides recordings and choices, by name, JSON-ready."""
        names = ["length", "hop", "rate", "classes", "targets", *(name for name in RARE if getattr(self, name))]
        live = {"live": dataclasses.asdict(self.live)} if self.live else {}
        known = [sensor for sensor in self.sensors if sensor.lsb is not None or sensor.vector is not None]
        sensors = {"sensors": [dataclasses.asdict(sensor) for sensor in known]} if known else {}
        return {"task": self.name, **{name: getattr(self, name) for name in names}, **live, **sensors}

    def figures(self) -> dict[str, Any]:
        """Everything but the recordings, JSON-ready."""
        kept = [field.name for field in dataclasses.fields(self) if field.name not in ("read", "augment", "settings")]
        figures = {name: getattr(self, name) for name in kept}
        live = dataclasses.asdict(self.live) if self.live else None
        return figures | {"sensors": [dataclasses.asdict(sensor) for sensor in self.sensors], "live": live}

    def _check(self, split: str, recordings: Recordings) -> Recordings:
        """Recordings that fit the task, their labels in the form in which heads decide."""
        who = f"Task {self.name!r}, the {split} recordings,"
        if not len(recordings):
            raise ValueError(f"{who} are none; expected some.")
        wanted = self.input_shape[1]
        found = {signal.shape[1] if signal.ndim == 2 else None for signal in recordings.signals}
        if found != {wanted}:
            shapes = sorted({signal.shape[1:] for signal in recordings.signals})
            raise ValueError(f"{who} got steps of shape {shapes}; expected [{wanted}]: {', '.join(self.features)}.")
        if not self.mixed_lengths:
            recordings.window_counts(self.length, self.hop)
        elif any((signal == PADDING).all(axis=-1).any() for signal in recordings.signals):
            raise ValueError(f"{who} have steps of {PADDING:g} in all features, which means padding; remove them.")
        if not all(np.isfinite(signal).all() for signal in recordings.signals):
            raise ValueError(f"{who} hold NaN or infinite samples; remove these recordings.")
        return dataclasses.replace(recordings, labels=self._check_labels(recordings, who))

    def _check_labels(self, recordings: Recordings, who: str) -> np.ndarray | list[np.ndarray]:
        """Labels in the form in which heads decide; of steps without a class `UNLABELLED`."""
        if self.anomaly:
            return Head(CLASSES).targets(recordings.labels, (len(recordings), 2), who)
        if self.horizon:
            return recordings.labels
        if not recordings.has_step_labels:
            return self._targets(recordings.labels, len(recordings), who)
        return [
            self._step_targets(labels, f"{who} recording {index},") for index, labels in enumerate(recordings.labels)
        ]

    def _step_targets(self, labels: np.ndarray, who: str) -> np.ndarray:
        if not self.classes or self.multi_label:
            return self._targets(labels, len(labels), who)
        labels = np.asarray(labels)
        known = labels != UNLABELLED
        targets = np.full(len(labels), UNLABELLED)
        targets[known] = self._targets(labels[known], int(known.sum()), who)
        return targets

    def _targets(self, labels: np.ndarray, count: int, who: str) -> np.ndarray:
        found = self.head.targets(labels, (count, len(self.outputs)), who)
        return found if self.classes else found.astype(np.float32)

    def _check_aim(self) -> None:
        """Refuses a task without an aim, or with two that exclude each other."""
        who = f"Task {self.name!r} got"
        aims = [name for name in ("classes", "targets") if getattr(self, name)] + ["horizon"] * bool(self.horizon)
        if len(aims) != 1 or len(self.classes) == 1:
            raise ValueError(
                f"{who} classes={quote(self.classes)}, targets={quote(self.targets)}, horizon={quote(self.horizon)}; "
                "expected the names of two or more classes, or of one or more targets, or how many steps to forecast."
            )
        if self.multi_label and not self.classes:
            raise ValueError(f"{who} multi_label=True and no classes; expected the names of what may be there.")
        if self.anomaly and not self.horizon:
            raise ValueError(f"{who} anomaly=True and horizon=0; expected how many steps to forecast, such as 1.")
        if self.every_step and self.horizon:
            raise ValueError(f"{who} every_step=True and horizon={self.horizon}; forecasts are made at every step.")
        if self.balance and (not self.classes or self.multi_label):
            raise ValueError(f"{who} balance=True, which is for classes of which each window or step has one.")
        if self.mixed_lengths and (self.horizon or self.every_step or self.live is not None):
            raise ValueError(
                f"{who} mixed_lengths=True with forecasts, outputs at every step or live decisions, which have no use "
                "for padding; leave it out, and give length and hop of windows."
            )
        if self.live is not None:
            self._check_live(who)

    def _check_live(self, who: str) -> None:
        """Refuses live decisions that the task cannot have."""
        background = self.live.background
        if self.rate is None:
            raise ValueError(f"{who} live decisions and rate=None; expected steps a second.")
        if self.horizon and not self.anomaly:
            raise ValueError(
                f"{who} live decisions and horizon={self.horizon}; a forecast decides nothing. Leave live out, or "
                "learn what is normal, with anomaly=True."
            )
        if background is not None and (not self.classes or self.multi_label):
            raise ValueError(
                f"{who} live decisions with background={quote(background)}, and no classes of which one is there at a "
                "time; leave it out."
            )
        if background is not None and background not in self.classes:
            raise ValueError(
                f"{who} live decisions with background={quote(background)}; expected None, or one of the classes "
                f"{', '.join(map(repr, self.classes))}."
            )
        if self.augment is not None and self.in_streams:
            raise ValueError(
                f"{who} augment and live decisions, which are trained on windows of streams; say what varies them by "
                "augmentation, such as {'jitter': 0.05}."
            )

    def _check_groups(self, splits: Splits) -> None:
        found = [set(np.asarray(recordings.subjects).tolist()) for recordings in splits]
        shared = found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
        if shared:
            raise ValueError(
                f"Task {self.name!r} has the {self.group}s {sorted(shared)} in two splits; a model would be tested on "
                "what it was trained on. Split by group, for example with scikit-learn's GroupKFold."
            )
