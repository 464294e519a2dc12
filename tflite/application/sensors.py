"""From the integers of a sensor to those of a program: what `sensor_scale` in C does, and the numbers it does it with.

A sensor's integer r stands for `zero + lsb r` in its unit, and a program's integer q of a feature for
`offset + (q - zero point) unit`. So q is `(lsb r + zero - offset) / unit` and the zero point, which C computes as

    (r multiplier + addend) / 2**shift

rounded to the nearest integer, of two to the even one, and limited to the range of the program's input.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from keras_s4.checks import is_whole, number, quote
from keras_s4.tflite.application.ends import End, ends_of
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.program.program import Program

# Sizes of multiplier and addend that `sensor_to_model` has room for with raw integers of 32 bits.
LARGEST_MULTIPLIER, LARGEST_ADDEND, LONGEST_SHIFT = 2**30, 2**61, 62
RAW = -(2**31), 2**31 - 1
# A feature of which the sensor tells fewer values apart, over all that the model takes, is hardly measured.
FEW_LEVELS = 8


@dataclasses.dataclass(frozen=True)
class FeatureSensor:
    """What the integers of a sensor are for one feature.

    Args:
        name: of the feature, for messages and comments.
        lsb: what one integer is, in the unit of the training data.
        zero: what its integer 0 is.
        unit: of the training data.
        range: the least and the largest integer that the sensor gives; None if that is not known.
    """

    name: str
    lsb: float
    zero: float = 0.0
    unit: str = ""
    range: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Scale:
    """The constants of `sensor_scale` in C for one feature.

    Args:
        sensor: whose integers it takes.
        multiplier: at most 2**30 in size.
        shift: from 0 to 62.
        addend: below 2**62 in size.
    """

    sensor: FeatureSensor
    multiplier: int
    shift: int
    addend: int

    @property
    def initializer(self) -> str:
        """In C."""
        return f"{{0, {self.multiplier}, {self.shift}U, {self.addend}{'LL' if abs(self.addend) >= 2**31 else ''}}}"

    @property
    def comment(self) -> str:
        """What it is made from, safe in a comment of C."""
        unit = f" {self.sensor.unit}" if self.sensor.unit else ""
        zero = f", its 0 is {self.sensor.zero:.9g}" if self.sensor.zero else ""
        return printable(f"{self.sensor.name}: {self.sensor.lsb:.9g}{unit} an integer{zero}")

    def scaled(self, raw: np.ndarray) -> np.ndarray:
        """`(raw multiplier + addend) / 2**shift` as the nearest integers, int64, of two the even one; not limited."""
        product = raw.astype(np.int64) * self.multiplier + self.addend
        below = product >> self.shift
        rest = product - (below << self.shift)
        half = (1 << self.shift) >> 1
        return below + ((rest > half) | ((rest == half) & (below & 1 == 1)) if self.shift else 0)

    def raw_of(self, scaled: int) -> int:
        """A raw integer of 32 bits that becomes an integer near to `scaled`."""
        if self.multiplier == 0:
            return 0
        raw = round(Fraction(scaled * 2**self.shift - self.addend, self.multiplier))
        low, high = self.sensor.range or RAW
        return min(max(raw, low), high)


@dataclasses.dataclass(frozen=True)
class SensorInput:
    """The scales of an input.

    Args:
        end: the input.
        scales: one for each feature; none where it takes tokens.
    """

    end: End
    scales: tuple[Scale, ...]

    def integers(self, raw: np.ndarray) -> np.ndarray:
        """What `sensor_to_model` makes of raw integers `[..., features]`."""
        if not self.scales:
            return np.asarray(raw, self.end.tensor.type)
        columns = [scale.scaled(np.asarray(raw)[..., feature]) for feature, scale in enumerate(self.scales)]
        integers = np.stack(columns, axis=-1) + self.end.tensor.zero_point
        return np.clip(integers, *self.end.integers).astype(self.end.tensor.type)

    def raw(self, integers: np.ndarray) -> np.ndarray:
        """Raw integers `[..., features]` that become, as nearly as the sensor allows, these of the program."""
        if not self.scales:
            return np.asarray(integers, np.int64)
        values = np.asarray(integers, np.int64) - self.end.tensor.zero_point
        flat = values.reshape(-1, len(self.scales))
        rows = [[scale.raw_of(value) for scale, value in zip(self.scales, row, strict=True)] for row in flat.tolist()]
        return np.array(rows, np.int64).reshape(values.shape)


def integers_of(program: Program, inputs: Sequence[SensorInput], raw: Any) -> list[np.ndarray]:
    """The integers of a program from those of its sensors, as `sensor_to_model` in C makes them.

    Args:
        program: the integer program.
        inputs: of the program.
        raw: whole numbers `[B, L, features]`; of a program with several inputs a list in its order.

    Raises:
        TypeError: no whole numbers.
        ValueError: another shape or number of arrays; no multiple of the steps that the program takes at once.
    """
    arrays = [np.asarray(each) for each in (raw if isinstance(raw, (list, tuple)) and len(inputs) > 1 else [raw])]
    if len(arrays) != len(inputs):
        raise ValueError(
            f"Received {len(arrays)} arrays of raw integers; program {program.name!r} has {len(inputs)} inputs."
        )
    integers = []
    for each, array, tensor in zip(inputs, arrays, program.inputs, strict=True):
        features = len(each.scales) or each.end.size // program.steps
        if array.dtype.kind not in "iu":
            raise TypeError(f"Input {tensor.name!r} received raw {array.dtype}; expected a sensor's whole numbers.")
        if array.ndim != 3 or array.shape[2] != features or array.shape[1] % program.steps:
            steps = f" with a multiple of {program.steps} as L" if program.steps > 1 else ""
            raise ValueError(
                f"Input {tensor.name!r} received raw integers of shape {list(array.shape)}; expected [B, L, {features}]"
                f"{steps}."
            )
        if array.size and (array.min() < RAW[0] or array.max() > RAW[1]):
            raise ValueError(f"Input {tensor.name!r} received raw integers beyond 32 bits.")
        found = each.integers(array)
        integers.append(found.reshape(len(array), array.shape[1] // program.steps, *tensor.shape))
    return integers


def facts_of_sensors(inputs: Sequence[SensorInput]) -> list[dict[str, Any]]:
    """For the manifest: of each feature what its sensor's integers are, and the constants made from that."""
    return [{"input": each.end.tensor.name, **dataclasses.asdict(scale)} for each in inputs for scale in each.scales]


