"""The diagonal state space layer as a recurrent cell."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.errors import LayerError
from keras_s4.layers.dss import DSS


@keras.saving.register_keras_serializable(package="keras_s4")
class DSSCell(keras.layers.Layer):
    """One step of a DSS layer, for `keras.layers.RNN` and whatever takes recurrent cells.

    `keras.layers.RNN(DSSCell(layer), return_sequences=True)` computes what `layer` does, with the same weights, in a
    loop of steps instead of an FFT. Whatever its policy, the cell computes in the type of the layer's state.

    Args:
        layer: a causal `DSS` layer.
        channels: H; needed only if the layer is not built.

    Input: `[B, H]` and states `[[B, H N 2]]`, flat as cells hold them. Output: `[B, H]` and the next states.
    """

    def __init__(self, layer: DSS, channels: int | None = None, **kwargs):
        self._check_layer(layer, channels)
        # Keras hands states to a cell in its compute type, and half precision would lose the memory of slow modes.
        super().__init__(**{**kwargs, "dtype": layer.state_dtype, "autocast": False})
        self.layer = layer
        self.channels = channels or layer.channels
        self.state_size = self.channels * layer.state_size * 2
        self.output_size = self.channels

    def build(self, input_shape):
        """Creates the layer's weights for `[B, H]` inputs, unless they are there."""
        if input_shape[-1] != self.channels:
            raise LayerError(
                f"DSSCell {self.name!r} got inputs of shape {tuple(input_shape)}; expected {self.channels} channels."
            )
        if not self.layer.built:
            self.layer.build((None, None, self.channels))

    def call(self, inputs, states):
        """One step: `[B, H]` inputs and `[[B, H N 2]]` states to outputs and next states."""
        state = ops.reshape(states[0], (-1, self.channels, self.layer.state_size, 2))
        outputs, state = self.layer.step(inputs, state)
        return outputs, [ops.reshape(state, (-1, self.state_size))]

    def get_initial_state(self, batch_size=None):
        """The zero state of `batch_size` streams."""
        return [ops.zeros((batch_size, self.state_size), dtype=self.compute_dtype)]

    def compute_output_shape(self, input_shape, states_shape=None):
        """Shapes of the output and of the states."""
        return tuple(input_shape), [(input_shape[0], self.state_size)]

    def get_config(self):
        """Every argument."""
        config = super().get_config()
        del config["dtype"]
        return {**config, "layer": keras.saving.serialize_keras_object(self.layer), "channels": self.channels}

    @classmethod
    def from_config(cls, config):
        """The cell of a deserialised layer."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})

    @staticmethod
    def _check_layer(layer, channels):
        if not isinstance(layer, DSS):
            raise LayerError(f"DSSCell got {layer!r}; expected a DSS layer, as in DSSCell(DSS(32), channels=6).")
        layer.check_causal("run as a cell")
        if not layer.built and channels is None:
            raise LayerError(f"DSSCell got the DSS layer {layer.name!r}, which is not built; say channels=H.")
        if layer.built and channels not in (None, layer.channels):
            raise LayerError(
                f"DSSCell got channels={channels}, but the DSS layer {layer.name!r} has {layer.channels} channels."
            )
