"""Embeddings: a row of a table for each token."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.operations import Embed
from keras_s4.weights import finite_weights


@register(keras.layers.Embedding)
def lower_embedding(layer, inputs, builder):
    """A table of int8 with one scale, indexed by an int32 token number.

    The table's rounding alone leaves 41 to 44 dB in front of a GRU, as the int8 weights of the GRU do: finer rows,
    from two tables, would change little.

    The tokens are the model's input. On a device a number outside the vocabulary makes TensorFlow Lite Micro's GATHER
    fail, and `Invoke()` returns an error; the states are then those from before the step. `Converted.quantize`
    refuses such numbers on the host. A stream has no padding, so `mask_zero` has no meaning here.

    Raises:
        NotImplementedError: something else than the model's input is looked up.
    """
    signal = inputs[0]
    if signal.tensor.type != "int32" or signal.tensor.shape != (1,):
        raise NotImplementedError(
            f"Embedding {layer.name!r} looks up {signal.tensor.name!r}, which a layer computes; only the token numbers "
            "of an input of the model can be looked up. Let Embedding layers be the only layers that read that input."
        )
    (table,) = finite_weights(layer, "embeddings")
    scale = float(max(np.abs(table).max(), 1e-9) / 127.0)
    rows = builder.constant(f"{layer.name}/table", table / scale, "int8", scale)
    output = builder.tensor(f"{layer.name}/output", table.shape[1], "int8", scale)
    builder.add(Embed(signal.tensor, rows, output))
    return Signal(output, table[signal.values[..., 0].astype(int)])
