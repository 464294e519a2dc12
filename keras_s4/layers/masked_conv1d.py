"""A convolution over time that passes masks on."""

from __future__ import annotations

import keras

from keras_s4.dss import masks
from keras_s4.errors import LayerError


@keras.saving.register_keras_serializable(package="keras_s4")
class MaskedConv1D(keras.layers.Conv1D):
    """`keras.layers.Conv1D` for padded sequences: masked steps are zeros to it, and its outputs are masked where it is.

    Keras' own drops the mask. An output counts if the last step that it depends on does; those are real in sequences
    that are padded behind their end. The arguments are those of `keras.layers.Conv1D`.

    Raises:
        ValueError: padding="same", with which an output depends on steps behind the end, or channels first.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.padding == "same" or self.data_format != "channels_last":
            raise LayerError(
                f"MaskedConv1D {self.name!r} got padding={self.padding!r} and data_format={self.data_format!r}; "
                "expected 'causal' or 'valid', and 'channels_last'."
            )
        self.supports_masking = True

    def call(self, inputs, mask=None):
        """`[B, L, F]` to `[B, T, filters]`.

        Args:
            inputs: `[B, L, F]`.
            mask: bool `[B, L]`, False at padded steps.
        """
        return super().call(inputs if mask is None else masks.zeroed(inputs, mask))

    def compute_mask(self, inputs, mask=None):
        """Bool `[B, T]`, False where the last step of an output is padding."""
        if mask is None:
            return None
        first = 0 if self.padding == "causal" else (self.kernel_size[0] - 1) * self.dilation_rate[0]
        return mask[:, first :: self.strides[0]]
