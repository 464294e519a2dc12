"""Sums of exponentials over time: kernels of DSS layers, the decay of their states, and what the states gather.

All three split time into `t = R q + r` with R near the square root of the length. The powers `p^t = p^(R q) p^r` are
then two small Vandermonde matrices joined by a batched product, and the `[H, N, L]` array of all powers never exists.
Sources: DSS, Gupta, Gu and Berant 2022 (arXiv 2203.14343); S4D, Gu et al. 2022 (arXiv 2206.11893).
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.angles import SplitAngle
from keras_s4.dss.complex_pairs import ComplexPair

# Samples a chunk of powers where the length is not known before the graph runs.
UNKNOWN_LENGTH_CHUNK = 64

Tensor = Any


def exponential_sum(
    log_poles: ComplexPair, coefficients: ComplexPair, length: int | Tensor, angles: SplitAngle | None = None
) -> Tensor:
    """`k[..., h, t] = Re sum_n coefficients[..., h, n] exp(log_poles[h, n] t)` for t = 0 .. length - 1.

    Args:
        log_poles: logarithms of the discrete poles, `[H, N]`.
        coefficients: `[H, N]` or `[B, H, N]`.
        length: number of samples, at least 1; a scalar tensor where a graph is traced for any length.
        angles: the angles of the poles where they are known better than by their logarithms.

    Returns:
        `[H, length]` or `[B, H, length]`.
    """
    (fine_real, fine_imaginary), coarse, chunk, chunks = _powers(log_poles, length, angles)
    coarse = pairs.multiply(coarse, tuple(part[..., None, :] for part in coefficients))
    left = ops.concatenate([coarse[0], -coarse[1]], axis=-1)
    right = ops.concatenate([fine_real, fine_imaginary], axis=1)
    samples = ops.matmul(left, right)
    shape = (*ops.shape(samples)[:-2], chunk * chunks)
    return ops.reshape(samples, shape)[..., :length]


def gathered_states(log_poles: ComplexPair, inputs: Tensor, angles: SplitAngle | None = None) -> ComplexPair:
    """`x[b, h, n] = sum_s exp(log_poles[h, n] (L - 1 - s)) inputs[b, s, h]`: the states after a sequence, gain 1.

    Args:
        log_poles: logarithms of the discrete poles, `[H, N]`.
        inputs: `[B, L, H]`.
        angles: see `exponential_sum`.

    Returns:
        A pair of `[B, H, N]`.
    """
    length = inputs.shape[1] or ops.shape(inputs)[1]
    fine, coarse, chunk, chunks = _powers(log_poles, length, angles)
    modes, channels = log_poles[0].shape[-1], log_poles[0].shape[0]
    newest_first = ops.transpose(ops.flip(inputs, axis=1), (0, 2, 1))
    newest_first = ops.pad(newest_first, [[0, 0], [0, 0], [0, chunk * chunks - length]])
    blocks = ops.reshape(newest_first, (-1, channels, chunks, chunk))
    both = ops.matmul(blocks, ops.transpose(ops.concatenate(fine, axis=1), (0, 2, 1)))
    states = pairs.multiply(coarse, (both[..., :modes], both[..., modes:]))
    return ops.sum(states[0], axis=2), ops.sum(states[1], axis=2)


def powers(log_poles: ComplexPair, steps: Tensor, axis: int, angles: SplitAngle | None = None) -> ComplexPair:
    """Powers `p^t` of poles `[H, N]` for all steps t, along a new axis."""
    steps = ops.reshape(steps, [-1 if each == axis else 1 for each in range(3)])
    log_radius, angle = (ops.expand_dims(part, axis) for part in log_poles)
    return pairs.exp((log_radius * steps, angle * steps if angles is None else angles.expand(axis).after(steps)))


def _powers(
    log_poles: ComplexPair, length: int | Tensor, angles: SplitAngle | None
) -> tuple[ComplexPair, ComplexPair, int, int | Tensor]:
    """Powers `p^r` `[H, N, R]` and `p^(R q)` `[H, Q, N]`, with R and Q."""
    chunk = math.isqrt(length - 1) + 1 if isinstance(length, int) else UNKNOWN_LENGTH_CHUNK
    chunks = -(-length // chunk)
    dtype = log_poles[0].dtype
    fine_steps = ops.arange(chunk, dtype=dtype)
    coarse_steps = ops.arange(chunks, dtype=dtype) * chunk
    fine, coarse = powers(log_poles, fine_steps, 2, angles), powers(log_poles, coarse_steps, 1, angles)
    return fine, coarse, chunk, chunks
