"""Layers whose channels share their states as parts: their spectrum, their reduction, and the models around them."""

import keras
import numpy as np
import pytest
from conformance import shake

import keras_s4
from keras_s4 import reduce
from keras_s4.compression import SharedStatesPart, TruncateStates, error_bound, parts_of
from keras_s4.compression.kept import list_kept_weights
from keras_s4.compression.parts import other_flash_bytes
from keras_s4.initializers import LogUniform
from keras_s4.layers import DSS, DiagonalSSM
from keras_s4.reduction import METHODS_OF_MODES, balanced_truncation_of_modes
from keras_s4.streaming import StreamingModel
from keras_s4.surgery import layer_inputs
from keras_s4.surgery.layer_inputs import CrossSpectrum

STEPS, FEATURES = 40, 3


@pytest.fixture(scope="module")
def model():
    """A layer of shared states, one of states for each channel, and matrices."""
    keras.utils.set_random_seed(0)
    layers = [
        DiagonalSSM(6, 8, time_step_initializer=LogUniform(0.02, 0.5), name="shared"),
        keras.layers.Activation("relu"),
        DSS(6, name="own"),
        keras.layers.Dense(4, name="head"),
    ]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *layers])
    shake(model)
    model.compile("adam", "mse")
    return model


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(6, STEPS, FEATURES)).astype("float32")


@pytest.fixture(scope="module")
def part(model):
    return parts_of(model)["shared"]


def test_it_is_a_part_of_states(model, part):
    assert list(parts_of(model)) == ["shared", "own"]
    assert isinstance(part, SharedStatesPart)
    assert part.shape == (1, 8) and part.modes == part.max_rank == 8
    assert np.all(np.diff(part.spectrum) <= 0.0)
    assert part.energy(8) == pytest.approx(1.0)
    assert "1 x 8" in str(keras_s4.spectrum(model))


def test_error_bound_holds_for_every_rank(part):
    gain = part.system.hinf_norm()
    for rank in range(1, 9):
        reduction = part.truncate(rank)
        assert reduction.hinf_error / gain <= reduction.error_bound / gain + 1e-9
        if reduction.order == 2 * rank:
            assert reduction.hinf_error / gain <= part.error_bound(rank) + 1e-9
    assert part.error_bound(8) == 0.0


def test_cost_counts_the_modes_once_and_the_matrices_for_each_channel(part):
    """24 bytes of constants and 16 of state a mode, and two bytes a mode for each of 3 inputs and 6 outputs."""
    assert part.cost(5).flash == 5 * (24 + 2 * 9)
    assert part.cost(5).ram == 5 * 16
    assert part.cost(5).multiply_accumulates == 5 * (4 + 2 + 2 * 9)


def test_mode_gains_are_those_of_single_modes(part):
    system = part.system
    omega = np.linspace(0.0, np.pi, 20_001)
    for n in range(0, 8, 3):
        alone = type(system)(
            system.poles[[n]], system.inputs[[n]], system.outputs[:, [n]], np.zeros(system.feedthrough.shape)
        )
        responses = alone.frequency_response(omega).transpose(2, 0, 1)
        expected = np.linalg.norm(responses, ord=2, axis=(1, 2)).max()
        assert part.mode_gains[0, n] == pytest.approx(expected, rel=1e-4)


