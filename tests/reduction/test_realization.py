"""What is known of the real poles of a matrix before it is diagonalized."""

import numpy as np
import pytest
from random_systems import random_systems
from scipy.linalg import block_diag

from keras_s4.reduction import realization
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.reduction.singular_perturbation import singular_perturbation
from keras_s4.systems import DiagonalSystem


def matrix_with(real, order, seed):
    """A full real matrix of these real eigenvalues and complex pairs for the rest."""
    rng = np.random.default_rng(seed)
    pairs = [
        radius * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        for radius, angle in rng.uniform([0.5, 0.1], [0.999, 3.0], ((order - len(real)) // 2, 2))
    ]
    basis = np.linalg.qr(rng.normal(size=(order, order)))[0]
    return basis @ block_diag(np.diag(real), *pairs) @ basis.T


@pytest.mark.parametrize(
    ("real", "order", "told"),
    [
        ([], 40, False),
        ([0.6], 41, True),
        ([0.6, 0.98], 40, True),
        ([-0.7, 0.8, 0.95, 0.98], 60, True),
        ([1.2, 0.3], 40, True),
        ([0.6, 0.61], 40, False),  # between two probes
    ],
)
def test_real_poles_are_told_by_the_signs_of_determinants(real, order, told):
    matrices = np.stack([matrix_with(real, order, seed) for seed in range(3)])
    np.testing.assert_array_equal(realization.surely_real(matrices), [told] * 3)


def test_real_poles_of_each_matrix():
    matrices = np.stack([matrix_with(real, 40, 0) for real in ([], [0.6, 0.98], [], [-0.9, 0.999])])
    np.testing.assert_array_equal(realization.surely_real(matrices), [False, True, False, True])


def skew_hippo(channels, state_size):
    rng = np.random.default_rng(channels)
    steps = 10.0 ** rng.uniform(-3, -1, (channels, 1))
    poles = np.exp(steps * (-0.5 + 1j * np.pi * np.arange(state_size)))
    residues = rng.normal(size=(*poles.shape, 2)) @ [1, 1j]
    return DiagonalSystem(poles, residues, np.zeros(channels))


@pytest.mark.parametrize("make", [lambda: skew_hippo(6, 40), lambda: random_systems(3, 6, 40)])
@pytest.mark.parametrize("reduce", [lambda s, r: balanced_realization(s).truncate(r), singular_perturbation])
def test_reductions_are_those_of_diagonalizing_every_order(monkeypatch, make, reduce):
    ranks = (18, 30, 38)
    probed = [reduce(make(), rank) for rank in ranks]
    monkeypatch.setattr(realization, "_SMALLEST_PROBED", 1000)
    for rank, found in zip(ranks, probed, strict=True):
        expected = reduce(make(), rank)
        np.testing.assert_array_equal(found.orders, expected.orders)
        np.testing.assert_array_equal(found.system.poles, expected.system.poles)
        np.testing.assert_array_equal(found.system.residues, expected.system.residues)


def test_fewer_orders_are_diagonalized(monkeypatch):
    """Skew-HiPPO layers: the first order that may fit mostly has two real poles too many."""

    def diagonalized_channels():
        counted = []
        diagonalize = realization.diagonalized
        monkeypatch.setattr(realization, "diagonalized", lambda A, B, C: counted.append(len(A)) or diagonalize(A, B, C))
        balanced_realization(skew_hippo(16, 40)).truncate(38)
        monkeypatch.setattr(realization, "diagonalized", diagonalize)
        return sum(counted)

    probed = diagonalized_channels()
    monkeypatch.setattr(realization, "_SMALLEST_PROBED", 1000)
    assert probed < 20 < diagonalized_channels()
