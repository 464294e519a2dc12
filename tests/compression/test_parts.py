import keras
import numpy as np
import pytest

from keras_s4.compression.parts import StatesPart, other_flash_bytes, parts_of
from keras_s4.layers import DSS
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


def test_kinds_choose_the_parts_in_the_order_of_the_layers(mixture):
    both = list(parts_of(mixture, ["states", "matrix"]))
    names = ["conv", "strided", "gru", "block/dss", "block/value", "block/gate", "lstm", "rnn", "dense"]
    assert list(dict.fromkeys(name.replace("/kernel", "").replace("/recurrent_kernel", "") for name in both)) == names
    assert {"gru/kernel", "gru/recurrent_kernel", "block/value/kernel"} <= set(both)
    assert list(parts_of(mixture)) == list(parts_of(mixture, "states")) == ["block/dss"]
    assert list(parts_of(mixture, ("matrix",))) == [name for name in both if name != "block/dss"]


def test_convolution_is_a_matrix_of_all_that_an_output_depends_on(mixture):
    part = parts_of(mixture, "matrix")["conv/kernel"]
    kernel = np.asarray(mixture.get_layer("conv").kernel, float)
    assert part.shape == (3 * 5, 10)
    np.testing.assert_array_equal(part.matrix[5 * 2 + 4], kernel[2, 4])


def test_model_without_states_gives_its_matrices():
    layers = [keras.layers.GRU(8, reset_after=False, name="gru"), keras.layers.Dense(6, name="head")]
    parts = parts_of(keras.Sequential([keras.Input((5, 4)), *layers]))
    assert list(parts) == ["gru/kernel", "gru/recurrent_kernel", "head/kernel"]
    assert parts["gru/recurrent_kernel"].cost(2).multiply_accumulates == 2 * (2 * 8 + 24)


class Twice(keras.layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)


def test_layers_that_no_low_rank_layer_can_replace_are_left_out():
    layers = [
        Twice(8, name="twice"),
        keras.layers.Conv1D(8, 3, groups=2, name="groups"),
        keras.layers.Dense(8, name="d"),
    ]
    assert list(parts_of(keras.Sequential([keras.Input((5, 8)), *layers]))) == ["d/kernel"]


def test_data_weights_spectra_by_what_comes_in(mixture, sequences):
    """Scaled inputs scale what the first layer gives: its matrix is the same, its spectrum is not."""
    one, ten = (parts_of(mixture, ["states", "matrix"], data)["conv/kernel"] for data in (sequences, 10 * sequences))
    np.testing.assert_allclose(10 * one.spectrum, ten.spectrum, rtol=1e-5)
    np.testing.assert_array_equal(one.matrix, ten.matrix)
    blind = parts_of(mixture, "matrix")["conv/kernel"]
    assert one.energy(2) > blind.energy(2)


def test_inputs_of_low_frequency_need_fewer_modes():
    """Slow inputs never excite the fast modes; white ones weigh all frequencies alike, as no data does."""
    model = keras.Sequential([keras.Input((200, 2)), DSS(6, name="dss", pole_initializer="s4d_lin")])
    white = np.random.default_rng(0).normal(size=(64, 200, 2))
    slow = np.stack([np.sin(2 * np.pi * np.arange(200) * rate)[:, None] * [1, 1] for rate in (0.001, 0.002)])
    blind, on_white, on_slow = (parts_of(model, data=data)["dss"] for data in (None, white, slow))
    assert on_slow.energy(1) > blind.energy(1)
    np.testing.assert_allclose(on_white.spectrum / on_white.spectrum[0], blind.spectrum / blind.spectrum[0], atol=0.1)


def test_other_flash_counts_kernels_by_the_byte_and_biases_in_words():
    layers = [keras.layers.Conv1D(6, 3), keras.layers.GRU(4)]
    model = keras.Sequential([keras.Input((9, 5)), *layers])
    kernels, biases = 3 * 5 * 6 + 6 * 12 + 4 * 12, 6 + 2 * 12
    assert other_flash_bytes(model) == kernels + 4 * biases


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": "weights"}, r"got kinds=\('weights',\); expected some of 'states', 'matrix'"),
        ({"kinds": ()}, r"got kinds=\(\); expected some of"),
        ({"data": np.zeros((4, 40, 2))}, r"takes data of shape \[B, 40, 3\], but got \[4, 40, 2\]"),
    ],
)
def test_refused_arguments(trained_classifier, arguments, message):
    with pytest.raises(ValueError, match=message):
        parts_of(trained_classifier, **arguments)


def test_models_without_parts_are_refused_with_what_they_have(dense_model):
    with pytest.raises(ValueError, match=r"no DSS or DiagonalSSM layer, so nothing can be reduced.*are Dense"):
        parts_of(dense_model, "states")
    with pytest.raises(ValueError, match=r"no Dense, Conv1D, GRU, LSTM or SimpleRNN layer with a matrix"):
        parts_of(keras.Sequential([keras.Input((5, 2)), keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="not built yet"):
        parts_of(keras.Sequential([keras.layers.Dense(3)]))
