"""Complex arithmetic on pairs `(real, imaginary)` of tensors: optimisers, savers and devices have no complex type."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any
ComplexPair = tuple[Tensor, Tensor]


def pair_of(values: Tensor) -> ComplexPair:
    """The parts of a tensor `[..., 2]`, as weights and states are stored."""
    return values[..., 0], values[..., 1]


def scale(a: ComplexPair, factor: Tensor) -> ComplexPair:
    """Product of a complex pair and a real tensor."""
    return a[0] * factor, a[1] * factor


def add(a: ComplexPair, b: ComplexPair) -> ComplexPair:
    """Sum of two complex pairs."""
    return a[0] + b[0], a[1] + b[1]


def multiply(a: ComplexPair, b: ComplexPair) -> ComplexPair:
    """Product of two complex pairs."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def divide(a: ComplexPair, b: ComplexPair, epsilon: float = 0.0) -> ComplexPair:
    """Quotient of two complex pairs, `a conj(b) / (|b|^2 + epsilon)`; a positive epsilon bounds it where b vanishes."""
    norm = b[0] * b[0] + b[1] * b[1] + epsilon
    return (a[0] * b[0] + a[1] * b[1]) / norm, (a[1] * b[0] - a[0] * b[1]) / norm


def exp(z: ComplexPair) -> ComplexPair:
    """Exponential of a complex pair."""
    magnitude = ops.exp(z[0])
    return magnitude * ops.cos(z[1]), magnitude * ops.sin(z[1])


def expm1(z: ComplexPair) -> ComplexPair:
    """`exp(z) - 1` without cancellation for small z, where slow modes live."""
    half_sine = ops.sin(0.5 * z[1])
    real = ops.expm1(z[0]) * ops.cos(z[1]) - 2.0 * half_sine * half_sine
    return real, ops.exp(z[0]) * ops.sin(z[1])
