"""Which of the values that a program gives belong to the outputs of the Keras model."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class OutputSteps:
    """Which of the values that a program gives of an output, one after the other, Keras has too.

    Args:
        sequence: whether Keras gives a sequence, or else what there is after the last step.
        phase: the first value of a sequence, counted from 0, that means something; not 0 behind convolutions without
            padding. Of what is no sequence the step.
    """

    sequence: bool = False
    phase: int = 0

    def of(self, values: np.ndarray) -> np.ndarray:
        """`[B, L, ...]` of the program as `[B, L - phase, ...]` or `[B, ...]` of Keras."""
        return values[:, self.phase :] if self.sequence else values[:, -1]
