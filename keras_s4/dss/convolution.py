"""Linear convolution of real sequences by complex FFTs of half the usual length, in `keras.ops`.

A convolution of L samples by real FFTs needs 2 L - 1 samples, half of them zeros. Here both sequences are multiplied by
`exp(i pi t / (2 M))`, M >= L, before a circular convolution of M samples. What wraps around has then turned by a right
angle: it comes out in the imaginary part and the wanted samples in the real part. No padding, and no symmetry that a
gradient would have to restore. Source: the right-angle convolution of Arndt, Matters Computational, 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.fft
from keras import ops

from keras_s4.backends import without_autograph
from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.complex_pairs import ComplexPair

# What a length that is not known before the graph runs is rounded up to: transforms of prime length are slow.
UNKNOWN_LENGTH_MULTIPLE = 64
# Backends on which the gradient is written out; on the others it is that of the operations.
WITH_OWN_GRADIENT = ("tensorflow", "jax")
# Complex numbers that are transformed at once on a CPU, a quarter of a million of which fill 2 MiB of its cache.
GROUP_SIZE = 1 << 18
# Sequences that are transformed at once however long they are.
FEWEST_SEQUENCES = 4

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
    if keras.backend.backend() in WITH_OWN_GRADIENT:
        return _with_own_gradient(transform)(inputs, *response)
    return transform.filter(inputs, response)


def _with_own_gradient(transform: _Transform) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`transform.filter` of a few sequences at a time, whose gradient transforms the inputs anew.

    So nothing of the size of a batch is kept, or held at once, but inputs, outputs and their gradients: spectra stay in
    the cache of a processor, where they took longer to be written and read than to be computed.
    """

    @ops.custom_gradient
    def run(inputs, real, imaginary):
        groups = _Groups(inputs, transform.size)

        @without_autograph
        def gradient(upstream):
            of_groups = groups.map(lambda *both: transform.gradients(*both, (real, imaginary)), inputs, upstream)
            of_inputs, of_real, of_imaginary = of_groups
            return groups.joined(of_inputs), _sum_over_first(of_real), _sum_over_first(of_imaginary)

        return groups.joined(groups.map(lambda each: transform.filter(each, (real, imaginary)), inputs)), gradient

    return run


class _Groups:
    """Sequences `[B, L, H]` in groups `[G, B / G, L, H]`, the last filled with zeros.

    Args:
        inputs: the sequences.
        size: numbers that each becomes in every channel.
    """

    def __init__(self, inputs: Tensor, size: int | Tensor):
        _, length, channels = inputs.shape
        shape = ops.shape(inputs)
        self.batch, self.rest = shape[0], (length or shape[1], channels)
        self.sequences = self._at_once(channels, size)
        count = 1 if self.sequences is None else -(-self.batch // self.sequences)
        self.count = count if isinstance(count, int) else ops.maximum(count, 1)  # TensorFlow has no loop of no turns

    def map(self, function: Callable, *tensors: Tensor) -> Any:
        """What a function gives for each group, stacked."""
        if isinstance(self.count, int) and self.count == 1:
            return keras.tree.map_structure(lambda found: found[None], function(*tensors))
        split = [self._split(tensor) for tensor in tensors]
        return ops.map(lambda each: function(*each), tuple(split))

    def joined(self, groups: Tensor) -> Tensor:
        """Groups as sequences again."""
        return ops.reshape(groups, (-1, *self.rest))[: self.batch]

    def _at_once(self, channels: int, size: int | Tensor) -> int | Tensor | None:
        """Sequences of a group: a power of two, as most batches are; None for all."""
        fitting = GROUP_SIZE // (channels * size) if isinstance(size, int) else 0
        group = 1 << max(fitting, FEWEST_SEQUENCES).bit_length() - 1
        if isinstance(self.batch, int):
            return group if self.batch > group and _is_one_processor() else None
        # On JAX the batch is a symbol, while a model is traced for any number of sequences.
        known = keras.backend.backend() != "jax" and _is_one_processor()
        return ops.clip(self.batch, 1, group) if known else None

    def _split(self, tensor: Tensor) -> Tensor:
        missing = self.count * self.sequences - self.batch
        if not isinstance(missing, int) or missing:
            tensor = ops.pad(tensor, [[0, missing], [0, 0], [0, 0]])
        return ops.reshape(tensor, (self.count, self.sequences, *self.rest))


def _is_one_processor() -> bool:
    """Whether all runs on one CPU: others want all of a batch at once, or hold parts of it."""
    devices = keras.distribution.list_devices()
    return len(devices) == 1 and devices[0].startswith("cpu")


def _sum_over_first(values: Tensor) -> Tensor:
    """The sum over the first axis, half on half, which XLA of JAX computes several times as fast as a sum."""
    if not isinstance(values.shape[0], int):
        return ops.sum(values, axis=0)
    while (count := values.shape[0]) > 1:
        half = count // 2
        sums = values[:half] + values[half : 2 * half]
        values = ops.concatenate([sums, values[2 * half :]], axis=0) if count % 2 else sums
    return values[0]


class _Transform:
    """FFT of modulated sequences `[..., L]` at M frequencies, and back."""

    def __init__(self, length: int | Tensor, dtype):
        self.length = length
        if isinstance(length, int):
            self.size = scipy.fft.next_fast_len(length)
            angles = np.arange(length) * (math.pi / (2 * self.size))
            # Of numpy, not a tensor: JAX takes no tensor of one trace into a gradient that is traced later.
            dtype = keras.backend.standardize_dtype(dtype)
            self.modulation = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
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

    def filter(self, inputs: Tensor, response: ComplexPair) -> Tensor:
        """Outputs `[B, L, H]` of systems whose kernels were transformed to `[H, M]`."""
        spectrum = self.forward(ops.transpose(inputs, (0, 2, 1)))
        return ops.transpose(self.inverse_real(pairs.multiply(spectrum, response)), (0, 2, 1))

    def gradients(self, inputs: Tensor, upstream: Tensor, response: ComplexPair) -> tuple[Tensor, Tensor, Tensor]:
        """Those of `filter` with respect to the inputs and to both parts of the response."""
        spectrum = self.forward(ops.transpose(inputs, (0, 2, 1)))
        above = self.forward(ops.transpose(upstream, (0, 2, 1)))
        of_inputs = self.inverse_real(pairs.multiply(above, (response[0], -response[1])))
        of_response = pairs.multiply(above, (spectrum[0], -spectrum[1]))
        sums = (_sum_over_first(part) / ops.cast(self.size, part.dtype) for part in of_response)
        return ops.transpose(of_inputs, (0, 2, 1)), *sums

    def inverse_real(self, spectrum: ComplexPair) -> Tensor:
        # Keras has no inverse FFT: with real and imaginary parts exchanged before and after, the forward one is it.
        imaginary, real = ops.fft((spectrum[1], spectrum[0]))
        cosine, sine = pairs.scale(self.modulation, 1.0 / ops.cast(self.size, real.dtype))
        return real[..., : self.length] * cosine + imaginary[..., : self.length] * sine
