"""DSS kernels and causal convolution, in `keras.ops` and real arithmetic.

Complex numbers are pairs `(real, imaginary)` of tensors: optimisers, savers and devices have no complex type.
Sources: DSS, Gupta, Gu and Berant 2022 (arXiv 2203.14343); S4D, Gu et al. 2022 (arXiv 2206.11893).
"""

from __future__ import annotations

import math
from typing import Any

import scipy.fft
from keras import ops

# Samples a chunk of powers where the length is not known before the graph runs.
UNKNOWN_LENGTH_CHUNK = 64

Tensor = Any
ComplexPair = tuple[Tensor, Tensor]


def complex_multiply(a: ComplexPair, b: ComplexPair) -> ComplexPair:
    """Product of two complex pairs."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def complex_divide(a: ComplexPair, b: ComplexPair) -> ComplexPair:
    """Quotient of two complex pairs."""
    norm = b[0] * b[0] + b[1] * b[1]
    return (a[0] * b[0] + a[1] * b[1]) / norm, (a[1] * b[0] - a[0] * b[1]) / norm


def complex_exp(z: ComplexPair) -> ComplexPair:
    """Exponential of a complex pair."""
    magnitude = ops.exp(z[0])
    return magnitude * ops.cos(z[1]), magnitude * ops.sin(z[1])


def complex_expm1(z: ComplexPair) -> ComplexPair:
    """`exp(z) - 1` without cancellation for small z, where slow modes live."""
    half_sine = ops.sin(0.5 * z[1])
    real = ops.expm1(z[0]) * ops.cos(z[1]) - 2.0 * half_sine * half_sine
    return real, ops.exp(z[0]) * ops.sin(z[1])


def zero_order_hold_gain(poles: ComplexPair, log_poles: ComplexPair) -> ComplexPair:
    """Input gain of the discretised modes: `(exp(lambda dt) - 1) / lambda`.

    Args:
        poles: continuous poles lambda, `[H, N]` or `[N]`, Re < 0.
        log_poles: `lambda dt`, `[H, N]`.

    Returns:
        The gain, `[H, N]`.
    """
    return complex_divide(complex_expm1(log_poles), poles)


def exponential_sum(log_poles: ComplexPair, coefficients: ComplexPair, length: int | Tensor) -> Tensor:
    """`k[h, t] = Re sum_n coefficients[h, n] exp(log_poles[h, n] t)` for t = 0 .. length - 1, by chunked powers.

    With `t = R q + r` and R near the square root of the length, the powers split into two small Vandermonde matrices
    joined by a batched product, so that the `[H, N, length]` array of all powers never exists.

    Args:
        log_poles: logarithms of the discrete poles, `[H, N]`.
        coefficients: `[H, N]`.
        length: number of samples, at least 1; a scalar tensor where a graph is traced for any length.

    Returns:
        The kernel, `[H, length]`.
    """
    chunk = math.isqrt(length - 1) + 1 if isinstance(length, int) else UNKNOWN_LENGTH_CHUNK
    chunks = -(-length // chunk)
    dtype = log_poles[0].dtype
    fine_steps = ops.arange(chunk, dtype=dtype)
    coarse_steps = ops.arange(chunks, dtype=dtype) * chunk

    fine = complex_exp(tuple(part[:, :, None] * fine_steps for part in log_poles))
    coarse = complex_exp(tuple(part[:, None, :] * coarse_steps[:, None] for part in log_poles))
    coarse = complex_multiply(coarse, tuple(part[:, None, :] for part in coefficients))
    left = ops.concatenate([coarse[0], -coarse[1]], axis=2)
    right = ops.concatenate([fine[0], fine[1]], axis=1)
    return ops.reshape(ops.matmul(left, right), (left.shape[0], chunk * chunks))[:, :length]


def causal_convolution(inputs: Tensor, kernel: Tensor) -> Tensor:
    """`y[b, t, h] = sum_{s <= t} kernel[h, s] inputs[b, t - s, h]`, by the real FFT.

    Args:
        inputs: `[B, L, H]`.
        kernel: `[H, L]`.

    Returns:
        `[B, L, H]`.
    """
    length = kernel.shape[-1] or ops.shape(kernel)[-1]
    size = scipy.fft.next_fast_len(2 * length - 1, real=True) if isinstance(length, int) else 2 * length
    signal = _padded(ops.transpose(inputs, (0, 2, 1)), size - length)
    spectrum = complex_multiply(
        ops.rfft(signal, fft_length=size), ops.rfft(_padded(kernel, size - length), fft_length=size)
    )
    outputs = ops.irfft(spectrum, fft_length=size)[..., :length]
    return ops.transpose(outputs, (0, 2, 1))


def _padded(signal: Tensor, count: int) -> Tensor:
    return ops.pad(signal, [[0, 0]] * (len(signal.shape) - 1) + [[0, count]])
