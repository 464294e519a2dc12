"""The orthogonal polar factor of matrices by matrix products alone, which every backend compiles."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any

# Singular values above this part of the Frobenius norm become 1; smaller ones, in proportion, something below 1.
SMALLEST_RATIO = 1e-4
# After these, all singular values from SMALLEST_RATIO to 1 are 1 to more than single precision.
STEPS = 13


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
    wide = matrices.shape[-2] < matrices.shape[-1]
    coefficients = ops.convert_to_tensor(_COEFFICIENTS, dtype=matrices.dtype)

    def step(index, factor):
        transposed = ops.swapaxes(factor, -2, -1)
        # The Gram matrix of the smaller side.
        if wide:
            cube = ops.matmul(ops.matmul(factor, transposed), factor)
        else:
            cube = ops.matmul(factor, ops.matmul(transposed, factor))
        return coefficients[index, 0] * factor - coefficients[index, 1] * cube

    return ops.fori_loop(0, STEPS, step, factor)


def _coefficients() -> list[tuple[float, float]]:
    """Of each step's polynomial `a x - b x^3`, best on the interval that the step before it leaves.

    The polynomial misses 1 by as much at both ends of the interval, below, as at its maximum between them, above.
    """
    lower, upper = SMALLEST_RATIO, 1.0
    coefficients = []
    for _ in range(STEPS):
        linear, cubic = lower * lower + lower * upper + upper * upper, 1.0
        ends = linear * upper - cubic * upper**3
        maximum = 2.0 / 3.0 * linear * (linear / (3.0 * cubic)) ** 0.5
        scale = 2.0 / (ends + maximum)
        coefficients.append((scale * linear, scale * cubic))
        lower, upper = scale * ends, scale * maximum
    return coefficients


_COEFFICIENTS = _coefficients()
