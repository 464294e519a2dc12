"""Kernels rounded so that their products change least, on the data that the kernel really sees.

Rounding each weight for itself forgets that inputs are correlated. Here weights are rounded one input after the other,
and what an input's weights have lost is made up for by the weights of the inputs that still follow; last by the bias,
which is kept in 32 bits.

Source: Frantar et al. 2022 (GPTQ, arXiv 2210.17323), after Hassibi and Stork 1993 (optimal brain surgeon).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_s4.tflite.program import nibbles

LARGEST_WEIGHT = 127
# Parts of the largest weight that weights of 4 bits may reach to, what is larger being cut off there.
REACHES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
# Of the mean power of the inputs, added to the power of each: calibration data never tell all.
DAMPING = 0.01
MOST_SAMPLES = 20_000


class KernelFormat(NamedTuple):
    """The integers of a kernel.

    Args:
        type: that stores them, "int4" or "int8".
        largest: of their magnitudes.
        reach: part of the kernel's largest magnitude that they reach to; None where it is to be chosen on data.
    """

    type: str = "int8"
    largest: int = LARGEST_WEIGHT
    reach: float | None = 1.0

    def scale(self, kernel: np.ndarray) -> float:
        """Of integers that reach as far."""
        return np.abs(kernel).max() * (1.0 if self.reach is None else self.reach) / self.largest

    def rounded(self, kernel: np.ndarray, scale: float) -> np.ndarray:
        """The nearest integers."""
        return np.clip(np.rint(kernel / scale), -self.largest, self.largest)


EIGHT_BITS = KernelFormat()
FOUR_BITS = KernelFormat("int4", nibbles.LARGEST, None)


def choose_reach(kernel: np.ndarray, bias: np.ndarray, inputs: np.ndarray, format: KernelFormat) -> float:
    """The reach with which a kernel that is rounded by `round_kernel` has the least error.

    Args:
        kernel, bias, inputs: as for `round_kernel`.
        format: of the integers.
    """
    samples = inputs.reshape(-1, len(kernel))
    wanted = samples @ kernel + bias

    def error(reach: float) -> float:
        scale = max(format._replace(reach=reach).scale(kernel), 1e-30)
        integers, offsets = round_kernel(kernel, bias, inputs, scale, format.largest)
        return float(np.mean((samples @ (integers * scale) + offsets - wanted) ** 2))

    return min(REACHES, key=error)


def round_kernel(
    kernel: np.ndarray,
    bias: np.ndarray,
    inputs: np.ndarray,
    scale: float,
    largest: int = LARGEST_WEIGHT,
    shifts: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Round a kernel to integers with the least error of `inputs @ kernel + bias`.

    Args:
        kernel: `[F, units]`.
        bias: `[units]`.
        inputs: `[.., F]`, what the kernel is multiplied with.
        scale: of the rounded kernel.
        largest: magnitude of an integer.
        shifts: whether the bias makes up for what is left; else it stays, and zeros give what they gave.

    Returns:
        The kernel's integers `[F, units]`, and the bias that goes with them.
    """
    features = len(kernel)
    samples = inputs.reshape(-1, features)
    samples = samples[:: -(-len(samples) // MOST_SAMPLES)]
    # Without shifts nothing is correlated with the bias.
    samples = np.concatenate([samples, np.full((len(samples), 1), float(shifts))], axis=1)
    power = samples.T @ samples / len(samples)
    power[features, features] = 1.0
    power[np.diag_indices(features)] += DAMPING * np.diag(power)[:features].mean() + 1e-12
    # The strongest inputs first, while there are many left to make up for them; the bias last.
    order = np.append(np.argsort(-np.diag(power)[:features], kind="stable"), features)
    factor = np.linalg.cholesky(np.linalg.inv(power[np.ix_(order, order)])).T
    rows = np.concatenate([kernel / scale, bias[None] / scale])[order]
    for index in range(features):
        wanted = rows[index].copy()
        rows[index] = np.clip(np.rint(wanted), -largest, largest)
        lost = (wanted - rows[index]) / factor[index, index]
        rows[index + 1 :] -= factor[index, index + 1 :, None] * lost
    rounded = np.empty_like(rows)
    rounded[order] = rows
    return rounded[:features], rounded[features] * scale