def sensor_inputs(program: Program, sensors: Any) -> list[SensorInput]:
    """The scales of all inputs of a program.

    Args:
        program: the integer program.
        sensors: in the order of the features, objects with `axes`, `lsb` and `zero`, as `keras_s4.datasets.Sensor`; or
            a dict by the number of the feature, of dicts with `lsb`, and if need be `zero`, `unit`, `range` (the least
            and the largest integer) and `name`. Of a program with several inputs a dict of these by their names.

    Raises:
        TypeError: something else.
        ValueError: other numbers of features; a sensor without an `lsb`; one whose integers would all be clipped, or
            become one and the same.
    """
    inputs = ends_of(program)[0]
    takers = [end for end in inputs if not end.is_token]
    if not takers:
        raise ValueError(f"Program {program.name!r} got sensors, but takes tokens alone.")
    given = _by_input(program, takers, sensors)
    found = []
    for end in inputs:
        if end.is_token:
            found.append(SensorInput(end, ()))
            continue
        features = end.features if end.encoding else end.size // program.steps
        known = _features_of(given[end.field], features, f"Input {end.name!r} of program {program.name!r}")
        units = end.units if end.encoding else [end.scale] * features
        offsets = end.offsets if end.encoding else [0.0] * features
        each = zip(known, units, offsets, strict=True)
        found.append(SensorInput(end, tuple(_scale_of(end, sensor, unit, offset) for sensor, unit, offset in each)))
    return found


def _by_input(program: Program, inputs: list[End], sensors: Any) -> dict[str, Any]:
    """What is given for each input, by its field."""
    names = {end.field: {end.field, end.tensor.name} for end in inputs}
    by_name = isinstance(sensors, Mapping) and sensors and all(isinstance(key, str) for key in sensors)
    if not by_name:
        if len(inputs) > 1:
            raise ValueError(
                f"Program {program.name!r} has the inputs {', '.join(names)}; expected sensors by their names."
            )
        return {inputs[0].field: sensors}
    found = {field: [key for key in sensors if key in own] for field, own in names.items()}
    unknown = [key for key in sensors if not any(key in own for own in names.values())]
    missing = [field for field, keys in found.items() if len(keys) != 1]
    if unknown or missing:
        raise ValueError(
            f"Program {program.name!r} got sensors of {', '.join(map(repr, sensors))}; its inputs are "
            f"{', '.join(names)}."
        )
    return {field: sensors[keys[0]] for field, keys in found.items()}


