"""The gated linear unit."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.errors import LayerError


@keras.saving.register_keras_serializable(package="keras_s4")
class GLU(keras.layers.Layer):
    """`value * sigmoid(gate)`, with the first half of the channels as value and the second half as gate.

    It stands behind a layer of twice as many channels as are wanted, where Keras' own `activation="glu"` does not work:
    `Dense` and the like count with as many outputs as they have units.

    Input: `[B, ..., 2 H]`. Output: `[B, ..., H]`.

    Raises:
        ValueError: the number of channels is odd, or not known.

    Source: Dauphin et al. 2017 (arXiv 1612.08083).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        """Checks the shape."""
        self._check(input_shape)

    def call(self, inputs):
        """`[B, ..., 2 H]` to `[B, ..., H]`."""
        value, gate = ops.split(inputs, 2, axis=-1)
        return value * ops.sigmoid(gate)

    def compute_output_shape(self, input_shape):
        """The input's shape with half as many channels."""
        self._check(input_shape)
        return (*input_shape[:-1], input_shape[-1] // 2)

    def _check(self, shape):
        if len(shape) < 2 or not shape[-1] or shape[-1] % 2:
            raise LayerError(
                f"GLU {self.name!r} got input of shape {tuple(shape)}; expected [B, ..., 2 H], an even number of "
                "channels: the first half are values, the second half their gates."
            )
