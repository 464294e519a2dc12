"""The last step of a sequence."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.dss import masks
from keras_s4.errors import LayerError


@keras.saving.register_keras_serializable(package="keras_s4")
class LastStep(keras.layers.Layer):
    """The last step of each sequence, and of padded sequences the last one that is not masked.

    It ends a classifier whose recurrent layers have seen all of the sequence. In a stream it is the current step.

    Input: `[B, L, ...]`. Output: `[B, ...]`. A sequence that is masked as a whole gives its first step.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        """Checks the shape."""
        if len(input_shape) < 3 or input_shape[1] == 0:
            raise LayerError(
                f"LastStep {self.name!r} got input of shape {tuple(input_shape)}; expected [B, L, H] with at least 1 "
                "step."
            )

    def call(self, inputs, mask=None):
        """`[B, L, ...]` to `[B, ...]`.

        Args:
            inputs: `[B, L, ...]`.
            mask: bool `[B, L]`, False at padded steps.
        """
        if mask is None:
            return inputs[:, -1]
        index = ops.maximum(masks.steps_to_the_last(mask) - 1, 0)
        index = ops.reshape(index, (-1, *(1 for _ in inputs.shape[1:])))
        return ops.squeeze(ops.take_along_axis(inputs, index, axis=1), axis=1)

    def compute_mask(self, inputs, mask=None):
        """None: there are no steps left to mask."""
        return None

    def compute_output_shape(self, input_shape):
        """The input's shape without the time axis."""
        return (input_shape[0], *input_shape[2:])
