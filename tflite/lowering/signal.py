"""What flows through a program under construction."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.brief import Brief
from keras_s4.streaming.plan import Flow
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, repr=False)
class Signal(Brief):
    """A tensor of the program together with the values that it takes in floating point.

    Args:
        tensor: integers of shape `[H]`.
        values: float64, `[B, L, H]` for each step of B streams, each from its first step on with carried state; behind
            layers that drop steps for those that are left.
        flow: what the plan of the stream says of it; None inside of a lowering, to which only tensor and values matter.
        activation: what the host is to apply to an output of the model: "linear" or "softmax".
        encoding: what the values stand for where features have units of their own; None if they stand for themselves.
    """

    tensor: Tensor
    values: np.ndarray
    flow: Flow | None = None
    activation: str = "linear"
    encoding: Encoding | None = None

    @property
    def has_time(self) -> bool:
        """Whether Keras has a time axis here; behind a pooling over time it has not."""
        return self.flow is None or self.flow.has_time

    @property
    def phase(self) -> int:
        """The first value, counted from 0, that Keras has too: 2 behind a convolution over 3 steps without padding.

        What comes earlier means nothing.
        """
        return 0 if self.flow is None else self.flow.first_row
