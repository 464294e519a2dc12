"""Modal truncation: scores against dense searches, errors against their bound."""

import numpy as np
import pytest

from keras_s4.reduction.modal import modal_scores, modal_truncation
from keras_s4.systems import DiagonalSystem


def random_system(seed, channels=4, state_size=12, gap=4.0):
    """Poles up to ``10**-gap`` from the unit circle, of both half planes, a third of them near the real axis."""
    rng = np.random.default_rng(seed)
    shape, third = (channels, state_size), state_size // 3
    radius = 1.0 - 10.0 ** rng.uniform(-gap, 0.0, shape)
    angle = rng.uniform(-np.pi, np.pi, shape)
    angle[:, :third] *= 10.0 ** rng.uniform(-6.0, -1.0, (channels, third))
    poles = radius * np.exp(1j * angle)
    poles[:, 0], poles[:, -1] = radius[:, 0], -radius[:, -1]
    return DiagonalSystem(poles, rng.normal(size=shape) + 1j * rng.normal(size=shape), rng.normal(size=channels))


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_the_hinf_norms_of_the_entries(seed):
    system = random_system(seed)
    scores = modal_scores(system)
    omega = np.linspace(0.0, np.pi, 2001)
    for n in range(system.state_size):
        entry = DiagonalSystem(system.poles[:, [n]], system.residues[:, [n]], np.zeros(system.channels))
        np.testing.assert_allclose(scores[:, n], entry.hinf_norm(), rtol=1e-9)
        grid = np.concatenate([np.broadcast_to(omega, (system.channels, 2001)), entry.resonance_grid(2, 400)], axis=1)
        brute_force = np.abs(entry.frequency_response(grid)).max(axis=1)
        assert (scores[:, n] >= brute_force * (1.0 - 1e-12)).all()
        assert (scores[:, n] <= brute_force * (1.0 + 1e-3)).all()


def test_scores_of_a_lone_mode_and_of_one_that_overlaps_with_its_conjugate():
    """Far from the real axis a pair peaks as high as one of its modes, which LAST scores |r| / (1 - |p|)."""
    radius, residue = 1.0 - 1e-6, 0.3 - 0.4j
    system = DiagonalSystem([[radius * 1j, -0.5, 0.0, 0.9j]], [[residue, 0.3, residue, 0.0]], [7.0])
    np.testing.assert_allclose(modal_scores(system), [[0.5 / 1e-6, 0.6 / 0.5, 0.6, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("gap", [2.0, 4.0, 9.0])
def test_bound_is_never_violated(gap):
    for seed in range(3):
        system = random_system(seed, channels=6, state_size=16, gap=gap)
        for rank in (1, 3, 8, 15):
            reduction = modal_truncation(system, rank)
            # Where the error is measured, the entries kept cancel but for rounding.
            slack = 1e-14 * reduction.spectrum.sum(axis=1)
            assert (reduction.hinf_error <= reduction.error_bound + slack).all()


def test_bound_is_attained_by_one_dropped_entry():
    system = random_system(7)
    reduction = modal_truncation(system, system.state_size - 1)
    np.testing.assert_allclose(reduction.hinf_error, reduction.error_bound, rtol=1e-7)


def test_keeps_the_entries_with_the_largest_scores_in_their_order():
    system = DiagonalSystem([[0.9j, 0.1, 0.5j, 0.8]], [[1.0, 1.0, 3.0, 2.0j + 2.0]], [4.0])
    np.testing.assert_allclose(modal_scores(system)[0, [1, 3]], [2.0 / 0.9, 20.0])
    reduction = modal_truncation(system, 3)
    np.testing.assert_array_equal(reduction.system.poles, [[0.9j, 0.5j, 0.8]])
    np.testing.assert_array_equal(reduction.system.residues, [[1.0, 3.0, 2.0j + 2.0]])
    np.testing.assert_array_equal(reduction.system.feedthrough, [4.0])
    np.testing.assert_array_equal(reduction.spectrum, -np.sort(-modal_scores(system)))
    assert reduction.method == "modal" and reduction.orders == [5]


def test_one_rank_for_each_channel():
    system = random_system(8, channels=3)
    ranks = np.array([1, 12, 5])
    together = modal_truncation(system, ranks)
    for h, rank in enumerate(ranks):
        alone = modal_truncation(system.select([h]), rank)
        np.testing.assert_array_equal(together.system.poles[h, :rank], alone.system.poles[0])
        np.testing.assert_array_equal(together.system.residues[h, rank:], 0.0)
        np.testing.assert_allclose(together.error_bound[h], alone.error_bound[0], rtol=1e-12)
    assert together.error_bound[1] == 0.0


def test_systems_without_any_residue_score_zero():
    reduction = modal_truncation(DiagonalSystem(np.full((2, 3), 0.5j), np.zeros((2, 3)), [1.0, 2.0]), 2)
    np.testing.assert_array_equal(reduction.spectrum, 0.0)
    np.testing.assert_array_equal(reduction.error_bound, 0.0)


def test_refuses_a_rank_that_the_system_does_not_have():
    with pytest.raises(ValueError, match="rank=13; expected integers from 1 to 12, the state size"):
        modal_truncation(random_system(9), 13)
