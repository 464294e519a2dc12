"""Systems that the tests of all balanced methods reduce."""

import numpy as np

from keras_s4.systems import DiagonalSystem

# What rounding adds to an error, relative to the largest Hankel singular value: a pole computed from a dense matrix is
# off by a few units of 2e-16, its gap of 1e-4 to the unit circle thus by some 1e-12, and there are up to 128 of them.
ROUNDING = 1e-10


def random_systems(seed, channels, state_size, gap=4.0, narrowing=3.0, power=None):
    """Systems whose channels have in turn plain, repeated, nearly repeated, real and clustered poles.

    Args:
        seed: of the random numbers.
        channels: H.
        state_size: N.
        gap: radii reach `1 - 10**-gap`, spread logarithmically.
        narrowing: angles of a channel reach from pi down to `pi 10**-narrowing`.
        power: of the distance to the unit circle that scales the residues; 0 or 1 at random if not given.
    """
    rng = np.random.default_rng(seed)
    shape, half = (channels, state_size), state_size // 2
    radius = 1.0 - 10.0 ** rng.uniform(-gap, 0.0, shape)
    poles = radius * np.exp(1j * rng.uniform(0.0, np.pi, shape) * 10.0 ** -rng.uniform(0.0, narrowing, (channels, 1)))
    for h in range(channels):
        other = poles[h, half : 2 * half]
        poles[h, :half] = (
            poles[h, :half],
            other,
            other.conj(),
            other * (1.0 - 10.0 ** rng.uniform(-12.0, -3.0, half)),
            np.abs(other) * rng.choice([-1.0, 1.0], half),
            poles[h, -1] * (1.0 - 1e-3 * rng.uniform(size=half)),
        )[h % 6]
    residues = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    residues *= (1.0 - np.abs(poles)) ** (rng.choice([0.0, 1.0]) if power is None else power)
    return DiagonalSystem(poles, residues, rng.normal(size=channels))


def benign_system():
    """One channel of four well separated poles, which ordinary dense methods reduce accurately, too."""
    angles = np.array([0.3, 1.0, 1.9, 2.6])
    return DiagonalSystem([[0.9, 0.8, 0.9, 0.8] * np.exp(1j * angles)], [[1.0, 2.0, -1.5j, 1.0]], [0.7])


def check_promises(reduction, rank):
    """What every method promises: stable, entries that fit and that stand for a pair or a real pole, orders counted."""
    original, reduced = reduction.original, reduction.system
    assert reduced.poles.shape == (original.channels, np.max(rank))
    assert (np.abs(reduced.poles) < 1.0).all()
    assert ((~reduced.is_padding).sum(axis=1) <= rank).all()
    np.testing.assert_array_equal(reduced.orders, reduction.orders)
    changed = reduction.orders < original.orders
    assert (reduced.poles.imag[changed] >= 0.0).all()
    assert (reduced.residues.imag[changed][reduced.is_real[changed]] == 0.0).all()
    assert (np.diff(reduction.spectrum, axis=1) <= 0.0).all()
    whole = (~original.is_padding).sum(axis=1) <= rank
    assert (reduction.error_bound[whole] == 0.0).all()
    if whole.any():
        kernels = [x.select(whole).impulse_response(20) for x in (original, reduced)]
        np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-12, atol=1e-12 * np.abs(original.residues).max())
