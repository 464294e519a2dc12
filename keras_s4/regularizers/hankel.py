"""Hankel operators of diagonal systems as small real matrices of tensors, through which their poles can be trained.

What `keras_s4.reduction.gramians` computes in numpy to high relative accuracy, this computes to the precision of the
weights, for all channels and poles at once and without pivoting.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.complex_pairs import ComplexPair
from keras_s4.dss.modes import Modes

Tensor = Any


def hankel_matrices(modes: Modes) -> Tensor:
    """The Hankel operator of every channel in an orthonormal basis of its range, `[H, 2 N, 2 N]`, real and symmetric.

    The absolute eigenvalues are the Hankel singular values of the channel. The operator is
    `sum_n r_n e(p_n) e(p_n)' + conjugate` with `e(p) = (1, p, p^2, ...)`, and an orthonormal basis of functions f_j,
    rational functions with the conjugate reciprocal poles, turns `e(p)` into `(f_1(p), f_2(p), ...)`.

    The basis is held fixed in the gradient, although it depends on the poles. So the gradient of
    `sum(stop_gradient(S) * hankel_matrices(modes))` is that of `trace(S H)` with a fixed operator S on the range.

    References:
        Ninness and Gustafsson, A unifying construction of orthonormal bases for system identification, IEEE
        Transactions on Automatic Control 42(4), 1997.
    """
    functions = _orthonormal_functions(modes.log_poles)
    residues = pairs.multiply(modes.gains, modes.weights)
    weighted = pairs.multiply((residues[0][..., None], residues[1][..., None]), functions)
    real, imaginary = (ops.matmul(ops.swapaxes(a, -2, -1), b) for a, b in zip(weighted, functions, strict=True))
    return real - imaginary


def _orthonormal_functions(log_poles: ComplexPair) -> ComplexPair:
    """Values `[H, N, 2 N]` at the poles of the Kautz functions that belong to the poles, held fixed.

    See `keras_s4.orthonormal.orthonormal_basis`. A real pole counts twice, which makes the range larger and
    nothing else.
    """
    # Less one: slow poles crowd around 1, where single precision does not tell them apart.
    shifted = pairs.expm1(log_poles)
    at = shifted[0][:, :, None], shifted[1][:, :, None]
    fixed = ops.stop_gradient(shifted[0])[:, None, :], ops.stop_gradient(shifted[1])[:, None, :]
    pole, conjugate = (1.0 + fixed[0], fixed[1]), (1.0 + fixed[0], -fixed[1])
    gap = -ops.expm1(2.0 * ops.stop_gradient(log_poles[0]))[:, None, :]  # 1 - |p|^2

    difference = at[0] - fixed[0], at[1] - fixed[1]
    mirrored = at[0] - fixed[0], at[1] + fixed[1]
    # 1 / (1 - x conj(p)) and 1 / (1 - x p): no term of either sum is larger than twice the sum.
    reciprocals = pairs.multiply(
        _reciprocal_of_gap(gap, pairs.multiply(difference, conjugate)),
        _reciprocal_of_gap(gap, pairs.multiply(mirrored, pole)),
    )
    blaschke = pairs.multiply(pairs.multiply(difference, mirrored), reciprocals)
    common = pairs.scale(pairs.multiply(_products_before(blaschke), reciprocals), ops.sqrt(0.5 * gap))
    first = pairs.scale(pairs.multiply(common, (2.0 + at[0], at[1])), _modulus(fixed))  # (1 + x) |1 - p|
    second = pairs.scale(pairs.multiply(common, at), -_modulus((2.0 + fixed[0], fixed[1])))  # (1 - x) |1 + p|
    return ops.concatenate([first[0], second[0]], axis=-1), ops.concatenate([first[1], second[1]], axis=-1)


def _products_before(factors: ComplexPair) -> ComplexPair:
    """Products of all factors `[..., N]` before each, by doubling: quotients would not do, since factors vanish."""
    products = _delayed(factors, 1)
    shift = 1
    while shift < factors[0].shape[-1]:
        products = pairs.multiply(products, _delayed(products, shift))
        shift *= 2
    return products


def _delayed(factors: ComplexPair, shift: int) -> ComplexPair:
    """The factors moved to the right along the last axis, with ones before them."""
    width = [[0, 0]] * (len(factors[0].shape) - 1) + [[shift, 0]]
    return tuple(
        ops.pad(part[..., : part.shape[-1] - shift], width, constant_values=value)
        for part, value in zip(factors, (1.0, 0.0), strict=True)
    )


def _reciprocal_of_gap(gap: Tensor, product: ComplexPair) -> ComplexPair:
    """`1 / (gap - product)`."""
    real, imaginary = gap - product[0], -product[1]
    norm = real * real + imaginary * imaginary
    return real / norm, -imaginary / norm


def _modulus(z: ComplexPair) -> Tensor:
    return ops.sqrt(z[0] * z[0] + z[1] * z[1])