def test_a_reduced_model_has_a_smaller_layer_with_the_truncated_system(model, part, data):
    small = reduce(model, {"shared": 5})
    layer = small.get_layer("shared")
    assert isinstance(layer, DiagonalSSM) and layer.state_size == 5
    expected = balanced_truncation_of_modes(part.system, 5).system.impulse_response(STEPS)
    np.testing.assert_allclose(layer.system().impulse_response(STEPS), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(small.get_layer("own").get_weights()[0], model.get_layer("own").get_weights()[0])
    targets = model.predict(data, verbose=0)
    before = small.evaluate(data, targets, verbose=0)
    small.optimizer.learning_rate = 1e-2
    small.fit(data, targets, epochs=30, verbose=0)
    assert small.evaluate(data, targets, verbose=0) < 0.7 * before


def test_a_reduced_model_streams_and_is_saved(model, data, tmp_path):
    small = reduce(model, 4)
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    expected = small.predict(data, verbose=0)
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), expected)
    stream = StreamingModel(loaded)
    states = stream.initial_state(batch=6)
    first, states = stream.chunk(data[:, :17], states)
    second, _ = stream.chunk(data[:, 17:], states)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), expected, rtol=0, atol=1e-5)


def test_every_choice_of_ranks_works(model, data):
    ranks = keras_s4.ranks
    found = [
        ranks.uniform(model, fraction=0.5),
        ranks.energy(model, 0.99),
        ranks.tolerance(model, 1.0),
        ranks.scores(model, 0.5),
        ranks.budget(model, flash=1_500),
        ranks.least_error(model, data, flash=1_500),
        ranks.least_error(model, data, flash=1_500, of="bound"),
    ]
    for chosen in found:
        assert set(chosen) == {"shared", "own"}
        assert all(1 <= rank <= parts_of(model)[name].max_rank for name, rank in chosen.items())
        reduce(model, chosen, method="auto", data=data)


def test_constants_are_counted_once(model, part):
    """All of the layer's weights belong to its part; outside is the head: bytes of its matrix, words of its bias."""
    assert other_flash_bytes(model) == 6 * 4 + 4 * 4
    kept = list_kept_weights(model, parts_of(model, ["states", "matrix"]))
    assert [(item.name, item.flash) for item in kept] == [("biases, gains and other vectors", 4 * 4)]


def test_rank_tuning(model, data):
    targets = model.predict(data, verbose=0)

    def fit(candidate):
        return -float(np.mean((candidate.predict(data, verbose=0) - targets) ** 2)) / np.var(targets) + 1.0

    tuned = keras_s4.rank_tuning(model, fit, relative_loss=0.05, data=data)
    assert fit(reduce(model, tuned.ranks)) >= 0.95 * fit(model)
    assert tuned.ranks["shared"] <= 8


