"""Complex first-order recurrences with constant factors, for all steps at once, in `keras.ops`.

Time is cut into short chunks. Within a chunk each state is a product with a small triangular matrix of powers; what the
chunks end with is a recurrence of its own, of as many steps as there are chunks, and so on. The cost grows with the
length, not with its logarithm as by FFT, and no power is taken of more than a chunk.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.complex_pairs import ComplexPair

# Steps of a chunk.
CHUNK = 32
# Of a length that is not known before the graph runs, chunks of chunks: up to CHUNK**LEVELS steps are cut evenly.
LEVELS = 4

Tensor = Any


def states_of(log_poles: ComplexPair, driven: Tensor) -> Tensor:
    """`x[n, b, t] = exp(log_poles[n]) x[n, b, t - 1] + driven[n, b, t]`, from zero on.

    Args:
        log_poles: logarithms of the discrete poles, `[N]`.
        driven: `[N, 2, B, L]`, real and imaginary parts.

    Returns:
        `[N, 2, B, L]`.
    """
    return _states(log_poles, driven, LEVELS)


def _states(log_poles: ComplexPair, driven: Tensor, levels: int) -> Tensor:
    length = driven.shape[3]
    if (length is not None and length <= CHUNK) or levels == 1:
        return _within(log_poles, driven, length or ops.shape(driven)[3])
    length = length or ops.shape(driven)[3]
    modes, batch, chunks = driven.shape[0], ops.shape(driven)[2], (length - 1) // CHUNK + 1
    driven = ops.pad(driven, [[0, 0], [0, 0], [0, 0], [0, chunks * CHUNK - length]])
    states = _within(log_poles, ops.reshape(driven, (modes, 2, batch * chunks, CHUNK)), CHUNK)
    ends = ops.reshape(states[..., -1], (modes, 2, batch, chunks))
    ends = _states(pairs.scale(log_poles, float(CHUNK)), ends, levels - 1)
    before = ops.pad(ends, [[0, 0], [0, 0], [0, 0], [1, 0]])[..., :-1]
    steps = ops.arange(1, CHUNK + 1, dtype=driven.dtype)
    decay = pairs.exp(tuple(part[:, None, None, None] * steps for part in log_poles))
    carried = pairs.multiply(decay, (before[:, 0, ..., None], before[:, 1, ..., None]))
    states = ops.reshape(states, (modes, 2, batch, chunks, CHUNK)) + ops.stack(carried, axis=1)
    return ops.reshape(states, (modes, 2, batch, chunks * CHUNK))[..., :length]


def _within(log_poles: ComplexPair, driven: Tensor, length: int | Tensor) -> Tensor:
    """The states of short sequences, by triangular matrices of powers `[N, L, L]`."""
    steps = ops.arange(length, dtype=driven.dtype)
    lags = steps[None, :] - steps[:, None]
    causal = ops.cast(lags >= 0, driven.dtype)
    lags = lags * causal
    powers = pairs.scale(pairs.exp(tuple(part[:, None, None] * lags for part in log_poles)), causal)
    modes, batch = driven.shape[0], ops.shape(driven)[2]
    rows = ops.reshape(driven, (modes, 2 * batch, length))
    products = [ops.reshape(ops.matmul(rows, part), (modes, 2, batch, length)) for part in powers]
    by_real, by_imaginary = products
    return by_real + ops.stack([-by_imaginary[:, 1], by_imaginary[:, 0]], axis=1)
