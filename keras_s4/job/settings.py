"""What a run of the job can be asked for, whatever its task. Imports nothing heavy: `keras-s4 --help` reads it."""

from __future__ import annotations

import dataclasses
from typing import Any


def _setting(default: int | float | bool, help: str, least: int | None = 1) -> Any:
    """A setting with its default, what the command line says of it, and the least whole number that it may be."""
    return dataclasses.field(default=default, metadata={"help": help, "least": least})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the job is asked for.

    Args:
        seed: of weights, windows and dropout, at least 0.
        channels: H, width of the blocks.
        states: N, complex modes of the full model: per channel, or with `shared_modes` of each block.
        shared_modes: whether all channels of a block share its modes.
        blocks: number of S4 blocks.
        fraction: part of the states that the reduced model keeps, above 0 and at most 1.
        epochs: of the training of the full model; short, since one long schedule behind the reduction is worth more
            than two (scripts/reproduce/levers.py).
        retrain_epochs: of the training of the reduced model.
        retrain_rate: its largest learning rate.
        aware_epochs: of the training on the device's grids; 0 for none.
        aware_rate: its largest learning rate.
        batch_size: windows a gradient step.
        normalize: whether each feature is brought to mean 0 and deviation 1 of the training data by the model itself.
        front: stride of a convolution in front, for signals of thousands of steps; 0 for none. It divides the length of
            windows; outputs at every step, live decisions and mixed lengths have none.
        normal_part: of anomalies, the part of the normal validation windows, or decisions in streams, without an alarm.

    Raises:
        ValueError: a value of another type or out of range, by name.
    """

    seed: int = _setting(0, "Another seed gives another training.", 0)
    channels: int = _setting(32, "Width of the model.")
    states: int = _setting(32, "Memory of the full model: modes (complex states) per channel, or shared.")
    shared_modes: bool = _setting(False, "Whether all channels of a block share its modes.", None)
    blocks: int = _setting(2, "Depth of the model: S4 blocks.")
    fraction: float = _setting(0.25, "Part of the states to keep, above 0 and at most 1.", None)
    epochs: int = _setting(20, "Rounds of training of the full model.")
    retrain_epochs: int = _setting(40, "Rounds of training of the reduced model.")
    retrain_rate: float = _setting(1e-2, "Largest learning rate of that training.", None)
    aware_epochs: int = _setting(4, "Rounds of training on the device's grids; 0 for none.", 0)
    aware_rate: float = _setting(5e-4, "Largest learning rate of that training.", None)
    batch_size: int = _setting(32, "Windows a gradient step.")
    normalize: bool = _setting(True, "Whether the model brings each feature to mean 0 and deviation 1.", None)
    front: int = _setting(0, "Stride of a convolution in front, for signals of thousands of steps; 0 for none.", 0)
    normal_part: float = _setting(0.99, "Of anomalies: part of the normal validation windows without an alarm.", None)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), field.metadata["least"]
            if least is not None and (type(value) is not int or value < least):
                raise ValueError(f"Settings got {field.name}={value!r}; expected a whole number of at least {least}.")
        for name in ("normalize", "shared_modes"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"Settings got {name}={getattr(self, name)!r}; expected True or False.")
        for name in ("fraction", "retrain_rate", "aware_rate", "normal_part"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0.0 < value <= 1.0:
                raise ValueError(f"Settings got {name}={value!r}; expected a number above 0 and at most 1.")

    def figures(self) -> dict[str, Any]:
        """Every setting, JSON-ready."""
        return dataclasses.asdict(self)
