"""Initial poles and time steps of DSS layers.

Initialisers of poles are called with a shape `[..., N, 2]` and return continuous poles as real pairs, the same N for
every leading index, none of their conjugates among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np

from keras_s4.errors import LayerError


class _FixedPoles(keras.initializers.Initializer):
    """Poles with the real part -1/2 and frequencies that follow a formula."""

    def __call__(self, shape, dtype=None):
        """Real pairs `[..., N, 2]` of the poles."""
        frequencies = self._frequencies(shape[-2])
        pairs = np.stack([np.full_like(frequencies, -0.5), frequencies], axis=-1)
        return keras.ops.convert_to_tensor(np.broadcast_to(pairs, shape), dtype=dtype or keras.config.floatx())

    def get_config(self):
        """No arguments."""
        return {}


@keras.saving.register_keras_serializable(package="keras_s4")
class SkewHiPPO(_FixedPoles):
    """Eigenvalues of the skew-symmetric part of the HiPPO-LegS matrix minus 1/2, by ascending frequency.

    Source: DSS, Gupta, Gu and Berant 2022 (arXiv 2203.14343), section 3.2.
    """

    def _frequencies(self, count):
        size = 2 * count
        root = np.sqrt(2.0 * np.arange(size) + 1.0)
        lower = np.tril(np.outer(root, root), -1) / 2.0
        return np.linalg.eigvalsh(1j * (lower - lower.T))[count:]


@keras.saving.register_keras_serializable(package="keras_s4")
class S4DLegS(SkewHiPPO):
    """Eigenvalues of the normal part of the HiPPO-LegS matrix: the poles of `SkewHiPPO` under the name that S4D uses.

    Source: S4D-LegS of Gu et al. 2022 (arXiv 2206.11893).
    """


@keras.saving.register_keras_serializable(package="keras_s4")
class S4DInv(_FixedPoles):
    """Frequencies `(2 N / pi) (2 N / (2 n + 1) - 1)`: few fast ones and many slow ones, like those of HiPPO-LegS.

    Source: S4D-Inv of Gu et al. 2022 (arXiv 2206.11893), where N counts the conjugates too.
    """

    def _frequencies(self, count):
        size = 2.0 * count
        return size / math.pi * (size / (2.0 * np.arange(count) + 1.0) - 1.0)


@keras.saving.register_keras_serializable(package="keras_s4")
class S4DLin(_FixedPoles):
    """Frequencies `pi n`: those of a Fourier series.

    Source: S4D-Lin of Gu et al. 2022 (arXiv 2206.11893).
    """

    def _frequencies(self, count):
        return math.pi * np.arange(count)


@keras.saving.register_keras_serializable(package="keras_s4")
class RandomPoles(keras.initializers.Initializer):
    """The decay of `S4DLin` and its range of frequencies, 0 to pi N, filled at random.

    Args:
        seed: as in `keras.initializers.RandomUniform`.
    """

    def __init__(self, seed=None):
        self._uniform = keras.initializers.RandomUniform(0.0, math.pi, seed=seed)

    def __call__(self, shape, dtype=None):
        """Real pairs `[..., N, 2]` of the poles; every leading index has poles of its own."""
        frequencies = shape[-2] * self._uniform(shape[:-1], dtype=dtype)
        return keras.ops.stack([keras.ops.full_like(frequencies, -0.5), frequencies], axis=-1)

    def get_config(self):
        """Every argument."""
        return {"seed": self._uniform.get_config()["seed"]}


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
            raise LayerError(f"LogUniform got minimum={minimum}, maximum={maximum}; expected 0 < minimum <= maximum.")
        self.minimum = minimum
        self.maximum = maximum
        self._uniform = keras.initializers.RandomUniform(math.log(minimum), math.log(maximum), seed=seed)

    def __call__(self, shape, dtype=None):
        """The logarithms, of the shape asked for."""
        return self._uniform(shape, dtype=dtype)

    def get_config(self):
        """Every argument."""
        return {"minimum": self.minimum, "maximum": self.maximum, "seed": self._uniform.get_config()["seed"]}


_POLES = {
    "skew_hippo": SkewHiPPO,
    "s4d_legs": S4DLegS,
    "s4d_inv": S4DInv,
    "s4d_lin": S4DLin,
    "random": RandomPoles,
}


def poles(identifier) -> keras.initializers.Initializer:
    """An initialiser of poles from its short name, from None (`SkewHiPPO`), or from all that Keras understands.

    Raises:
        ValueError: nobody knows the name; the message lists the short names.
    """
    if identifier is None:
        return SkewHiPPO()
    if isinstance(identifier, str) and identifier in _POLES:
        return _POLES[identifier]()
    try:
        return keras.initializers.get(identifier)
    except ValueError as error:
        raise LayerError(
            f"No initialiser of poles is called {identifier!r}; expected one of {', '.join(_POLES)}, or an initialiser."
        ) from error


def draw(initializer: Callable, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Initial values as numbers, also where Keras traces the call in which a layer is built.

    Several weights can then be made of one draw. A tensor could not be kept for that: one of a traced function is of
    no use outside, and Keras calls the initialisers of weights in scopes of their own.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        scope = tensorflow.init_scope()
    elif backend == "jax":
        import jax

        scope = jax.ensure_compile_time_eval()
    else:
        scope = keras.device("cpu")  # torch infers shapes with tensors that have no numbers, on a device of their own
    with scope:
        return keras.ops.convert_to_numpy(initializer(shape, dtype=dtype))


def give(values: np.ndarray) -> Callable:
    """An initialiser of these values."""
    return lambda shape, dtype: keras.ops.convert_to_tensor(values, dtype)


def draw_poles(
    initializer: keras.initializers.Initializer, shape: tuple[int, ...], dtype: str, layer_name: str
) -> np.ndarray:
    """Initial poles `[*shape]`, complex, drawn once for all the weights that are made of them.

    Raises:
        ValueError: a real part is not negative; the message names the layer.
    """
    pairs = draw(initializer, (*shape, 2), dtype).astype(np.float64)
    real_parts = pairs[..., 0]
    if not np.all(real_parts < 0):
        raise LayerError(
            f"DSS {layer_name!r} got an initial pole with real part {real_parts.max():g}; continuous poles are "
            "stable only below 0. Use a pole_initializer such as keras_s4.initializers.SkewHiPPO()."
        )
    return real_parts + 1j * pairs[..., 1]
