"""Pooling over time."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.tflite.calibration import Signal
from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.program import Accumulate, Requantize


@register(keras.layers.GlobalAveragePooling1D)
def lower_average_pooling(layer, inputs, builder):
    """A running sum; the division by the window's length is folded into its scale."""
    signal, length = inputs[0], builder.length
    if length is None:
        raise ValueError(
            f"Layer {layer.name!r} averages over time, but the model's sequence length is open; "
            "say how many steps a window has: convert(model, data, length=...)."
        )
    largest = 2.0 ** (15 if signal.tensor.type == "int16" else 8) * length
    if largest > 2.0**31 - 1:
        raise ValueError(
            f"Layer {layer.name!r} would sum {length} steps in 32 bits, which holds {2**31 // int(largest / length)}; "
            "use shorter windows."
        )
    averages = np.cumsum(signal.values, axis=1) / length
    scale = signal.tensor.scale / length
    sums = builder.state(f"{layer.name}/sum", signal.tensor.shape, scale)
    builder.add(Accumulate(signal.tensor, sums.before, sums.after))
    # A power of two times the sum's scale, so that the rounding is a shift in every engine.
    shift = max(0.0, np.ceil(np.log2(max(np.abs(averages).max() * 1.25, 1e-12) / (scale * 32767))))
    output = builder.tensor(f"{layer.name}/output", signal.tensor.shape, "int16", scale * 2.0**shift)
    builder.add(Requantize(sums.after, output))
    return Signal(output, averages)
