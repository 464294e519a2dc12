"""The orthogonal polar factor of matrices by matrix products alone, which every backend compiles."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from keras import ops

Tensor = Any

# Singular values above this part of the Frobenius norm become 1; smaller ones, in proportion, something below 1.
SMALLEST_RATIO = 1e-4
# Products with a matrix, and steps between one and the next: matrices so much wider than high are cheaper to meet less
# often. After all steps, singular values from SMALLEST_RATIO to 1 are 1 to more than single precision.
ROUNDS, WIDE_ROUNDS = (13, 1), (3, 5)
WIDE = 2.0


def polar_factor(matrices: Tensor) -> Tensor:
    """`U V^T` of matrices `[..., m, n]` with the singular value decomposition `U diag(s) V^T`; zero where s vanishes.

    Each step maps the singular values by the odd cubic polynomial that is nearest to 1 on the interval they are in. The
    first steps raise the small ones 2.6 times, relative to the largest; the last are those of Newton and Schulz and
    converge quadratically. Neither full rank nor gaps between singular values are needed: the smallest are raised about
    `1 / SMALLEST_RATIO` times, and so is the rounding noise in directions without gain.

    It is not meant to be differentiated.

    References:
        Chen and Chow, A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian
        matrix, 2014 (Argonne preprint ANL/MCS-P5059-0114).
        Amsel, Persson, Musco and Gower 2025 (Polar Express, arXiv 2505.16932).
    """
    matrices = ops.convert_to_tensor(matrices)
    # In two steps, because the squares of very small or large numbers are no floating-point numbers.
    largest = ops.max(ops.abs(matrices), axis=(-2, -1), keepdims=True)
    factor = matrices / ops.where(largest > 0.0, largest, 1.0)
    squares = ops.sum(ops.square(factor), axis=(-2, -1), keepdims=True)
    factor = factor / ops.sqrt(ops.maximum(squares, 1.0))
    tall = matrices.shape[-2] > matrices.shape[-1]
    factor = _orthogonalized(ops.swapaxes(factor, -2, -1) if tall else factor)
    return ops.swapaxes(factor, -2, -1) if tall else factor


def _orthogonalized(factor: Tensor) -> Tensor:
    """The polar factor of matrices `[..., m, n]` with m <= n and singular values of at most 1.

    In a round several polynomials are applied to the Gram matrix `[m, m]`, and their product to the matrix. A
    polynomial of the Gram matrix is squared for the next one, which raises its rounding noise sevenfold.
    """
    rows, columns = factor.shape[-2:]
    rounds, steps = WIDE_ROUNDS if columns >= WIDE * rows else ROUNDS
    coefficients = np.reshape(_coefficients(rounds * steps), (rounds, steps, 2))
    coefficients = ops.convert_to_tensor(coefficients, dtype=factor.dtype)
    identity = ops.eye(rows, dtype=factor.dtype)

    def one_round(index, factor):
        gram, product = ops.matmul(factor, ops.swapaxes(factor, -2, -1)), None
        for step in range(steps):
            polynomial = coefficients[index, step, 0] * identity - coefficients[index, step, 1] * gram
            product = polynomial if product is None else ops.matmul(polynomial, product)
            if step + 1 < steps:
                gram = ops.matmul(ops.matmul(polynomial, gram), polynomial)
        return ops.matmul(product, factor)

    return ops.fori_loop(0, rounds, one_round, factor)


@functools.cache
def _coefficients(steps: int) -> list[tuple[float, float]]:
    """Of each step's polynomial `a x - b x^3`, best on the interval that the step before it leaves.

    The polynomial misses 1 by as much at both ends of the interval, below, as at its maximum between them, above.
    """
    lower, upper = SMALLEST_RATIO, 1.0
    coefficients = []
    for _ in range(steps):
        linear, cubic = lower * lower + lower * upper + upper * upper, 1.0
        ends = linear * upper - cubic * upper**3
        maximum = 2.0 / 3.0 * linear * (linear / (3.0 * cubic)) ** 0.5
        scale = 2.0 / (ends + maximum)
        coefficients.append((scale * linear, scale * cubic))
        lower, upper = scale * ends, scale * maximum
    return coefficients
