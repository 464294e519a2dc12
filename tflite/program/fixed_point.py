"""The arithmetic of TensorFlow Lite's integer kernels in numpy, bit for bit as TensorFlow Lite Micro computes it.

A real multiplier is stored as `mantissa * 2**(shift - 31)` with a mantissa in `[2**30, 2**31)`. Two functions apply it:

- Kernels with a 32-bit accumulator (QUANTIZE, FULLY_CONNECTED on int8) round **twice**: once when the 62-bit product
  drops to 31 bits (ties upwards), once when the remaining right shift is done (ties away from zero).
- Kernels with a 64-bit accumulator (int16 activations with int8 weights: FULLY_CONNECTED, DEPTHWISE_CONV_2D) round the
  mantissa to 15 bits first, and the product once (ties upwards). Relative error of such a multiplier: up to 2**-15.

Scales live in the file as float32, so the multipliers are computed from scales that were rounded to float32.

Reference: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 2.2 (the multiplier); which kernel rounds how is measured on the tflite-micro package by the tests.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RANGES = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int8", "int16", "int32", "int64")}


class Multiplier(NamedTuple):
    """A positive number stored as `mantissa * 2**(shift - 31)`: two integers, or two int64 arrays `[H]`."""

    mantissa: int | np.ndarray
    shift: int | np.ndarray

    @property
    def real(self) -> float | np.ndarray:
        """The real number that is stored."""
        return np.ldexp(np.float64(self.mantissa), np.asarray(self.shift) - 31)


# 1.0, as it is stored.
UNIT = Multiplier(1 << 30, 1)


def quantize_multiplier(real: float | np.ndarray) -> Multiplier:
    """Store real multipliers as mantissas and shifts.

    Args:
        real: not negative; a number or an array `[H]`.

    Returns:
        The nearest `Multiplier`; zero for 0 and for numbers below 2**-32, as TensorFlow Lite does.

    Raises:
        ValueError: when a multiplier is negative, not finite, or 2**31 or more.
    """
    values = np.asarray(real, np.float64)
    if not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(values >= 2.0**31):
        raise ValueError(f"Received multiplier {real}; expected numbers in [0, 2**31). Check the scales it comes from.")
    fraction, shift = np.frexp(values)
    mantissa = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    shift = shift.astype(np.int64)
    carried = mantissa == 2**31
    mantissa = np.where(carried, 2**30, mantissa)
    shift = np.where(carried, shift + 1, shift)
    vanishes = shift < -31
    mantissa, shift = np.where(vanishes, 0, mantissa), np.where(vanishes, 0, shift)
    return Multiplier(mantissa, shift) if values.ndim else Multiplier(int(mantissa), int(shift))


def rescale_multiplier(scale_in: float, scale_out: float | np.ndarray) -> Multiplier:
    """The multiplier of QUANTIZE, from integers of scale `scale_in` to integers of scale `scale_out`."""
    return quantize_multiplier(np.float64(np.float32(scale_in)) / np.float64(np.float32(scale_out)))


def product_multiplier(scale_in: float, scale_weights: float | np.ndarray, scale_out: float | np.ndarray) -> Multiplier:
    """The multiplier of FULLY_CONNECTED, and of DEPTHWISE_CONV_2D, one each channel where `scale_weights` is `[H]`.

    The scales are stored in single precision, their product is taken in double precision.
    """
    product = np.float64(np.float32(scale_in)) * np.asarray(scale_weights, np.float32).astype(np.float64)
    return quantize_multiplier(product / np.float64(np.float32(scale_out)))


def agreeing_scale(scale: float, scale_in: float, scale_out: float, type: str) -> float:
    """The least scale of weights, not below `scale`, from which all engines take the same `product_multiplier`.

    TensorFlow Lite Micro of August 2026 rounds the product of both scales to single precision for FULLY_CONNECTED and
    BATCH_MATMUL, the `tflite-micro` package does not. That moves the mantissa's last bits; of int16 kernels, which
    round it to 15 bits, only where it is halfway between two. Some hundred units in the last place of the scale are
    enough but for few scales.

    Args:
        scale: the weights' scale as it is wanted.
        scale_in: the other factor's scale.
        scale_out: the result's scale.
        type: the other factor's type, "int8" or "int16".

    Returns:
        A float32 number, the one with the nearest multipliers if none of those up to 0.4% larger will do.
    """
    candidates = _scales_from(scale)
    return float(candidates[np.argmin(_engines_apart(scale_in, candidates, scale_out, type))])


def agreeing_energy_scale(scale: float, scale_in: float) -> float:
    """As `agreeing_scale`, of a result: the sum of the squares of int16 values by BATCH_MATMUL.

    Args:
        scale: the result's scale as it is wanted.
        scale_in: the values' scale.
    """
    candidates = _scales_from(scale)
    return float(candidates[np.argmin(_engines_apart(scale_in, scale_in, candidates, "int16"))])


def _scales_from(scale: float) -> np.ndarray:
    """The float32 numbers from a scale on, up to 0.4% larger."""
    return (np.float32(scale).view(np.int32) + np.arange(2**15, dtype=np.int32)).view(np.float32)


def _engines_apart(
    scale_in: float, scale_weights: float | np.ndarray, scale_out: float | np.ndarray, type: str
) -> np.ndarray:
    """The distance of the mantissas where the product of the scales is rounded to single precision and where not."""
    exact = product_multiplier(scale_in, scale_weights, scale_out)
    product = np.asarray(scale_weights, np.float32) * np.float32(scale_in)
    single = quantize_multiplier(product.astype(np.float64) / np.float32(scale_out).astype(np.float64))
    mantissas = [reduced_mantissa(each.mantissa) if type == "int16" else each.mantissa for each in (exact, single)]
    return np.abs(mantissas[0] - mantissas[1]) + (exact.shift != single.shift) * 2**31


def reduced_mantissa(mantissa: int | np.ndarray) -> int | np.ndarray:
    """The mantissa of kernels with a 64-bit accumulator: rounded to 15 bits, and never 2**15."""
    reduced = np.minimum((np.asarray(mantissa, np.int64) + (1 << 15)) >> 16, 0x7FFF)
    return reduced if reduced.ndim else int(reduced)


def multiply_by_quantized_multiplier(q: np.ndarray, multiplier: Multiplier) -> np.ndarray:
    """Multiply 32-bit accumulators by a multiplier, rounding twice.

    Args:
        q: integers of any shape whose last axis is `[H]` when the multiplier has one entry each channel. They fit 32
            bits, and still do after a left shift when the multiplier is 1 or more (else the kernel and this wrap).
        multiplier: a `Multiplier`.

    Returns:
        int64 of the same shape.
    """
    mantissa, shift = multiplier
    left, right = np.maximum(shift, 0), np.maximum(np.negative(shift), 0)
    q = np.asarray(q)
    shifted = q.astype(np.int64) if not np.any(left) else (q.astype(np.int64) << left).astype(np.int32).astype(np.int64)
    high = (shifted * mantissa + (1 << 30)) >> 31
    if not np.any(right):
        return high
    # Ties away from zero: a negative number is short of half a unit by one before the shift rounds downwards.
    half = (np.int64(1) << right) >> 1
    return (high + half - ((high < 0) & (right > 0))) >> right


def multiply_by_reduced_multiplier(q: np.ndarray, multiplier: Multiplier) -> np.ndarray:
    """Multiply 64-bit accumulators (below 2**47) by a multiplier with a 15-bit mantissa, rounding once.

    Args:
        q: integers of any shape whose last axis is `[H]` when the multiplier has one entry each channel.
        multiplier: a `Multiplier` below 2**7.

    Returns:
        int64 of the same shape, wrapped to 32 bits as in the kernel.
    """
    shift = 15 - np.asarray(multiplier.shift, np.int64)
    product = np.asarray(q).astype(np.int64) * reduced_mantissa(multiplier.mantissa) + (np.int64(1) << (shift - 1))
    return (product >> shift).astype(np.int32).astype(np.int64)


def saturate(q: np.ndarray, type: str) -> np.ndarray:
    """Clamp integers to the range of `type` and store them in it."""
    low, high = RANGES[type]
    return np.clip(q, low, high).astype(type)


def requantize(q: np.ndarray, multiplier: Multiplier, type: str, zero_point: int = 0) -> np.ndarray:
    """`saturate(q * multiplier + zero_point)` as kernels with 32-bit accumulators do (two roundings).

    Args:
        q: integers that fit 32 bits, less their zero point.
        multiplier: a `Multiplier`.
        type: "int8", "int16" or "int32", of the result.
        zero_point: the result's zero point.

    Returns:
        An array of `type`, of the shape of `q`.
    """
    return saturate(multiply_by_quantized_multiplier(q, multiplier) + zero_point, type)


def requantize_reduced(q: np.ndarray, multiplier: Multiplier, type: str) -> np.ndarray:
    """`saturate(q * multiplier)` as the 16x8 kernels with 64-bit accumulators do (15-bit mantissa, one rounding)."""
    return saturate(multiply_by_reduced_multiplier(q, multiplier), type)
