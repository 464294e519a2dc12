"""Complex first-order recurrences with constant factors, for all steps at once, in `keras.ops`.

Time is cut into short chunks. Within a chunk the states are a product with a small triangular matrix of powers; what
the chunks end with is a recurrence of its own, of as many steps as there are chunks, and so on. The cost grows with the
length, not faster as by FFT, and no power is taken of more steps than a chunk has.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.complex_pairs import ComplexPair

# Steps of a chunk, at most.
CHUNK = 16
# Chunks of chunks of ... where the length is not known before the graph runs: 16^5 steps are cut to the end.
LEVELS = 5

Tensor = Any


def states_of(log_poles: ComplexPair, driven: Tensor) -> Tensor:
    """`x[b, t, n] = exp(log_poles[n]) x[b, t - 1, n] + driven[b, t, n]`, complex, from zero on.

    Args:
        log_poles: logarithms of the discrete poles, `[N]`.
        driven: `[B, L, N, 2]`.

    Returns:
        `[B, L, N, 2]`.
    """
    return _states(log_poles, driven, LEVELS)


def _states(log_poles: ComplexPair, driven: Tensor, levels: int) -> Tensor:
    length, modes, batch = driven.shape[1], driven.shape[2], ops.shape(driven)[0]
    if (length is not None and length <= CHUNK) or levels == 1:
        length = length or ops.shape(driven)[1]
        return _by_time(ops.matmul(_by_mode(driven, batch, length), _powers(log_poles, length)), batch, length)
    chunk = CHUNK if length is None else -(-length // -(-length // CHUNK))
    length = length or ops.shape(driven)[1]
    chunks = -(-length // chunk)
    padded = ops.pad(driven, [[0, 0], [0, chunks * chunk - length], [0, 0], [0, 0]])
    states = ops.matmul(_by_mode(padded, batch * chunks, chunk), _powers(log_poles, chunk))
    ends = _by_time(ops.reshape(states[:, :, -2:], (modes, batch, 2 * chunks)), batch, chunks)
    ends = _states(pairs.scale(log_poles, ops.cast(chunk, driven.dtype)), ends, levels - 1)
    before = ops.pad(ends, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]
    states = states + ops.matmul(_by_mode(before, batch * chunks, 1), _decay(log_poles, chunk))
    return ops.reshape(_by_time(states, batch * chunks, chunk), (batch, chunks * chunk, modes, 2))[:, :length]


def _by_mode(signal: Tensor, batch: int | Tensor, length: int | Tensor) -> Tensor:
    """`[N, batch, length * 2]` of `[..., N, 2]`."""
    modes = signal.shape[-2]
    signal = ops.transpose(ops.reshape(signal, (batch, length, modes, 2)), (2, 0, 1, 3))
    return ops.reshape(signal, (modes, batch, 2 * length))


def _by_time(states: Tensor, batch: int | Tensor, length: int | Tensor) -> Tensor:
    """`[batch, length, N, 2]` of `[N, batch, length * 2]`."""
    return ops.transpose(ops.reshape(states, (states.shape[0], batch, length, 2)), (1, 2, 0, 3))


def _powers(log_poles: ComplexPair, length: int | Tensor) -> Tensor:
    """What each step of a short sequence adds to the states at each: `[N, length * 2, length * 2]`."""
    steps = ops.arange(length, dtype=log_poles[0].dtype)
    lags = steps[None, :] - steps[:, None]
    causal = ops.cast(lags >= 0, lags.dtype)
    return _matrices(log_poles, lags * causal, causal)


def _decay(log_poles: ComplexPair, length: int) -> Tensor:
    """What is left at each step of a chunk of the state before it: `[N, 2, length * 2]`."""
    steps = ops.arange(1, length + 1, dtype=log_poles[0].dtype)[None, :]
    return _matrices(log_poles, steps, ops.ones_like(steps))


def _matrices(log_poles: ComplexPair, exponents: Tensor, weights: Tensor) -> Tensor:
    """Powers as real matrices on pairs, `[N, S * 2, T * 2]`, of exponents and weights `[S, T]`."""
    real, imaginary = pairs.scale(pairs.exp(tuple(part[:, None, None] * exponents for part in log_poles)), weights)
    of_real, of_imaginary = ops.stack([real, imaginary], axis=-1), ops.stack([-imaginary, real], axis=-1)
    modes, (rows, columns) = real.shape[0], ops.shape(exponents)
    return ops.reshape(ops.stack([of_real, of_imaginary], axis=2), (modes, 2 * rows, 2 * columns))
