"""From continuous poles to the poles of one step, and back: zero-order hold and bilinear (Tustin).

Both give a mode with the continuous pole lambda and the discrete pole p the input gain `(p - 1) / lambda`. All is
there twice: on pairs of tensors for the layers, and on complex numbers of numpy for analysis, in float64.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.angles import SplitAngle, bilinear_angle
from keras_s4.dss.complex_pairs import ComplexPair

# A bilinear pole at 0 has no logarithm. Single precision does not tell poles below this radius from 0 anyway.
SMALLEST_BILINEAR_RADIUS = 3.5e-4
# Of the published softmax kernel, which would be infinite where p^L = 1.
SOFTMAX_EPSILON = 1e-7


class ZeroOrderHold:
    """The input is held between samples: `p = exp(z)`, with z the continuous pole times the time step."""

    @staticmethod
    def log_poles(z: ComplexPair) -> ComplexPair:
        """`log p` of pairs of tensors."""
        return z

    @staticmethod
    def angles(z: ComplexPair) -> None:
        """Those of p are known no better than by `log_poles`."""

    @staticmethod
    def log_poles_of(z: np.ndarray) -> np.ndarray:
        """`log p` of complex numbers."""
        return z

    @staticmethod
    def exponents_of(poles: np.ndarray) -> np.ndarray:
        """z of discrete poles, none of them 0."""
        return np.log(poles)


class Bilinear:
    """The trapezoidal rule: `p = (1 + z/2) / (1 - z/2)`, which maps all stable poles to the whole unit disc."""

    @staticmethod
    def log_poles(z: ComplexPair) -> ComplexPair:
        """`log p` of pairs of tensors, accurate where p is near 1: `log|p|` by log1p, the angle as a sum of two."""
        real, imaginary = 0.5 * z[0], 0.5 * z[1]
        shrinkage = 4.0 * real / (ops.square(1.0 - real) + ops.square(imaginary))
        log_radius = 0.5 * ops.log1p(ops.maximum(shrinkage, SMALLEST_BILINEAR_RADIUS**2 - 1.0))
        return log_radius, ops.arctan2(imaginary, 1.0 + real) + ops.arctan2(imaginary, 1.0 - real)

    @staticmethod
    def angles(z: ComplexPair) -> SplitAngle:
        """Those of p, which come close to half a turn, to many more digits than in `log_poles`."""
        return bilinear_angle(z)

    @staticmethod
    def log_poles_of(z: np.ndarray) -> np.ndarray:
        """`log p` of complex numbers."""
        return 2.0 * np.arctanh(z / 2.0)

    @staticmethod
    def exponents_of(poles: np.ndarray) -> np.ndarray:
        """z of discrete poles, none of them -1."""
        return 2.0 * (poles - 1.0) / (poles + 1.0)


METHODS = {"zoh": ZeroOrderHold, "bilinear": Bilinear}


def modes(
    method: str, poles: ComplexPair, exponents: ComplexPair, rate: float, normalizer_length: int | None
) -> tuple[ComplexPair, ComplexPair]:
    """Logarithms of the discrete poles, and input gains.

    Args:
        method: a key of `METHODS`.
        poles: continuous poles lambda, `[H, N]` or `[N]`.
        exponents: z, the poles times the time steps of the training, `[H, N]`.
        rate: training steps that one step spans.
        normalizer_length: steps L of the softmax kernel, whose gains are divided by `p^L - 1` at the training's rate;
            None for the other kernels.

    Returns:
        two pairs of `[H, N]`.
    """
    log_poles_at = METHODS[method].log_poles
    log_poles = log_poles_at(pairs.scale(exponents, rate))
    gains = pairs.divide(pairs.expm1(log_poles), poles)
    if normalizer_length is not None:
        steps, angles = float(normalizer_length), METHODS[method].angles(exponents)
        log_radius, angle = pairs.scale(log_poles_at(exponents), steps)
        whole = pairs.expm1((log_radius, angle if angles is None else angles.after(steps)))
        gains = pairs.divide(gains, whole, SOFTMAX_EPSILON)
    return log_poles, gains


def modes_of(
    method: str, poles: np.ndarray, exponents: np.ndarray, rate: float, normalizer_length: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """`modes` of complex numpy arrays."""
    log_poles_at = METHODS[method].log_poles_of
    log_poles = log_poles_at(exponents * rate)
    gains = np.expm1(log_poles) / poles
    if normalizer_length is not None:
        whole = np.expm1(log_poles_at(exponents) * normalizer_length)
        gains = gains * whole.conj() / (np.abs(whole) ** 2 + SOFTMAX_EPSILON)
    return log_poles, gains
