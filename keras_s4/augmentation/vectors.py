"""Features that are the three axes of a vector, and what a reflection does to each kind of vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_s4.checks import choice

# A polar vector points somewhere, as acceleration does; an axial one says about which axis something turns, as angular
# velocity or a magnetic field does. Mirrored, an axial vector turns the other way.
POLAR, AXIAL = KINDS = ("polar", "axial")
AXES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class Vector:
    """Three features that are the axes x, y and z of one vector.

    Args:
        features: their indices.
        kind: "polar", as acceleration, velocity, force, electric field; or "axial", as angular velocity, torque,
            magnetic field.

    Raises:
        ValueError: another kind, or other than three features.
    """

    features: tuple[int, int, int]
    kind: str = POLAR

    def __post_init__(self):
        choice(self.kind, "Vector got kind=", KINDS)
        if len(set(self.features)) != len(AXES):
            raise ValueError(f"Vector got features={self.features}; expected three, of the axes x, y and z.")

    def mirror(self, axis: str) -> np.ndarray:
        """What a reflection that turns `axis` around makes of each axis, `[3]`: 1 or -1."""
        reflection = np.where(np.array(AXES) == axis, -1.0, 1.0)
        return reflection if self.kind == POLAR else -reflection


def vectors_of(sensors: Iterable[Any]) -> tuple[Vector, ...]:
    """The vectors among the features of sensors, such as `keras_s4.datasets.Sensor`, in their order."""
    found, first = [], 0
    for sensor in sensors:
        kind = getattr(sensor, "vector", None)
        if kind:
            found.append(Vector(tuple(range(first, first + len(sensor.axes))), kind))
        first += len(sensor.axes)
    return tuple(found)
