"""A block as users write them: what fuzzing needs beside the library's own."""

from __future__ import annotations

import keras

from keras_s4 import layers


@keras.saving.register_keras_serializable(package="keras_s4.testing")
class GatedResidual(layers.Block):
    """`x + dense(glu(dense(memory(x))))`, a subclass of `Block` that nothing in the library knows.

    Args:
        memory: a layer from `[B, L, H]` to `[B, L, ...]`.
        units: H.
    """

    def __init__(self, memory: keras.layers.Layer, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.memory = memory
        self.inwards = keras.layers.Dense(2 * units)
        self.gate = layers.GLU()
        self.outwards = keras.layers.Dense(units)
        self.sum = keras.layers.Add()

    def connect(self, call, inputs):
        """The sum of input and gated memory."""
        gated = call(self.gate, call(self.inwards, call(self.memory, inputs)))
        return call(self.sum, inputs, call(self.outwards, gated))

    def get_config(self):
        """Every argument."""
        return super().get_config() | {
            "memory": keras.saving.serialize_keras_object(self.memory),
            "units": self.units,
        }

    @classmethod
    def from_config(cls, config):
        """The memory as a layer again."""
        return cls(keras.saving.deserialize_keras_object(config.pop("memory")), **config)
