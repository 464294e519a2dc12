"""A task from what is said of it and of its recordings."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_s4.datasets.description import Aim, Description, Split, Windows
from keras_s4.datasets.live import Live
from keras_s4.datasets.task import Sensor, Task
from keras_s4.recordings import Recordings, Splits, hold_back, split_by_group, split_by_source, split_in_time
from keras_s4.recordings.frame import join_names
from keras_s4.recordings.layout import Channels, Groups, Labels, Layout, Source
from keras_s4.recordings.loading import Loaded, load_arrays

# Keys of [training] that say what is trained on, and are no settings of the job.
TRAINING_OF_TASKS = ("balance", "mixed_lengths", "augmentation")
ANOMALY, FORECAST, MULTI_LABEL, TARGETS = "anomaly", "forecast", "multi_label", "targets"


def task_of_arrays(
    x: Any,
    y: Any = None,
    groups: Sequence[Any] | None = None,
    *,
    name: str = "recordings",
    kind: str = "classes",
    classes: Sequence[str] = (),
    targets: Sequence[str] = (),
    sensors: Sequence[Sensor] = (),
    rate: float | None = None,
    length: int | None = None,
    hop: int | None = None,
    group: str = "group",
    fold: int = 0,
    folds: int = 5,
    live: Live | None = None,
    horizon: int = 1,
    every_step: bool = False,
    missing: str = "refuse",
    **training: Any,
) -> Task:
    """A task on recordings in memory.

    Args:
        x: a list of R recordings `[steps, features]`, or an array `[R, L, features]`, NaN at the end where some are
            shorter.
        y: of each recording its class, a name or number, `[R]`; or quantities `[R, T]`, or which of C classes are
            there `[R, C]`; or of each step, a list of R arrays, or `[R, L]`. None for forecasts.
        groups: who or what was recorded, `[R]`; by default each recording stands for itself.
        name: short; results are kept under it.
        kind: "classes", "targets", "multi_label", "forecast" or "anomaly".
        classes: the names of classes 0, 1, ..., if y has numbers.
        targets: the names of quantities.
        sensors: what the features are; by default "x 1", "x 2".
        rate: steps a second; None if they are not steps in time.
        length: L, steps of a window; by default those of the shortest recording.
        hop: steps from one window to the next; by default half a window.
        group: what a group is, in the singular, such as "person".
        fold: which groups are kept for the test.
        folds: how many parts there are.
        live: what a decision is in a live stream.
        horizon: of forecasts and anomalies, in steps.
        every_step: whether a model gives an output at every step.
        missing: what to do about NaN: "refuse", "interpolate" or "cut".
        **training: what the job is asked for, by name.

    Returns:
        The task, split by group.

    Raises:
        ValueError, TypeError: arrays that do not fit each other; NaN; a kind that there is not.
    """
    arrays = {"x": x} | ({} if y is None else {"y": y}) | ({} if groups is None else {"groups": groups})
    features = [f"{sensor.name} {axis}".strip() for sensor in sensors for axis in sensor.axes]
    if features:
        arrays["features"] = features
    columns = tuple(f"label {index + 1}" for index in range(_width(y))) if kind in (TARGETS, MULTI_LABEL) else ()
    names = classes if kind == MULTI_LABEL else ()
    names = dict(zip(columns, names, strict=False)) or {str(i): str(text) for i, text in enumerate(classes)}
    named = tuple(map(str, classes)) if classes and kind != ANOMALY else ()
    description = Description(
        task=Aim(name=name, kind=kind, horizon=horizon, every_step=every_step),
        recordings=Source(rate=rate, missing=missing),
        labels=Labels(
            source="none" if y is None else "column",
            columns=columns if columns != ("label 1",) else ("label",),
            classes=named,
            names={key: value for key, value in names.items() if key != value},
            normal=("0", *classes[:1]),
        ),
        groups=Groups(
            source="recording" if groups is None else "column", name="recording" if groups is None else group
        ),
        sensors=_channels_of(sensors),
        windows=Windows(length=length or _shortest(x), hop=hop),
        split=Split(fold=fold, folds=folds),
        live=live,
        training=training,
    )
    return task_of(description, lambda layout: load_arrays(arrays, layout), targets=tuple(targets))


def task_of(
    description: Description, read: Callable[[Layout], Loaded], targets: Sequence[str] = (), fold: int | None = None
) -> Task:
    """A task on recordings that are read when they are needed.

    What the description does not say, as the names of the classes, is read from the recordings at once.

    Args:
        description: of the task.
        read: reads the recordings.
        targets: the names of quantities; by default those of their columns.
        fold: which groups are kept for the test; by default what the description says.

    Raises:
        ValueError: the description contradicts itself, or the recordings do not fit it.
    """
    aim, labels, split = description.task, description.labels, description.split
    layout = Layout(
        source=description.recordings,
        labels=labels,
        groups=description.groups,
        channels=description.sensors,
        aim=aim.kind,
    )
    loaded = functools.cache(lambda: _announce(read(layout)))
    forecasts = aim.kind in (FORECAST, ANOMALY)
    if aim.kind == TARGETS:
        targets, classes = tuple(targets) or labels.columns or (labels.column,), ()
    else:
        targets, classes = (), () if forecasts else labels.classes or loaded().classes
    if not forecasts and aim.kind != TARGETS and len(classes) < 2:
        raise ValueError(
            f"The recordings have {f'one class only, {classes[0]!r}' if classes else 'no class'}; expected two or more "
            "to tell apart. Record others, look at the section [labels], or learn what is normal with "
            '[task] kind = "anomaly".'
        )
    rate = description.recordings.rate or loaded().rate
    length, hop = description.windows.steps(rate)
    sensors = tuple(_sensor_of(channels) for channels in description.sensors or loaded().channels)
    fold = split.fold if fold is None else fold
    training = dict(description.training)
    of_task = {name: training.pop(name) for name in TRAINING_OF_TASKS if name in training}
    return Task(
        name=aim.name or "recordings",
        title=aim.title or _title(aim.kind, classes or targets),
        purpose=aim.purpose or _purpose(aim.kind, classes or targets, sensors),
        read=lambda: _split(loaded(), description, length, hop, fold, classes),
        length=length,
        hop=hop,
        sensors=sensors,
        classes=tuple(classes),
        targets=tuple(targets),
        multi_label=aim.kind == MULTI_LABEL,
        horizon=aim.horizon if forecasts else 0,
        anomaly=aim.kind == ANOMALY,
        every_step=aim.every_step,
        live=description.live,
        rate=rate,
        group=None if split.by == "time" or description.groups.source == "recording" else description.groups.name,
        folds=split.folds if split.by != "given" else 1,
        choices={"split": split.by} | ({"fold": fold} if split.by != "given" else {}),
        settings=training,
        decision=dict(description.decision),
        **of_task,
    )


def _announce(loaded: Loaded) -> Loaded:
    """Says what is worth saying of recordings, once."""
    for note in loaded.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return loaded


def _split(
    loaded: Loaded, description: Description, length: int, hop: int, fold: int, classes: Sequence[str]
) -> Splits:
    """Recordings for training, validation and test.

    Raises:
        ValueError: windows are longer than recordings, or there is no such split; says what to do.
    """
    if not description.training.get("mixed_lengths"):
        _check_lengths(loaded, length, classes)
    split, recordings = description.split, loaded.recordings
    stratified = split.stratified and description.task.kind not in (TARGETS, FORECAST, ANOMALY)
    if split.by == "given":
        return _given_splits(loaded, split, stratified, classes)
    if split.by == "time":
        return split_in_time(recordings, length, fold, split.folds, stratified, classes)
    divide = split_by_source if description.groups.source == "recording" else split_by_group
    return divide(recordings, fold, split.folds, stratified, classes)


def _given_splits(loaded: Loaded, split: Split, stratified: bool, classes: Sequence[str]) -> Splits:
    """The splits that recordings say; validation, where nobody says it, is part of the training."""
    parts = {
        name: loaded.recordings.take(np.flatnonzero(loaded.splits == name)) for name in ("train", "validation", "test")
    }
    unsaid = np.flatnonzero(loaded.splits == "")
    if unsaid.size:
        raise ValueError(
            f'[split] by = "given", and {len(unsaid)} recordings say no split '
            f"({join_names(loaded.names[i] for i in unsaid)}); expected train, validation or test, by {{split}} "
            'in [recordings] path, or in a column "split".'
        )
    if not len(parts["train"]) or not len(parts["test"]):
        said = dict(Counter(loaded.splits.tolist()))
        raise ValueError(f"The recordings say the splits {said}; expected some for train and some for test.")
    if not len(parts["validation"]):
        parts["train"], parts["validation"] = _hold_back(parts["train"], split, stratified, classes)
    return Splits(**parts)


def _hold_back(
    recordings: Recordings, split: Split, stratified: bool, classes: Sequence[str]
) -> tuple[Recordings, Recordings]:
    """Training and validation: whole groups, if there are enough of them, or else whole recordings."""
    several = len(set(recordings.subjects.tolist())) >= split.folds
    parted = recordings if several else dataclasses.replace(recordings, subjects=recordings.sources)
    _, held = hold_back(parted, split.fold, split.folds, stratified, classes)
    validates = np.isin(recordings.sources, held.sources)
    return recordings.take(np.flatnonzero(~validates)), recordings.take(np.flatnonzero(validates))


def _check_lengths(loaded: Loaded, length: int, classes: Sequence[str]) -> None:
    """Refuses windows that are longer than all recordings, or all of a class; warns of recordings that are left out."""
    signals = loaded.recordings.signals
    short = [index for index, signal in enumerate(signals) if len(signal) < length]
    if not short:
        return
    longest, names = max(map(len, signals)), join_names(dict.fromkeys(loaded.names[i] for i in short), 3)
    if len(short) == len(signals):
        raise ValueError(
            f"Windows of {length} steps are longer than all {len(signals)} recordings, of {longest} steps at most. "
            "Make [windows] shorter."
        )
    labels = loaded.recordings.labels
    if classes and not loaded.recordings.has_step_labels and np.ndim(labels) == 1:
        kept = np.delete(labels, short)
        lost = [classes[index] for index in np.unique(labels) if index not in kept]
        if lost:
            raise ValueError(
                f"Windows of {length} steps are longer than all recordings of {join_names(lost)}. Make [windows] "
                "shorter."
            )
    warnings.warn(
        f"{len(short)} of {len(signals)} recordings are shorter than a window of {length} steps and are left out: "
        f"{names}.",
        UserWarning,
        stacklevel=2,
    )


def _sensor_of(channels: Channels) -> Sensor:
    axes = channels.axes or (channels.columns if len(channels.columns) > 1 else ("",))
    return Sensor(channels.name, tuple(axes), channels.unit, channels.lsb, channels.zero, channels.vector or None)


def _channels_of(sensors: Sequence[Sensor]) -> tuple[Channels, ...]:
    return tuple(
        Channels(
            name=sensor.name,
            columns=tuple(f"{sensor.name} {axis}".strip() for axis in sensor.axes),
            axes=tuple(sensor.axes),
            unit=sensor.unit,
            lsb=sensor.lsb,
            zero=sensor.zero,
            vector=sensor.vector or "",
        )
        for sensor in sensors
    )


def _width(y: Any) -> int:
    """How many columns labels have: of `[R, T]` and `[steps, T]` T."""
    shape = np.shape(y[0]) if len(y) else ()
    return shape[-1] if shape else 1


def _shortest(x: Any) -> int:
    return min((len(signal) for signal in x), default=1)


def _title(kind: str, names: Sequence[str]) -> str:
    return {
        "classes": f"{len(names)} classes told apart",
        MULTI_LABEL: f"{len(names)} classes recognised at once",
        TARGETS: f"Measured: {', '.join(names)}",
        FORECAST: "The next steps foretold",
        ANOMALY: "What is not normal",
    }[kind]


def _purpose(kind: str, names: Sequence[str], sensors: Sequence[Sensor]) -> str:
    what = {
        "classes": f"to recognise which of {len(names)} classes a recording is",
        MULTI_LABEL: f"to recognise which of {len(names)} classes are there",
        TARGETS: f"to measure {', '.join(names)}",
        FORECAST: "to foretell the next steps",
        ANOMALY: "to notice what is not normal",
    }[kind]
    return f"{what}, from {join_names((sensor.name for sensor in sensors), 4)}"
