import numpy as np
import pytest

from keras_s4.systems import DiagonalSystem
from keras_s4.tflite.lowering.delta_form import (
    POLE_SCALE,
    choose_poles,
    refit_gains,
    snap_poles,
    snapped_poles,
    state_trajectory_peaks,
)


def random_poles(radius, count=2000):
    random = np.random.default_rng(0)
    return radius * np.exp(1j * random.uniform(0, np.pi, count))


@pytest.mark.parametrize("radius", [0.5, 0.99, 0.9999, 1 - 1e-6, 1 - 1e-12])
def test_snapped_poles_are_near_and_stable(radius):
    poles = random_poles(radius)
    decay, rotation = snap_poles(poles)
    snapped = snapped_poles(decay, rotation)
    assert np.all(np.abs(snapped) < 1.0)
    assert np.abs(snapped - poles).max() <= 3 * POLE_SCALE
    np.testing.assert_array_equal(decay, np.rint(decay))
    # -2 would let decay * hidden overflow 32 bits at hidden = -1.
    assert decay.min() > -(2**16)


@pytest.mark.parametrize("pole", [1 - 1e-9, -1 + 1e-9, 1e-9 + (1 - 1e-12) * 1j])
def test_poles_at_the_edge_of_the_circle_are_snapped_inwards(pole):
    assert np.abs(snapped_poles(*snap_poles(np.array([pole])))) < 1.0


def test_refit_on_unchanged_poles_returns_the_residues():
    random = np.random.default_rng(1)
    poles = np.exp(-0.05 + 1j * np.array([[0.1, 0.5, 1.2]]))
    residues = random.normal(size=(1, 3)) + 1j * random.normal(size=(1, 3))
    gains = refit_gains(DiagonalSystem(poles, residues, np.zeros(1)), poles, 300)
    np.testing.assert_allclose(gains, 2 * residues * poles, rtol=1e-9)


@pytest.mark.parametrize("radius", [0.99, 0.999, 0.9999])
def test_refit_comes_nearer_than_the_residues_as_they_were(radius):
    random = np.random.default_rng(2)
    poles = radius * np.exp(1j * random.uniform(0.001, 0.5, (8, 4)))
    system = DiagonalSystem(poles, random.normal(size=(8, 4)) + 1j * random.normal(size=(8, 4)), np.zeros(8))
    snapped = snapped_poles(*snap_poles(poles))
    steps = np.arange(999)[:, None, None]
    target = system.impulse_response(1000)[:, 1:]

    def error(gains):
        return np.linalg.norm((gains * snapped**steps).real.sum(axis=-1).T - target)

    assert error(refit_gains(system, snapped, 1000)) < error(2 * system.residues * poles)


def test_refit_leaves_padding_at_zero_and_real_poles_real():
    poles = np.array([[0.9, 0.5 + 0.5j, 0.0]], complex)
    residues = np.array([[0.4, 0.3 - 0.2j, 0.0]], complex)
    gains = refit_gains(DiagonalSystem(poles, residues, np.zeros(1)), snapped_poles(*snap_poles(poles)), 100)
    assert gains[0, 2] == 0.0
    assert abs(gains[0, 0].imag) < 1e-12
    assert gains[0, 0].real == pytest.approx(2 * 0.4 * 0.9, rel=1e-3)


def test_peaks_are_those_of_the_simulated_states():
    poles, gains = np.array([[0.9 + 0.1j]]), np.array([[0.5 - 0.2j]])
    inputs = np.random.default_rng(3).normal(size=(2, 50, 1))
    state, largest = np.zeros(2, complex), 0.0
    for step in range(50):
        state = poles[0, 0] * state + gains[0, 0] * inputs[:, step, 0]
        largest = max(largest, np.abs(state.real).max(), np.abs(state.imag).max())
    assert state_trajectory_peaks(inputs, poles, gains)[0, 0] == pytest.approx(largest)


class TestChosenPoles:
    def slow_system(self, seed=3, channels=4):
        random = np.random.default_rng(seed)
        log_poles = -(10 ** random.uniform(-4.5, -3, (channels, 4))) + 1j * 10 ** random.uniform(
            -3.5, -1.5, (channels, 4)
        )
        residues = random.normal(size=log_poles.shape) + 1j * random.normal(size=log_poles.shape)
        return DiagonalSystem(np.exp(log_poles), residues, np.zeros(channels))

    def test_poles_that_serve_stay(self):
        random = np.random.default_rng(0)
        poles = random.uniform(0.5, 0.98, (3, 5)) * np.exp(1j * random.uniform(0, 1, (3, 5)))
        system = DiagonalSystem(poles, random.normal(size=(3, 5)) + 0j, np.zeros(3))
        for ours, theirs in zip(choose_poles(system, 300), snap_poles(poles), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_real_poles_stay_real(self):
        system = self.slow_system()
        real = DiagonalSystem(np.abs(system.poles) + 0j, system.residues.real + 0j, system.feedthrough)
        assert not choose_poles(real, 3000)[1].any()


def test_gains_that_cancel_are_kept_small():
    """Two slow modes that differ by a point of the grid fit a slower one between them only by large weights."""
    poles = snapped_poles(np.array([[-3.0, -4.0]]), np.zeros((1, 2)))
    system = DiagonalSystem(np.array([[1 - 1.5 / 2**15, 0.5]]) + 0j, np.array([[1.0, 1e-9]]) + 0j, np.zeros(1))
    exact = refit_gains(system, np.array([[1 - 1.5 / 2**15, 0.5]]) + 0j, 4000)
    assert np.abs(refit_gains(system, poles, 4000)).sum() < 20 * np.abs(exact).sum()
