"""What the features of recordings are measured by."""

from __future__ import annotations

import dataclasses

from keras_s4.augmentation.vectors import AXES, KINDS
from keras_s4.checks import choice


@dataclasses.dataclass(frozen=True)
class Sensor:
    """Features of one quantity, which share a pair of axes in figures.

    Args:
        name: the quantity, such as "acceleration".
        axes: a name for each feature, such as `("x", "y", "z")`.
        unit: of the quantity, "" if it has none.
        lsb: what one integer of the sensor is in this unit, such as 1 / 4096; None if it gives real numbers.
        zero: what its integer 0 is in this unit.
        vector: what its three axes are together, "polar" (acceleration) or "axial" (angular velocity, magnetic field),
            for `keras_s4.augmentation.Rotation` and `Mirror`; None if they are none.

    Raises:
        ValueError: a vector of another kind, or of other than three axes.
    """

    name: str
    axes: tuple[str, ...]
    unit: str = ""
    lsb: float | None = None
    zero: float = 0.0
    vector: str | None = None

    def __post_init__(self):
        if self.vector is not None:
            choice(self.vector, f"Sensor {self.name!r} got vector=", KINDS)
            if len(self.axes) != len(AXES):
                raise ValueError(
                    f"Sensor {self.name!r} got vector={self.vector!r} and {len(self.axes)} axes; expected the three "
                    "axes x, y and z of a vector."
                )
