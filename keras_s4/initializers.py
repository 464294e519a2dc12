"""Initial poles and time steps of DSS layers."""

from __future__ import annotations

import math

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="keras_s4")
class SkewHiPPO(keras.initializers.Initializer):
    """Continuous poles of the skew-symmetric part of the HiPPO-LegS matrix: Re = -1/2, imaginary parts all positive.

    Called with a shape `[..., N, 2]`; returns real and imaginary parts, the same N poles for every leading index.
    Source: DSS, Gupta, Gu and Berant 2022 (arXiv 2203.14343), section 3.2.
    """

    def __call__(self, shape, dtype=None):
        """Real pairs `[..., N, 2]` of the poles, by ascending frequency."""
        size = 2 * shape[-2]
        root = np.sqrt(2.0 * np.arange(size) + 1.0)
        lower = np.tril(np.outer(root, root), -1) / 2.0
        frequencies = np.linalg.eigvalsh(1j * (lower - lower.T))[shape[-2] :]
        pairs = np.stack([np.full_like(frequencies, -0.5), frequencies], axis=-1)
        return keras.ops.convert_to_tensor(np.broadcast_to(pairs, shape), dtype=dtype or keras.config.floatx())

    def get_config(self):
        """No arguments."""
        return {}


@keras.saving.register_keras_serializable(package="keras_s4")
class LogUniform(keras.initializers.Initializer):
    """Logarithms of numbers spread evenly on a logarithmic scale, for the time steps of DSS channels.

    Args:
        minimum: smallest number, above 0.
        maximum: largest number.
        seed: as in `keras.initializers.RandomUniform`.
    """

    def __init__(self, minimum: float = 1e-3, maximum: float = 1e-1, seed=None):
        if not 0.0 < minimum <= maximum:
            raise ValueError(f"LogUniform got minimum={minimum}, maximum={maximum}; expected 0 < minimum <= maximum.")
        self.minimum = minimum
        self.maximum = maximum
        self._uniform = keras.initializers.RandomUniform(math.log(minimum), math.log(maximum), seed=seed)

    def __call__(self, shape, dtype=None):
        """The logarithms, of the shape asked for."""
        return self._uniform(shape, dtype=dtype)

    def get_config(self):
        """Every argument."""
        return {"minimum": self.minimum, "maximum": self.maximum, "seed": self._uniform.get_config()["seed"]}
