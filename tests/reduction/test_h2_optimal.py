"""H2-optimal reduction: optimality conditions, errors against balanced truncation, recovery of what can be exact."""

import numpy as np
import pytest
from random_systems import random_systems as random_systems_of
from scipy.optimize import minimize

from keras_s4.reduction import balanced_truncation, modal_truncation
from keras_s4.reduction.h2 import h2_optimal
from keras_s4.systems import DiagonalSystem


def random_systems(seed, channels, state_size, gap=3.0):
    """Residues between equal sizes and equal peaks; angles everywhere."""
    return random_systems_of(seed, channels, state_size, gap=gap, narrowing=0.0, power=0.5)


def layer(steps, state_size, seed=0):
    """A DSS layer with Skew-HiPPO poles, one step for each channel."""
    rng = np.random.default_rng(seed)
    poles = np.exp(np.asarray(steps)[:, None] * (-0.5 + 1j * np.pi * np.arange(state_size)))
    residues = rng.normal(size=poles.shape) + 1j * rng.normal(size=poles.shape)
    return DiagonalSystem(poles, residues, rng.normal(size=len(steps)))


def error_cosines(reduction):
    """Cosines [H, 2R] of the angles between the error and what residues and poles can add, by interpolation.

    The inner product with ``1 / (1 - p x)`` and its derivative in p is ``E(p)`` and ``E'(p)``, with ``x = 1/z``.
    """
    error, p = reduction.error_system, reduction.system.poles
    x, q, r = p[:, None, :], error.poles[..., None], error.residues[..., None]
    value = (r / (1.0 - q * x) + r.conj() / (1.0 - q.conj() * x)).sum(axis=1)
    slope = (r * q / (1.0 - q * x) ** 2 + r.conj() * q.conj() / (1.0 - q.conj() * x) ** 2).sum(axis=1)
    gap = 1.0 - np.abs(p) ** 2
    norms = np.concatenate([gap**-0.5, np.sqrt((1.0 + np.abs(p) ** 2) / gap**3)], axis=1)
    return np.abs(np.concatenate([value, slope], axis=1)) / norms / reduction.h2_error[:, None]


@pytest.mark.parametrize(
    ("system", "rank"),
    [(layer(np.geomspace(1e-3, 1e-1, 12), 16), 4), (random_systems(0, 60, 12, gap=2.0).select(slice(0, 60, 6)), 3)],
    ids=["layer", "random"],
)
def test_error_is_orthogonal_to_what_residues_and_poles_can_add(system, rank):
    reduction = h2_optimal(system, rank, iterations=200)
    cosines = error_cosines(reduction).max(axis=1)
    assert np.median(cosines) < 1e-6
    assert (error_cosines(balanced_truncation(system, rank)).max(axis=1) > 1e-3).all()
    # All but pairs that are held off the real axis, where no optimum of as many entries exists.
    poles = reduction.system.poles
    free = ((poles.imag == 0.0) | (poles.imag > 0.1101 * (1.0 - np.abs(poles) ** 2))).all(axis=1)
    assert free.sum() >= 0.7 * system.channels
    np.testing.assert_array_less(cosines[free], 1e-6)


