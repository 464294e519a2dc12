"""What comes late: behind a convolution without padding, the first steps of a stream have no value yet."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.operations import Affine, Maximum, Minimum, Multiply
from keras_s4.tflite.program.tensors import Tensor


def at_rest_until_due(name: str, signal: Signal, builder: ProgramBuilder) -> Signal:
    """The signal in int32, less its zero point, and zero before the step `signal.phase`.

    A counter stops at `phase + 1`, so that it never wraps; `max(counter - phase, 0)` is 0 first, and then 1.

    Args:
        name: for the tensors.
        signal: the input of a layer, of any type; it is returned as it is if its phase is 0.
        builder: takes the operations and the counter.
    """
    if not signal.phase:
        return signal
    steps = builder.state(f"{name}/steps", (1,), 1.0)

    def constant(label: str, value: int) -> Tensor:
        return builder.constant(f"{name}/{label}", np.array([value]), "int32")

    def scalar(label: str) -> Tensor:
        return builder.tensor(f"{name}/{label}", 1, "int32", 1.0)

    one = constant("one", 1)
    counted = builder.add(Affine(steps.before, one, one, 1.0, scalar("counted"))).output
    builder.add(Minimum(counted, constant("last", signal.phase + 1), steps.after))
    since = builder.add(Affine(steps.after, one, constant("phase", -signal.phase), 1.0, scalar("since"))).output
    gate = builder.add(Maximum(since, constant("never", 0), scalar("gate"))).output
    gated = builder.tensor(f"{name}/gated", signal.tensor.shape, "int32", signal.tensor.scale)
    builder.add(Multiply(signal.tensor, gate, gated))
    values = signal.values.copy()
    values[:, : signal.phase] = 0.0
    return Signal(gated, values)