def test_states_are_truncated_in_training(data):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), DiagonalSSM(4, 8, name="shared")])
    model.compile("adam", "mse")
    callback = TruncateStates([1], energy=0.9)
    model.fit(data, np.zeros((6, STEPS, 4)), epochs=2, verbose=0, callbacks=[callback])
    rank = callback.ranks["shared"]
    assert rank < 8
    np.testing.assert_array_equal(np.asarray(model.get_layer("shared").output_matrix)[:, rank:], 0.0)
    small = reduce(model, callback.ranks)
    expected = model.predict(data, verbose=0)
    np.testing.assert_allclose(small.predict(data, verbose=0), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("local", ["gain", "data"])
def test_no_output_is_further_off_than_its_bound(model, data, local):
    small = reduce(model, {"shared": 5, "own": 4})
    found = error_bound(model, small, data, local)
    assert found.measured.max() > 1e-4
    assert np.all(found.measured <= found.bound + 1e-6)
    assert {"shared", "own"} <= set(found.layers)


@pytest.mark.parametrize("method", METHODS_OF_MODES)
def test_every_method_reduces_the_layer(model, data, method):
    small = reduce(model, 4, method, data)
    part = parts_of(model, data=data)["shared"]
    expected = part.truncate(4, method).system
    found = small.get_layer("shared").system()
    np.testing.assert_allclose(
        found.impulse_response(STEPS), expected.impulse_response(STEPS), rtol=0, atol=1e-5 * part.system.hinf_norm()
    )
    assert part.relative_error(found) == pytest.approx(part.relative_error(expected), rel=1e-3, abs=1e-5)


def test_data_weight_the_spectrum(model):
    """Inputs with much in common excite fewer states than white ones, and the part knows their length."""
    x = np.random.default_rng(1).normal(size=(8, STEPS, 1)).cumsum(axis=1) * [1.0, 0.5, -0.7]
    parts = [parts_of(model, data=each)["shared"] for each in (None, x.astype("float32"))]
    assert parts[1].length == STEPS and parts[1].power_spectrum.shape == (STEPS + 1, FEATURES, FEATURES)
    assert parts[1].energy(2) > parts[0].energy(2)
    errors = [
        np.linalg.norm(_response_error(parts[0].system, parts[1].truncate(3, method).system, x))
        for method in ("input_weighted", "balanced")
    ]
    assert errors[0] < errors[1]
    assert parts[1].relative_error(parts[1].truncate(3, "input_weighted").system) < parts[1].relative_error(
        parts[1].truncate(3).system
    )
    np.testing.assert_array_equal(parts[0].error_bounds, parts[1].error_bounds)


def _response_error(system, reduced, x):
    return (system - reduced).simulate(x)[0]


def test_cross_spectra_of_pieces_and_of_masked_steps(monkeypatch):
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 256, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    whole, pieces, masked = CrossSpectrum(), CrossSpectrum(), CrossSpectrum()
    whole.add(x, None)
    masked.add(np.where(np.arange(256)[:, None] < 100, x, np.nan), np.broadcast_to(np.arange(256) < 100, (3, 256)))
    monkeypatch.setattr(layer_inputs, "LARGEST_SPECTRUM", 64 * 4)
    pieces.add(x, None)
    layer, both = DiagonalSSM(2, 4), DiagonalSSM(2, 4, bidirectional=True)
    assert (whole.of(layer).shape, pieces.of(layer).shape) == ((257, 2, 2), (65, 2, 2))
    np.testing.assert_allclose(whole.of(both), (whole.of(layer) + whole.of(layer).conj()) / 2.0)  # time runs both ways
    moments = [np.fft.irfft(each.of(layer), axis=0)[0] for each in (whole, pieces, masked)]
    steps = x.reshape(-1, 2)
    np.testing.assert_allclose(moments[0], steps.T @ steps / len(steps), rtol=1e-9)
    np.testing.assert_allclose(moments[1], moments[0], rtol=1e-9)
    some = x[:, :100].reshape(-1, 2)
    np.testing.assert_allclose(moments[2], some.T @ some / len(steps), rtol=1e-9)


def test_auto_takes_the_method_of_the_least_error(model, data):
    found = reduce(model, 4, "auto", data).method_choice
    assert set(found.layers["shared"]) == set(METHODS_OF_MODES)
    assert found.error <= min(found.one_for_all.values()) * (1.0 + 1e-9)
    part = parts_of(model)["shared"]
    chosen = part.relative_error(part.truncate(4, "auto").system)
    errors = [part.relative_error(part.truncate(4, method).system) for method in part.candidates()]
    assert chosen == min(errors) < errors[part.candidates().index("balanced")]


@pytest.mark.parametrize("feedthrough", ["diagonal", None])
def test_a_method_whose_feedthrough_the_layer_cannot_hold_is_refused_by_name(feedthrough):
    layer = DiagonalSSM(FEATURES, 4, feedthrough, name="shared")
    alone = keras.Sequential([keras.Input((STEPS, FEATURES)), layer])
    with pytest.raises(
        ValueError, match=f"'singular_perturbation' cannot reduce part 'shared'.*feedthrough={feedthrough!r}"
    ):
        reduce(alone, 2, "singular_perturbation")
    left_out = reduce(alone, 2, "auto").method_choice.left_out
    assert "every input to every output" in left_out["singular_perturbation"]
    assert left_out["input_weighted"] == "its power_spectrum is not known"
    for method in ("h2", "modal", "finite_horizon"):
        assert reduce(alone, 2, method).get_layer("shared").state_size == 2
