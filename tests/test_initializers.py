"""Initial poles against an independent eigendecomposition; time steps against their distribution."""

import json

import keras
import numpy as np
import pytest
import scipy.linalg

from keras_s4.initializers import LogUniform, SkewHiPPO


def hippo_legs(size):
    """The HiPPO-LegS matrix, Gu et al. 2020 (arXiv 2008.07669), theorem 2, entry by entry."""
    matrix = np.zeros((size, size))
    for n in range(size):
        for k in range(n):
            matrix[n, k] = -np.sqrt((2 * n + 1) * (2 * k + 1))
        matrix[n, n] = -(n + 1)
    return matrix


@pytest.mark.parametrize("states", [1, 2, 8, 32])
def test_poles_are_eigenvalues_of_the_normal_part_of_hippo(states):
    legs = hippo_legs(2 * states)
    rank_one = np.sqrt(np.arange(2 * states) + 0.5)
    eigenvalues = scipy.linalg.eigvals(legs + np.outer(rank_one, rank_one))
    expected = np.sort(eigenvalues.imag)[states:]

    poles = np.asarray(SkewHiPPO()((states, 2), dtype="float64"))
    np.testing.assert_allclose(eigenvalues.real, -0.5, atol=1e-10)
    np.testing.assert_array_equal(poles[:, 0], -0.5)
    np.testing.assert_allclose(poles[:, 1], expected, rtol=1e-10)
    assert np.all(poles[:, 1] > 0)


def test_poles_are_repeated_for_every_channel():
    poles = np.asarray(SkewHiPPO()((5, 4, 2)))
    assert poles.dtype == "float32"
    np.testing.assert_array_equal(poles, np.broadcast_to(SkewHiPPO()((4, 2)), (5, 4, 2)))


def test_log_uniform_is_uniform_between_the_logarithms():
    values = np.asarray(LogUniform(1e-3, 1e-1, seed=3)((20_000,)))
    low, high = np.log(1e-3), np.log(1e-1)
    assert low - 1e-6 <= values.min() < values.max() <= high + 1e-6
    share = np.histogram(values, bins=10, range=(low - 1e-6, high + 1e-6))[0] / len(values)
    # Standard deviation of a share: sqrt(0.1 * 0.9 / 20000) = 0.0021.
    np.testing.assert_allclose(share, 0.1, atol=0.01)


@pytest.mark.parametrize(("minimum", "maximum"), [(0.0, 1.0), (-1.0, 1.0), (0.2, 0.1), (float("nan"), 1.0)])
def test_log_uniform_refuses_impossible_bounds(minimum, maximum):
    with pytest.raises(ValueError, match="expected 0 < minimum <= maximum"):
        LogUniform(minimum, maximum)


def test_log_uniform_seeds():
    same = LogUniform(seed=7)((4,))
    np.testing.assert_array_equal(LogUniform(seed=7)((4,)), same)
    assert np.any(np.asarray(LogUniform(seed=8)((4,))) != same)
    generator = LogUniform(seed=keras.random.SeedGenerator(1))
    assert np.any(np.asarray(generator((4,))) != np.asarray(generator((4,))))


@pytest.mark.parametrize(
    "initializer",
    [SkewHiPPO(), LogUniform(1e-4, 0.5, seed=11), LogUniform(), LogUniform(seed=keras.random.SeedGenerator(5))],
    ids=["skew_hippo", "seeded", "unseeded", "generator"],
)
def test_config_round_trip(initializer):
    description = keras.initializers.serialize(initializer)
    copy = keras.initializers.deserialize(json.loads(json.dumps(description)))
    assert type(copy) is type(initializer)
    assert copy.get_config() == initializer.get_config()


def test_seeded_copies_draw_the_same_numbers():
    initializer = LogUniform(1e-4, 0.5, seed=11)
    copy = LogUniform.from_config(initializer.get_config())
    np.testing.assert_array_equal(copy((6,)), initializer((6,)))


def test_unseeded_copies_draw_other_numbers():
    """As Keras' own initializers: a cloned layer is not a twin of its original."""
    initializer = LogUniform()
    assert np.any(np.asarray(LogUniform.from_config(initializer.get_config())((6,))) != np.asarray(initializer((6,))))
