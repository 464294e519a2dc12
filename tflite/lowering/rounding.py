"""Kernels rounded so that their products change least, on the data that the kernel really sees.

Rounding each weight for itself forgets that inputs are correlated. Here weights are rounded one input after the other,
and what an input's weights have lost is made up for by the weights of the inputs that still follow; last by the bias,
which is kept in 32 bits.

Source: Frantar et al. 2022 (GPTQ, arXiv 2210.17323), after Hassibi and Stork 1993 (optimal brain surgeon).
"""

from __future__ import annotations

import numpy as np

LARGEST_WEIGHT = 127
# Of the mean power of the inputs, added to the power of each: calibration data never tell all.
DAMPING = 0.01
MOST_SAMPLES = 20_000


def round_kernel(
    kernel: np.ndarray, bias: np.ndarray, inputs: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Round a kernel to int8 with the least error of `inputs @ kernel + bias`.

    Args:
        kernel: `[F, units]`.
        bias: `[units]`.
        inputs: `[.., F]`, what the kernel is multiplied with.
        scale: of the rounded kernel.

    Returns:
        The kernel's integers `[F, units]`, from -127 to 127, and the bias that goes with them.
    """
    features = len(kernel)
    samples = inputs.reshape(-1, features)
    samples = samples[:: -(-len(samples) // MOST_SAMPLES)]
    samples = np.concatenate([samples, np.ones((len(samples), 1))], axis=1)
    power = samples.T @ samples / len(samples)
    power[np.diag_indices(features)] += DAMPING * np.diag(power)[:features].mean() + 1e-12
    # The strongest inputs first, while there are many left to make up for them; the bias last.
    order = np.append(np.argsort(-np.diag(power)[:features], kind="stable"), features)
    factor = np.linalg.cholesky(np.linalg.inv(power[np.ix_(order, order)])).T
    rows = np.concatenate([kernel / scale, bias[None] / scale])[order]
    for index in range(features):
        wanted = rows[index].copy()
        rows[index] = np.clip(np.rint(wanted), -LARGEST_WEIGHT, LARGEST_WEIGHT)
        lost = (wanted - rows[index]) / factor[index, index]
        rows[index + 1 :] -= factor[index, index + 1 :, None] * lost
    rounded = np.empty_like(rows)
    rounded[order] = rows
    return rounded[:features], rounded[features] * scale
