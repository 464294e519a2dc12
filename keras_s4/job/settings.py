"""What a run of the job can be asked for, whatever its task. Imports nothing heavy: `keras-s4 --help` reads it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the job is asked for.

    Args:
        seed: of weights, windows and dropout, at least 0.
        channels: H, width of the blocks.
        states: N, complex modes per channel of the full model.
        blocks: number of S4 blocks.
        fraction: part of the states that the reduced model keeps, above 0 and at most 1.
        epochs: of the training of the full model.
        retrain_epochs: of the training of the reduced model.
        batch_size: windows a gradient step.

    Raises:
        ValueError: a value of another type or out of range, by name.
    """

    seed: int = 0
    channels: int = 32
    states: int = 32
    blocks: int = 2
    fraction: float = 0.25
    epochs: int = 40
    retrain_epochs: int = 20
    batch_size: int = 32

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "seed" else 1
            if field.name != "fraction" and (type(value) is not int or value < least):
                raise ValueError(f"Settings got {field.name}={value!r}; expected a whole number of at least {least}.")
        if type(self.fraction) not in (int, float) or not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"Settings got fraction={self.fraction!r}; expected a number above 0 and at most 1.")

    def figures(self) -> dict[str, Any]:
        """Every setting, JSON-ready."""
        return dataclasses.asdict(self)
