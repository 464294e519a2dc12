"""A tensor of a random model, and when it has values in a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sequence:
    """A tensor of a model with its timing in a stream.

    Args:
        tensor: `[B, L, ...]`.
        phase: how many values come before the first that means something. Nothing that carries a state may follow.
        period: samples from one value to the next.
    """

    tensor: Any
    phase: int = 0
    period: int = 1

    @property
    def channels(self) -> int:
        """Of the last axis."""
        return self.tensor.shape[-1]

    @property
    def length(self) -> int:
        """How many values there are."""
        return self.tensor.shape[1]

    def through(self, *stack: Callable) -> Sequence:
        """Behind layers that keep the timing."""
        tensor = self.tensor
        for layer in stack:
            tensor = layer(tensor)
        return dataclasses.replace(self, tensor=tensor)

    def keeps_pace_with(self, other: Sequence) -> bool:
        """Whether both can be merged."""
        return (self.phase, self.period) == (other.phase, other.period)
