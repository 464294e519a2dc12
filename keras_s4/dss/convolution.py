"""Linear convolution of real sequences by complex FFTs of half the usual length, in `keras.ops`.

A convolution of L samples by real FFTs needs 2 L - 1 samples, half of them zeros. Here both sequences are multiplied by
`exp(i pi t / (2 M))`, M >= L, before a circular convolution of M samples. What wraps around has then turned by a right
angle: it comes out in the imaginary part and the wanted samples in the real part. No padding, and no symmetry that a
gradient would have to restore. Source: the right-angle convolution of Arndt, Matters Computational, 2011.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import scipy.fft
from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.complex_pairs import ComplexPair

# What a length that is not known before the graph runs is rounded up to: transforms of prime length are slow.
UNKNOWN_LENGTH_MULTIPLE = 64

Tensor = Any


def causal_convolution(inputs: Tensor, kernel: Tensor, future_kernel: Tensor | None = None) -> Tensor:
    """`y[b, t, h] = sum_{s >= 0} kernel[h, s] u[b, t - s, h] + sum_{s >= 0} future_kernel[h, s] u[b, t + 1 + s, h]`.

    Args:
        inputs: u, `[B, L, H]`.
        kernel: `[H, L]`.
        future_kernel: `[H, L]`, or None for a causal system.

    Returns:
        `[B, L, H]`.
    """
    transform = _Transform(inputs.shape[1] or ops.shape(inputs)[1], inputs.dtype)
    response = transform.forward(kernel)
    if future_kernel is not None:
        delayed = ops.pad(future_kernel[:, :-1], [[0, 0], [1, 0]])
        future = transform.forward(delayed)
        response = pairs.add(response, (future[0], -future[1]))
    spectrum = transform.forward(ops.transpose(inputs, (0, 2, 1)))
    if keras.backend.backend() == "jax":
        response = tuple(_repeat(part, inputs.shape[0]) for part in response)
    return ops.transpose(transform.inverse_real(pairs.multiply(spectrum, response)), (0, 2, 1))


def _repeat(values: Tensor, count: int | None) -> Tensor:
    """`[H, M]` for each of `count` sequences, `[B, H, M]`, as broadcasting does.

    The gradient of what is broadcast is a sum over the first axis, for which XLA of JAX takes longer on a CPU than for
    all the rest of the gradient. The gradient of doublings is a tree of sums of halves.
    """
    values = values[None]
    if not isinstance(count, int):  # none, or a symbol, while a model is traced for any number of sequences
        return values
    while 2 * values.shape[0] <= count:
        values = ops.concatenate([values, values], axis=0)
    missing = count - values.shape[0]
    return ops.concatenate([values, values[:missing]], axis=0) if missing else values


class _Transform:
    """FFT of modulated sequences `[..., L]` at M frequencies, and back."""

    def __init__(self, length: int | Tensor, dtype):
        self.length = length
        if isinstance(length, int):
            self.size = scipy.fft.next_fast_len(length)
            angles = np.arange(length) * (math.pi / (2 * self.size))
            self.modulation = tuple(ops.cast(part, dtype) for part in (np.cos(angles), np.sin(angles)))
        else:
            self.size = UNKNOWN_LENGTH_MULTIPLE * ((length - 1) // UNKNOWN_LENGTH_MULTIPLE + 1)
            angles = ops.arange(length, dtype=dtype) * (math.pi / 2) / ops.cast(self.size, dtype)
            self.modulation = ops.cos(angles), ops.sin(angles)

    def forward(self, signal: Tensor) -> ComplexPair:
        modulated = pairs.scale(self.modulation, signal)
        if not isinstance(self.length, int) or self.size > self.length:
            widths = [[0, 0]] * (len(signal.shape) - 1) + [[0, self.size - self.length]]
            modulated = tuple(ops.pad(part, widths) for part in modulated)
        return ops.fft(modulated)

    def inverse_real(self, spectrum: ComplexPair) -> Tensor:
        # Keras has no inverse FFT: with real and imaginary parts exchanged before and after, the forward one is it.
        imaginary, real = ops.fft((spectrum[1], spectrum[0]))
        cosine, sine = pairs.scale(self.modulation, 1.0 / ops.cast(self.size, real.dtype))
        return real[..., : self.length] * cosine + imaginary[..., : self.length] * sine
