"""The kernel of a DSS layer written out, which what `keras_s4.dss.kernels` saves is measured against."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs, kernels
from keras_s4.dss.angles import SplitAngle

Tensor = Any


def use_plain_kernel() -> None:
    """DSS layers make their kernels by `plain_exponential_sum`, for the rest of the process."""
    kernels.exponential_sum = plain_exponential_sum


def plain_exponential_sum(
    log_poles: complex_pairs.ComplexPair,
    coefficients: complex_pairs.ComplexPair,
    length: int,
    angles: SplitAngle | None = None,
) -> Tensor:
    """What `kernels.exponential_sum` computes, `[H, length]`, from all powers of all poles in an array `[H, N, L]`.

    Its attribute `calls` counts how often it was called.
    """
    plain_exponential_sum.calls += 1
    steps = ops.arange(length, dtype=log_poles[0].dtype)
    powers = kernels.powers(log_poles, steps, 2, angles)
    real, imaginary = (ops.einsum("hn,hnl->hl", *parts) for parts in zip(coefficients, powers, strict=True))
    return real - imaginary


plain_exponential_sum.calls = 0
