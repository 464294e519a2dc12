"""Complex arithmetic on pairs against numpy and mpmath."""

import mpmath
import numpy as np
import pytest
from pairs_of_numpy import pair, random_complex, to_complex

from keras_s4.dss import complex_pairs


def relative_error(values, expected):
    """Relative to the modulus: a component may cancel."""
    return np.max(np.abs(to_complex(values) - expected) / np.abs(expected))


@pytest.mark.parametrize("name", ["add", "multiply", "divide"])
def test_arithmetic(name):
    a, b = random_complex(0, 5, 4), random_complex(1, 5, 4)
    expected = getattr(np, name)(a.astype(complex), b.astype(complex))
    assert relative_error(getattr(complex_pairs, name)(pair(a), pair(b)), expected) < 1e-6


def test_scale():
    a, factor = random_complex(0, 5), np.float32(-0.25)
    np.testing.assert_array_equal(to_complex(complex_pairs.scale(pair(a), factor)), a * factor)


def test_an_epsilon_bounds_a_quotient():
    one, zero = pair(np.ones(1, complex)), pair(np.zeros(1, complex))
    np.testing.assert_array_equal(to_complex(complex_pairs.divide(one, zero, epsilon=1e-7)), 0)
    half = pair(np.full(1, 0.5j))
    assert relative_error(complex_pairs.divide(one, half, epsilon=0.25), np.full(1, -1j)) < 1e-6


def test_exponential():
    z = 3 * random_complex(2, 50)
    assert relative_error(complex_pairs.exp(pair(z)), np.exp(z.astype(complex))) < 1e-6


@pytest.mark.parametrize("size", [1e-12, 1e-7, 1e-3, 0.1, 3.0])
def test_expm1_keeps_its_accuracy_at_small_arguments(size):
    z = (size * random_complex(3, 20)).astype(np.complex64)
    with mpmath.workdps(40):
        expected = np.array([complex(mpmath.exp(mpmath.mpc(complex(value))) - 1) for value in z])
    assert relative_error(complex_pairs.expm1(pair(z)), expected) < 1e-6
