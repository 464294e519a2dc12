"""DiagonalSystem against direct sums, closed forms and dense grids."""

import numpy as np
import pytest

from keras_s4.systems import DiagonalSystem, one_minus_squared_radius


def random_system(seed, channels=3, state_size=5, radius=0.99):
    """Complex, real, zero and padding entries mixed."""
    rng = np.random.default_rng(seed)
    shape = (channels, state_size)
    poles = rng.uniform(0.0, radius, shape) * np.exp(1j * rng.uniform(-np.pi, np.pi, shape))
    residues = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    poles[0, 0], poles[-1, -1], residues[-1, 0] = -0.7, 0.0, 0.0
    return DiagonalSystem(poles, residues, rng.normal(size=channels))


def direct_impulse_response(system, length):
    powers = system.poles[..., None] ** np.arange(length)
    kernel = 2.0 * (system.residues[..., None] * powers).sum(axis=1).real
    kernel[:, 0] += system.feedthrough
    return kernel


@pytest.mark.parametrize("length", [1, 2, 3, 10, 101])
def test_impulse_response_equals_the_sum_of_powers(length):
    system = random_system(0)
    np.testing.assert_allclose(
        system.impulse_response(length), direct_impulse_response(system, length), rtol=0, atol=1e-13
    )


def test_impulse_response_is_accurate_at_long_lengths():
    mpmath = pytest.importorskip("mpmath")
    pole, residue, length = 0.99995 * np.exp(3.0j), 1.0 - 0.5j, 30_000
    kernel = DiagonalSystem([[pole]], [[residue]], [0.0]).impulse_response(length)[0]
    for t in (0, 1, 173, 174, 12_345, length - 1):
        exact = 2 * (mpmath.mpc(residue) * mpmath.mpc(pole) ** t).real
        # Rounding of p**t grows with t and decays with |p|**t: at most about eps / (1 - |p|).
        assert abs(kernel[t] - float(exact)) < 1e-11


