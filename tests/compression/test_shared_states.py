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
from keras_s4.reduction import balanced_truncation_of_modes
from keras_s4.streaming import StreamingModel

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


def test_methods_that_reduce_no_shared_states_are_refused_by_name(model, data):
    with pytest.raises(ValueError, match=r"'shared' is a system of 3 inputs and 6 outputs.*'h2' does not.*method="):
        reduce(model, 4, method="h2")
    small = reduce(model, 4, method={"own": "h2", "shared": "balanced"})
    assert small.get_layer("own").state_size == 4
    chosen = reduce(model, 4, method="auto", data=data).method_choice
    assert chosen.methods["shared"] == "balanced"
    alone = keras.Sequential([keras.Input((STEPS, FEATURES)), DiagonalSSM(2, 4, name="shared")])
    assert "share" in str(reduce(alone, 2, method="auto").method_choice.left_out)