@pytest.mark.parametrize("state_size", [2, 5, 12, 24])
def test_never_worse_than_balanced_truncation(state_size):
    system = random_systems(state_size, 12, state_size, gap=5.0)
    for rank in sorted({1, state_size // 2, state_size - 1}):
        balanced, reduction = balanced_truncation(system, rank), h2_optimal(system, rank)
        assert (reduction.h2_error <= balanced.h2_error * (1.0 + 1e-12)).all()
        assert (np.abs(reduction.system.poles) < 1.0).all()
        assert reduction.system.poles.shape == (12, rank)
        np.testing.assert_array_equal(reduction.system.feedthrough, system.feedthrough)
        np.testing.assert_array_equal(reduction.orders, reduction.system.orders)
        np.testing.assert_array_equal(reduction.spectrum, balanced.spectrum)
        assert reduction.method == "h2" and np.isposinf(reduction.error_bound).all()


def test_never_worse_than_keeping_the_best_modes():
    """Narrow resonances of their own: some channels are better off with some of their poles as they are."""
    system = random_systems(3, 40, 8, gap=5.0)
    balanced, modal, reduction = (reduce(system, 1) for reduce in (balanced_truncation, modal_truncation, h2_optimal))
    assert (modal.h2_error < 0.99 * balanced.h2_error).sum() >= 3
    assert (reduction.h2_error <= modal.h2_error * (1.0 + 1e-12)).all()


def test_is_clearly_better_than_balanced_truncation_on_layers():
    system = layer(np.geomspace(1e-3, 1e-1, 16), 32)
    gain = h2_optimal(system, 6).h2_error / balanced_truncation(system, 6).h2_error
    assert np.median(gain) < 0.95


def test_measured_error_is_that_of_the_impulse_response():
    reduction = h2_optimal(random_systems(3, 6, 10, gap=2.0), 3)
    difference = reduction.original.impulse_response(6000) - reduction.system.impulse_response(6000)
    np.testing.assert_allclose(reduction.h2_error, np.linalg.norm(difference, axis=1), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_general_optimizer_finds_nothing_better_nearby(seed):
    """Quasi-Newton over poles and residues together, on the impulse response, from the result."""
    rng = np.random.default_rng(seed)
    poles = rng.uniform(0.7, 0.93, (1, 8)) * np.exp(1j * np.linspace(0.6, 2.5, 8))
    system = DiagonalSystem(poles, rng.normal(size=(1, 8)) + 1j * rng.normal(size=(1, 8)), [0.7])
    reduction = h2_optimal(system, 2)
    target = system.impulse_response(300)[0]

    def squared_error(values):
        radius, angle, real, imaginary = values.reshape(4, 2)
        powers = (radius * np.exp(1j * angle))[:, None] ** np.arange(300)
        kernel = 2.0 * ((real + 1j * imaginary) @ powers).real
        kernel[0] += system.feedthrough[0]
        return ((target - kernel) ** 2).sum()

    p, r = reduction.system.poles[0], reduction.system.residues[0]
    found = minimize(squared_error, np.concatenate([np.abs(p), np.angle(p), r.real, r.imag]), method="BFGS")
    assert np.sqrt(found.fun) > reduction.h2_error[0] * (1.0 - 1e-6)


def test_recovers_a_small_system_behind_a_perturbation():
    """Two modes and small others: nearly all of the error that is left is that of the others."""
    rng = np.random.default_rng(4)
    poles = [[0.95 * np.exp(0.4j), 0.9 * np.exp(1.9j), *(0.5 * np.exp(1j * rng.uniform(0.0, np.pi, 6)))]]
    residues = np.array([[1.0 - 0.5j, 0.3 + 1.0j, *np.full(6, 1e-5)]])
    system = DiagonalSystem(poles, residues, [0.5])
    reduction = h2_optimal(system, 2)
    order = np.argsort(np.angle(reduction.system.poles[0]))
    np.testing.assert_allclose(reduction.system.poles[0, order], system.poles[0, :2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(reduction.system.residues[0, order], residues[0, :2], rtol=0, atol=1e-3)
    others = DiagonalSystem(system.poles[:, 2:], system.residues[:, 2:], [0.0]).h2_norm()
    assert reduction.h2_error < others


def test_is_exact_where_the_rank_suffices():
    """Repeated poles merge, padding goes, and a real pole stays one."""
    poles = [[0.8j, 0.8j, 0.5, 0.0, 0.5], [0.9j, -0.4, 0.0, 0.0, 0.0]]
    system = DiagonalSystem(poles, [[1.0, 2.0, 1.0, 0.0, -3.0], [1.0 - 1.0j, 2.0, 0.0, 0.0, 0.0]], [1.0, 2.0])
    reduction = h2_optimal(system, 2)
    assert (reduction.h2_error <= 1e-13 * system.h2_norm()).all()
    np.testing.assert_array_equal(reduction.orders, [3, 3])
    np.testing.assert_array_equal(reduction.system.poles[1], [0.9j, -0.4])


def test_a_real_pole_becomes_a_pair_where_that_is_better():
    """Balanced truncation at order 2 of a pair and a relaxation has two real poles, too many for one entry."""
    system = DiagonalSystem([[0.9 + 0.1j, -0.8]], [[1.0 - 1.0j, 0.5]], [0.0])
    balanced, reduction = balanced_truncation(system, 1), h2_optimal(system, 1)
    assert balanced.orders == [1] and reduction.orders == [2]
    assert reduction.h2_error < 0.9 * balanced.h2_error


def test_real_systems_stay_stable_and_finite():
    """Relaxations alone: pairs are drawn to the real axis."""
    system = DiagonalSystem([np.linspace(-0.9, 0.999, 16)], [np.linspace(0.1, 1.0, 16)], [0.0])
    for rank in (1, 2, 3, 6):
        reduction = h2_optimal(system, rank)
        assert (reduction.h2_error <= balanced_truncation(system, rank).h2_error).all()
        assert np.isfinite(reduction.system.residues).all()


def test_one_rank_for_each_channel():
    system = random_systems(5, 3, 8)
    together = h2_optimal(system, np.array([1, 8, 3]))
    assert together.system.state_size == 8
    for h, rank in enumerate([1, 8, 3]):
        alone = h2_optimal(system.select([h]), rank)
        np.testing.assert_allclose(together.h2_error[h], alone.h2_error[0], rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(together.system.residues[h, rank:], 0.0)


def test_systems_without_any_residue_are_left_alone():
    reduction = h2_optimal(DiagonalSystem(np.full((2, 3), 0.5j), np.zeros((2, 3)), [1.0, 2.0]), 2)
    np.testing.assert_array_equal(reduction.system.impulse_response(2), [[1.0, 0.0], [2.0, 0.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 5}, "rank=5; expected integers from 1 to 4, the state size"),
        ({"iterations": 0}, "iterations=0; expected a positive integer"),
        ({"iterations": 2.5}, "iterations=2.5; expected a positive integer"),
        ({"tolerance": -1.0}, "tolerance=-1.0; expected a cosine, 0 or larger"),
        ({"tolerance": float("nan")}, "tolerance=nan; expected a cosine"),
    ],
)
def test_refusals_say_what_was_expected(options, message):
    with pytest.raises(ValueError, match=message):
        h2_optimal(random_systems(8, 2, 4), **({"rank": 2} | options))
