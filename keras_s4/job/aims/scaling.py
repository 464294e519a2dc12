"""Quantities in numbers that are about as large as 1, and back in their units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from keras_s4.layers import Standardization
from keras_s4.layers.standardization import mean_and_deviation

UNITS = "units"


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The mean and the standard deviation of quantities in training data.

    Args:
        mean: in their units, `[T]`.
        deviation: likewise; 1 where a quantity never changes.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, values: Sequence[np.ndarray]) -> Scaling:
        """That of arrays `[..., T]`."""
        rows = np.concatenate([np.reshape(array, (-1, np.shape(array)[-1])) for array in values])
        return cls(*mean_and_deviation(rows))

    def standardize(self, values: np.ndarray) -> np.ndarray:
        """Values in their units `[..., T]` as multiples of the deviation from the mean, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def in_units(self, values: np.ndarray) -> np.ndarray:
        """What `standardize` was given, float64."""
        return values.astype(np.float64) * self.deviation + self.mean

    def append_to(self, inner: keras.Model) -> keras.Model:
        """The model with a last layer "units", behind which its outputs are in their units."""
        layer = keras.layers.Rescaling(self.deviation.tolist(), self.mean.tolist(), name=UNITS)
        return keras.Model(inner.input, layer(inner.output), name=inner.name)


def without_units(model: keras.Model) -> keras.Model:
    """The model in front of the layer that `Scaling.append_to` appended."""
    return keras.Model(model.input, model.get_layer(UNITS).input, name=model.name)


def without_output_units(model: keras.Model) -> keras.Model:
    """A core: the model of `keras_s4.models` in front of the layer that gives its outputs units, if it has one."""
    last = model.layers[-1]
    return keras.Model(model.input, last.input, name=model.name) if isinstance(last, Standardization) else model
