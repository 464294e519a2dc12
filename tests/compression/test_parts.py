import numpy as np
import pytest

from keras_s4.compression.parts import StatesPart, other_flash_bytes, parts_of
from keras_s4.systems import DiagonalSystem


@pytest.fixture
def part():
    random = np.random.default_rng(3)
    poles = random.uniform(0.5, 0.99, (4, 6)) * np.exp(1j * random.uniform(0.1, 3.0, (4, 6)))
    residues = random.normal(size=(4, 6)) + 1j * random.normal(size=(4, 6))
    return StatesPart("layer", DiagonalSystem(poles, residues, np.ones(4)))


def test_spectrum_gathers_the_energy_of_all_channels(part):
    assert np.all(np.diff(part.spectrum) <= 0)
    assert np.sum(part.spectrum**2) == pytest.approx(np.sum(part.channel_spectra**2))
    assert part.energy(part.max_rank) == pytest.approx(1.0)


def test_error_bound_holds_for_every_rank(part):
    """Complex poles only: no channel needs an entry for half a pair, so the part's bound is that of the reduction."""
    gains = part.system.hinf_norm()
    for rank in range(1, part.max_rank + 1):
        reduction = part.truncate(rank)
        relative = ((part.system - reduction.system).hinf_norm() / gains)[reduction.orders == 2 * rank]
        assert np.all(relative <= part.error_bound(rank) + 1e-9)
    assert part.error_bound(part.max_rank) == 0.0


def test_parts_are_named_after_the_layers_that_hold_them(trained_classifier):
    parts = parts_of(trained_classifier)
    assert list(parts) == ["block_1/dss", "block_2/dss"]
    assert all(part.max_rank == 6 for part in parts.values())


def test_other_flash_counts_matrices_in_bytes_and_vectors_in_words(trained_classifier):
    channels, features, classes = 8, 3, 4
    matrices = features * channels + 2 * 2 * channels**2 + channels * classes
    vectors = channels + 2 * (2 * channels + 4 * channels) + classes
    assert other_flash_bytes(trained_classifier) == matrices + 4 * vectors


def test_model_without_states_is_refused(dense_model):
    with pytest.raises(ValueError, match=r"no DSS layer or S4Block.*Dense"):
        parts_of(dense_model)
