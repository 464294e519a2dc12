"""Rational functions on the unit circle, exact to rounding beside it: a real orthonormal basis of H2 with given poles.

Poles lie inside the circle and are evaluated at ``x = 1 / z``. Every number is a product of differences of stored
numbers, so that none is lost by cancellation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Elements of arrays that are handled together: some such arrays fit the cache of a core.
IN_CACHE = 1 << 14


def one_minus_squared_radius(poles: np.ndarray) -> np.ndarray:
    """Return ``1 - |poles|**2`` to full relative accuracy, also where the radius is within rounding of 1.

    The squares are taken with their rounding errors (Dekker's product, Knuth's sum).
    """
    (x, x_error), (y, y_error) = _exact_square(poles.real), _exact_square(poles.imag)
    first, first_error = _exact_sum(1.0, -np.maximum(x, y))
    second, second_error = _exact_sum(first, -np.minimum(x, y))
    return second + (second_error + first_error - x_error - y_error)


class PairwiseFactors(NamedTuple):
    """What each of J pivots contributes at each of N points, see :func:`pairwise_factors`.

    Attributes:
        common: [H, N, J] complex.
        blaschke: [H, N, J] complex.
        pivots: [H, J] complex.
        gap: [H, J] float.
    """

    common: np.ndarray
    blaschke: np.ndarray
    pivots: np.ndarray
    gap: np.ndarray

    def ordered(self, order: np.ndarray) -> PairwiseFactors:
        """Return the factors with the pivots in another order [H, J]."""
        tables = (np.take_along_axis(table, order[:, None, :], axis=2) for table in (self.common, self.blaschke))
        return PairwiseFactors(*tables, *(np.take_along_axis(row, order, axis=1) for row in (self.pivots, self.gap)))


def pairwise_factors(
    points: np.ndarray, pivots: np.ndarray, gap: np.ndarray, used: np.ndarray | None = None
) -> PairwiseFactors:
    """Evaluate ``1 / d`` and the Blaschke factors of pivots, see :func:`orthonormal_basis`.

    With ``d(x) = (1 - x p)(1 - x conj(p))`` for a complex pivot p the Blaschke factor is
    ``(x - p)(x - conj(p)) / d(x)``; a real one has ``d(x) = 1 - x p`` and the factor ``(x - p) / d(x)``. Each value is
    a product of accurate differences: no cancellation.

    Args:
        points: [H, N] complex, where to evaluate.
        pivots: [H, J] complex, each of which stands for its conjugate, too.
        gap: [H, J], ``1 - |pivots|**2`` as :func:`one_minus_squared_radius` gives it.
        used: [H, J] bool, pivots that count; of others the functions are zero and the factors 1. None: all do.
    """
    x, p = points[:, :, None], pivots[:, None, :]
    difference, mirrored = x - p, x - p.conj()
    # 1 - x conj(p) and 1 - x p. Neither term is larger than twice the sum, so the sum is accurate.
    denominator = gap[:, None, :] - difference * p.conj()
    other = gap[:, None, :] - mirrored * p
    real = p.imag == 0.0
    if real.any():
        other, mirrored = np.where(real, 1.0, other), np.where(real, 1.0, mirrored)
    denominator *= other
    common = _reciprocal(denominator)
    difference *= mirrored
    difference *= common
    if used is not None and not used.all():
        common, difference = np.where(used[:, None, :], common, 0.0), np.where(used[:, None, :], difference, 1.0)
    return PairwiseFactors(common, difference, pivots, gap)


def orthonormal_basis(points: np.ndarray, factors: PairwiseFactors) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate a real orthonormal basis of H2 with the given poles, two functions for each pivot in turn.

    For a complex pivot p they are ``sqrt((1 - |p|**2)/2) |1 - p| (1 + x) / d(x)`` and
    ``sqrt((1 - |p|**2)/2) |1 + p| (1 - x) / d(x)`` (Kautz), for a real one ``sqrt(1 - p**2) / (1 - x p)`` and zero,
    times the Blaschke factors of all pivots before.

    Args:
        points: [H, N] complex, where to evaluate.
        factors: of these points and J pivots.

    Returns:
        Function values [H, N, 2J] and the product [H, N] of all Blaschke factors.

    References:
        Ninness and Gustafsson, A unifying construction of orthonormal bases for system identification, IEEE
        Transactions on Automatic Control 42(4), 1997.
    """
    real, root = factors.pivots.imag == 0.0, np.sqrt(factors.gap / 2.0)
    first = np.where(real, np.sqrt(factors.gap), root * np.abs(1.0 - factors.pivots))[:, None, :]
    second = np.where(real, 0.0, root * np.abs(1.0 + factors.pivots))[:, None, :]
    passed = np.cumprod(factors.blaschke, axis=2)
    common = factors.common.copy()
    common[..., 1:] *= passed[..., :-1]
    x = points[:, :, None]
    values = np.empty((*points.shape, 2 * factors.pivots.shape[1]), dtype=np.complex128)
    values[..., ::2] = np.where(real[:, None, :], 1.0, 1.0 + x) * first * common
    values[..., 1::2] = (1.0 - x) * second * common
    return values, passed[..., -1]


def blocks(count: int, elements: int) -> list[slice]:
    """Return slices that cover `count` rows of so many elements each, each slice as many rows as fit the cache."""
    size = max(IN_CACHE // max(elements, 1), 1)
    return [slice(start, start + size) for start in range(0, count, size)]


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """Return 1/x of complex numbers of ordinary size, three times faster than numpy's guarded division."""
    return x.conj() * (1.0 / (x.real**2 + x.imag**2))


def _exact_square(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x*x rounded and the rounding error, for |x| far from overflow."""
    square = x * x
    scaled = 134217729.0 * x
    high = scaled - (scaled - x)
    low = x - high
    return square, ((high * high - square) + 2.0 * high * low) + low * low


def _exact_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a + b rounded and the rounding error."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)