def test_pole_at_zero_contributes_at_the_first_step_only():
    system = DiagonalSystem([[0.0]], [[1.5 + 7.0j]], [0.25])
    np.testing.assert_array_equal(system.impulse_response(4), [[3.25, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(system.frequency_response([0.0, 1.0]), [[3.25, 3.25]], rtol=1e-15)
    np.testing.assert_allclose([system.hinf_norm(), system.h2_norm()], 3.25, rtol=1e-15)


def test_imaginary_part_of_the_residue_of_a_real_pole_contributes_nothing():
    with_it = DiagonalSystem([[0.5, -0.25]], [[1.0 + 3.0j, 2.0j]], [0.0])
    without = DiagonalSystem([[0.5, -0.25]], [[1.0, 0.0]], [0.0])
    np.testing.assert_array_equal(with_it.impulse_response(9), without.impulse_response(9))
    assert with_it.hinf_norm() == pytest.approx(without.hinf_norm(), rel=1e-15)
    assert with_it.orders == without.orders == [1]


def test_orders_count_real_states():
    system = DiagonalSystem([[0.5j, 0.5, 0.0, 0.3], [0.1j, 0.2j, 0.3j, 0.0]], [[1, 1, 1, 0], [1j, 1j, 1j, 1]], [0, 0])
    np.testing.assert_array_equal(system.orders, [4, 7])


def test_frequency_response_is_the_transform_of_the_impulse_response():
    system = random_system(1, radius=0.9)
    omega = np.linspace(0.0, np.pi, 7)
    t = np.arange(400)
    expected = system.impulse_response(400) @ np.exp(-1j * np.outer(t, omega))
    np.testing.assert_allclose(system.frequency_response(omega), expected, rtol=0, atol=1e-12)
    own_grid = np.stack([omega, omega[::-1], omega])
    np.testing.assert_allclose(system.frequency_response(own_grid)[1], expected[1, ::-1], rtol=0, atol=1e-12)


def test_simulation_is_convolution_and_carries_its_state():
    system = random_system(2)
    u = np.random.default_rng(3).normal(size=(2, 40, 3))
    y, state = system.simulate(u)
    kernel = system.impulse_response(40)
    for b in range(2):
        for h in range(3):
            np.testing.assert_allclose(y[b, :, h], np.convolve(u[b, :, h], kernel[h])[:40], rtol=0, atol=1e-12)
    first, carried = system.simulate(u[:, :13])
    second, last = system.simulate(u[:, 13:], carried)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), y)
    np.testing.assert_array_equal(last, state)


def test_h2_norm_is_the_norm_of_the_impulse_response():
    system = random_system(4, state_size=9, radius=0.98)
    expected = np.linalg.norm(system.impulse_response(3000), axis=1)
    np.testing.assert_allclose(system.h2_norm(), expected, rtol=1e-13)


def test_h2_norm_of_a_small_error_does_not_drown_in_cancellation():
    system = random_system(5)
    other = DiagonalSystem(system.poles, system.residues * (1.0 + 1e-10), system.feedthrough)
    expected = 1e-10 * DiagonalSystem(system.poles, system.residues, np.zeros(3)).h2_norm()
    # The residues carry the difference of 1e-10 with 6 digits.
    np.testing.assert_allclose((other - system).h2_norm(), expected, rtol=2e-5)


def test_hinf_norm_of_a_real_pole_is_its_steady_state_gain():
    system = DiagonalSystem([[0.9999], [-0.9]], [[0.5], [0.5]], [1.0, 1.0])
    np.testing.assert_allclose(system.hinf_norm(), [1.0 + 1.0 / (1.0 - 0.9999), 1.0 + 10.0], rtol=1e-14)


@pytest.mark.parametrize("radius", [0.9, 0.999, 0.9999])
def test_hinf_norm_agrees_with_a_dense_grid(radius):
    system = random_system(6, channels=4, state_size=6, radius=radius)
    dense = np.abs(system.frequency_response(np.linspace(0.0, np.pi, 50_001))).max(axis=1)
    assert (system.hinf_norm() >= dense * (1.0 - 1e-9)).all()
    # The dense grid itself misses the top of a resonance by half a step.
    np.testing.assert_allclose(system.hinf_norm(), dense, rtol=0.1 if radius > 0.999 else 1e-2)


def test_difference_is_the_system_of_the_errors():
    a, b = random_system(7), random_system(8, state_size=2)
    error = a - b
    assert error.state_size == 7
    np.testing.assert_allclose(
        error.impulse_response(20), a.impulse_response(20) - b.impulse_response(20), rtol=0, atol=1e-13
    )
    assert ((a - a).hinf_norm() <= 1e-14 * a.hinf_norm()).all()


def test_difference_needs_as_many_channels():
    with pytest.raises(ValueError, match="3 and 2 channels"):
        random_system(0) - random_system(0, channels=2)


def test_squared_radius_is_subtracted_without_cancellation():
    mpmath = pytest.importorskip("mpmath")
    angles = np.random.default_rng(9).uniform(-np.pi, np.pi, 50)
    poles = np.concatenate([(1.0 - 10.0**-k) * np.exp(1j * angles) for k in (1, 6, 12, 15)])
    with mpmath.workdps(50):
        exact = [1 - mpmath.mpf(p.real) ** 2 - mpmath.mpf(p.imag) ** 2 for p in poles]
        relative = [abs(mpmath.mpf(g) / e - 1) for g, e in zip(one_minus_squared_radius(poles), exact, strict=True)]
    assert max(relative) < 1e-15


def test_arrays_are_copies_that_cannot_be_written():
    poles = np.array([[0.5 + 0.1j]])
    system = DiagonalSystem(poles, [[1.0]], [0.0])
    poles[0, 0] = 0.0
    assert system.poles[0, 0] == 0.5 + 0.1j
    with pytest.raises(ValueError, match="read-only"):
        system.poles[0, 0] = 0.0


@pytest.mark.parametrize(
    ("poles", "residues", "feedthrough", "message"),
    [
        ([[0.5, 0.5]], [[1.0]], [0.0], r"poles of shape \(1, 2\), residues of shape \(1, 1\)"),
        ([0.5], [1.0], [0.0], r"expected \[H, N\]"),
        ([[0.5]], [[1.0]], 0.0, r"feedthrough of shape \(\)"),
        ([[0.5], [np.nan]], [[1.0], [1.0]], [0.0, 0.0], r"poles with .*nan.* at index \(1, 0\)"),
        ([[0.5]], [[np.inf]], [0.0], "residues with .*inf"),
        ([[0.5]], [[1.0]], [1j], "complex feedthrough"),
        ([[0.5, 0.1], [0.2, 1.25j]], np.ones((2, 2)), [0.0, 0.0], "unstable pole in channel 1, entry 1: radius 1.25"),
        ([[1.0]], [[0.0]], [0.0], "unstable pole in channel 0, entry 0: radius 1 "),
    ],
)
def test_refusals_name_what_was_received(poles, residues, feedthrough, message):
    with pytest.raises(ValueError, match=message):
        DiagonalSystem(poles, residues, feedthrough)


def test_calls_with_wrong_arguments_are_refused():
    system = random_system(0)
    with pytest.raises(ValueError, match="length=0"):
        system.impulse_response(0)
    with pytest.raises(ValueError, match=r"input of shape \(10, 2\); expected \[..., L, 3\]"):
        system.simulate(np.zeros((10, 2)))
    with pytest.raises(ValueError, match=r"state of shape \(5,\); expected \(3, 5\)"):
        system.simulate(np.zeros((10, 3)), np.zeros(5))


def test_padding_contributes_nothing():
    system = DiagonalSystem([[0.5 + 0.5j]], [[1.0]], [2.0])
    padded = system.padded(3)
    assert padded.poles.shape == (1, 3)
    np.testing.assert_array_equal(padded.orders, [2])
    np.testing.assert_array_equal(padded.impulse_response(9), system.impulse_response(9))
    with pytest.raises(ValueError, match="state_size=2; expected at least 3"):
        padded.padded(2)
