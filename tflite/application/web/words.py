"""What a page calls the features and outputs of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_s4.checks import number, quote, whole_number
from keras_s4.tflite.application.ends import End
from keras_s4.tflite.application.sensors import SensorInput

# A single output that nobody has named.
UNNAMED = ["output"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """What a page shows besides numbers.

    Args:
        title: its headline; by default the model's name.
        rate: samples a second; by default that of the decision. None: times are in samples, and sensors of a phone
            cannot be used.
        features: names in the order of the features, or sensors with `name`, `axes` and `unit`, as
            `keras_s4.datasets.Sensor`; by default those of the sensors whose integers the model takes.
        outputs: names of the columns of the output that decides; by default the classes of the decision.
        units: of each of these "deviation" and "mean", where a real number of the program is a multiple of a
            deviation from a mean, and its "unit": dicts.
        horizon: steps that the outputs forecast of the features, one row of features a step.
        facts: more rows of the table of the model: what, and how much.
    """

    title: str | None = None
    rate: float | None = None
    features: Sequence[Any] | None = None
    outputs: Sequence[str] | None = None
    units: Sequence[dict[str, Any]] | None = None
    horizon: int = 0
    facts: Sequence[tuple[str, str]] = ()

    def __post_init__(self):
        if self.rate is not None and number(self.rate, "A page got rate=") <= 0:
            raise ValueError(f"A page got rate={quote(self.rate)}; expected samples a second, above 0, or None.")
        whole_number(self.horizon, "A page got horizon=", 0)


@dataclasses.dataclass(frozen=True)
class Feature:
    """What a page calls a feature.

    Args:
        group: the sensor, whose features share a chart.
        short: the name within the group.
        unit: of the training data.
    """

    group: str
    short: str
    unit: str = ""

    @property
    def name(self) -> str:
        """Of sensor and axis."""
        return f"{self.group} {self.short}".strip()


def features_of(
    words: Words, inputs: Sequence[End], samples_per_step: int, sensors: Sequence[SensorInput] | None
) -> list[Feature]:
    """What the features of all inputs are called, one behind the other.

    Raises:
        TypeError: names that are none.
        ValueError: of another number.
    """
    counts = [end.size // samples_per_step for end in inputs]
    if words.features is not None:
        named = [feature for entry in words.features for feature in _named(entry)]
        if len(named) != sum(counts):
            raise ValueError(
                f"A page got names of {len(named)} features ({', '.join(each.name for each in named)}); the model "
                f"takes {sum(counts)}."
            )
        return named
    if sensors is not None and all(each.scales for each in sensors):
        return [_from_name(scale.sensor.name, scale.sensor.unit) for each in sensors for scale in each.scales]
    return [
        Feature(end.field, str(index) if count > 1 else "")
        for end, count in zip(inputs, counts, strict=True)
        for index in range(count)
    ]


def output_names(
    words: Words, output: End, classes: Sequence[str] = (), features: Sequence[str] = (), rate: float | None = None
) -> list[str]:
    """What the columns of an output are called: as the user says, as classes, or as what they forecast.

    Raises:
        ValueError: names of another number.
    """
    columns = output.size // output.rows
    if words.horizon:
        times = [f"{step / rate:g} s" if rate else f"{step} samples" for step in range(1, words.horizon + 1)]
        names = [f"{feature} in {time}" for time in times for feature in features]
        if len(names) != columns:
            raise ValueError(
                f"A page got horizon={words.horizon} of {len(features)} features; the model gives {columns} numbers."
            )
        return names
    given = [str(name) for name in words.outputs or classes]
    if given and len(given) != columns:
        raise ValueError(f"A page got {len(given)} names of outputs ({', '.join(given)}); the model gives {columns}.")
    what = "class" if output.activation == "softmax" else "output"
    return given or (UNNAMED if columns == 1 else [f"{what} {index}" for index in range(columns)])


def _named(entry: Any) -> list[Feature]:
    if isinstance(entry, str):
        return [_from_name(entry, "")]
    try:
        return [Feature(entry.name, axis, entry.unit) for axis in entry.axes]
    except AttributeError as error:
        raise TypeError(
            f"A page got the feature {quote(entry)}; expected a name, or a keras_s4.datasets.Sensor."
        ) from error


def _from_name(name: str, unit: str) -> Feature:
    """ "acceleration x" is the axis x of the sensor acceleration."""
    group, space, short = name.rpartition(" ")
    return Feature(group, short, unit) if space and len(short) <= 2 else Feature(name, "", unit)