def _features_of(sensors: Any, count: int, who: str) -> list[FeatureSensor]:
    """One for each feature."""
    if isinstance(sensors, Mapping):
        if set(sensors) != set(range(count)):
            raise ValueError(
                f"{who} got sensors of the features {quote(sorted(sensors, key=str))}; expected one of each, from 0 to "
                f"{count - 1}."
            )
        return [_of_settings(sensors[feature], f"{who}, feature {feature},") for feature in range(count)]
    if isinstance(sensors, (str, bytes)) or not isinstance(sensors, Sequence):
        raise TypeError(
            f"{who} got sensors={quote(sensors)}; expected sensors in the order of the features, or a dict."
        )
    features = [feature for sensor in sensors for feature in _of_sensor(sensor, who)]
    if len(features) != count:
        raise ValueError(
            f"{who} got sensors of {len(features)} axes ({', '.join(each.name for each in features)}); it takes "
            f"{count} features."
        )
    return features


def _of_sensor(sensor: Any, who: str) -> list[FeatureSensor]:
    try:
        name, axes, unit, lsb, zero = (getattr(sensor, field) for field in ("name", "axes", "unit", "lsb", "zero"))
    except AttributeError as error:
        raise TypeError(
            f"{who} got the sensor {quote(sensor)}; expected a keras_s4.datasets.Sensor, or a dict of settings by the "
            "numbers of the features."
        ) from error
    settings = {"lsb": lsb, "zero": zero, "unit": unit, "range": getattr(sensor, "range", None)}
    return [_of_settings({**settings, "name": f"{name} {axis}".strip()}, f"{who}, sensor {name!r},") for axis in axes]


def _of_settings(settings: Any, who: str) -> FeatureSensor:
    known = {field.name for field in dataclasses.fields(FeatureSensor)}
    if not isinstance(settings, Mapping) or not set(settings) <= known:
        raise ValueError(
            f"{who} got {quote(settings)}; expected a dict of lsb, and if need be zero, unit, range, name."
        )
    if settings.get("lsb") is None:
        raise ValueError(
            f"{who} has no lsb; expected what one integer of the sensor is in the unit of the training data, such as "
            "1 / 4096."
        )
    lsb = number(settings["lsb"], f"{who} got lsb=")
    if lsb == 0.0:
        raise ValueError(f"{who} got lsb=0; expected what one integer of the sensor is, such as 1 / 4096.")
    zero = number(settings.get("zero", 0.0), f"{who} got zero=")
    limits = settings.get("range")
    if limits is not None:
        if len(limits) != 2 or not all(map(is_whole, limits)) or not RAW[0] <= limits[0] < limits[1] <= RAW[1]:
            raise ValueError(
                f"{who} got range={quote(limits)}; expected the least and the largest integer, of 32 bits."
            )
        limits = int(limits[0]), int(limits[1])
    return FeatureSensor(str(settings.get("name") or who.rstrip(",")), lsb, zero, str(settings.get("unit", "")), limits)


def _scale_of(end: End, sensor: FeatureSensor, unit: float, offset: float) -> Scale:
    """The constants of a feature; a sensor that cannot be of its unit is refused, a coarse one told."""
    if unit == 0.0:
        return Scale(sensor, 0, 0, 0)
    ratio = Fraction(sensor.lsb) / Fraction(unit)
    start = (Fraction(sensor.zero) - Fraction(offset)) / Fraction(unit)
    _check_range(end, sensor, ratio, start)
    shift = LONGEST_SHIFT
    while shift and (abs(ratio) * 2**shift > LARGEST_MULTIPLIER or abs(start) * 2**shift > LARGEST_ADDEND):
        shift -= 1
    return Scale(sensor, round(ratio * 2**shift), shift, round(start * 2**shift))


def _check_range(end: End, sensor: FeatureSensor, ratio: Fraction, start: Fraction) -> None:
    """Refuse a sensor of which the model would see nothing, or nothing but the ends of its range.

    Raises:
        ValueError: says both ranges.
    """
    least, most = (integer - end.tensor.zero_point for integer in end.integers)
    ends = sorted([(least - start) / ratio, (most - start) / ratio])
    low, high = sensor.range or RAW
    unit = f" {sensor.unit}" if sensor.unit else ""
    said = (
        f"{sensor.name}: one integer of the sensor is {sensor.lsb:g}{unit} and its 0 is {sensor.zero:g}{unit}, so that "
        f"what the model takes are its integers from {float(ends[0]):.6g} to {float(ends[1]):.6g}"
    )
    advice = "Give lsb and zero in the unit of the training data."
    if ends[1] < low or ends[0] > high:
        raise ValueError(f"{said}; it gives {low} to {high}, which all would be clipped. {advice}")
    levels = math.floor(min(ends[1], high)) - math.ceil(max(ends[0], low)) + 1
    if levels < 2:
        raise ValueError(f"{said}; all that it gives would be clipped, or become one and the same. {advice}")
    if levels < FEW_LEVELS:
        warnings.warn(f"{said}: it tells {levels} values apart. {advice}", stacklevel=5)
