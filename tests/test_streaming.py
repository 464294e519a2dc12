"""Streaming models against their convolution mode."""

import keras
import numpy as np
import pytest
from conformance import shake
from keras import ops

from keras_s4 import streaming
from keras_s4.layers import DSS, S4Block
from keras_s4.models import classifier
from keras_s4.streaming import StreamingModel


def signal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sequence_to_sequence(length, channels=4, states=4, blocks=6):
    inputs = keras.Input((length, 2))
    hidden = keras.layers.Dense(channels)(inputs)
    for _ in range(blocks):
        hidden = S4Block(states, dropout=0.1)(hidden)
    return keras.Model(inputs, keras.layers.Dense(3)(hidden))


def run_steps(model, inputs, states=None):
    """Outputs `[B, L, ...]` of a loop in Python, and the last states."""
    states = model.initial_state(len(inputs)) if states is None else states
    outputs = []
    for t in range(inputs.shape[1]):
        output, states = model.step(inputs[:, t], states)
        outputs.append(np.asarray(output))
    return np.stack(outputs, axis=1), states


@pytest.fixture(scope="module")
def small():
    """A classifier of one block on windows of 12 steps, streaming."""
    keras.utils.set_random_seed(0)
    return StreamingModel(shake(classifier((12, 3), 2, channels=4, states=3, blocks=1)))


def test_a_classifier_is_exact_at_the_end_of_a_window():
    model = shake(classifier((500, 6), 7, channels=8, states=8, blocks=2))
    inputs = signal(3, 500, 6)
    expected = model.predict(inputs, verbose=0)
    outputs = StreamingModel(model).predict(inputs, verbose=0)
    assert outputs.shape == (3, 500, 7)
    np.testing.assert_allclose(outputs[:, -1], expected, rtol=0, atol=1e-4 * expected.max())
    assert np.abs(outputs[:, 250] - expected).max() > 1e-3, "the output must move until then"


def test_six_blocks_are_exact_at_every_step():
    model = shake(sequence_to_sequence(4096))
    inputs = signal(1, 4096, 2)
    expected = np.asarray(model(inputs))
    outputs = StreamingModel(model).predict(inputs, verbose=0)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_loop_of_steps_equals_predict(small):
    inputs = signal(2, 12, 3)
    outputs, _ = run_steps(small, inputs)
    np.testing.assert_allclose(outputs, small.predict(inputs, verbose=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cuts", [(6,), (1, 2, 11), tuple(range(1, 12))])
def test_a_stream_in_chunks_gives_equal_outputs(small, cuts):
    inputs = signal(2, 12, 3)
    whole, _ = run_steps(small, inputs)
    states, parts = small.initial_state(2), []
    for chunk in np.split(inputs, cuts, axis=1):
        outputs, states = run_steps(small, chunk, states)
        states = keras.tree.map_structure(np.asarray, states)  # a state can be stored
        parts.append(outputs)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_initial_state_starts_anew(small):
    inputs = signal(2, 12, 3)
    first, states = run_steps(small, inputs)
    continued, _ = run_steps(small, inputs, states)
    again, _ = run_steps(small, inputs, small.initial_state(2))
    np.testing.assert_array_equal(again, first)
    assert np.abs(continued - first).max() > 1e-3


def test_streams_of_a_batch_do_not_mix(small):
    inputs = signal(2, 5, 3)
    both, _ = run_steps(small, inputs)
    alone, _ = run_steps(small, inputs[1:])
    np.testing.assert_allclose(both[1:], alone, rtol=0, atol=1e-6)


def test_streaming_follows_the_weights_of_the_model(small):
    model = classifier((12, 3), 2, channels=4, states=3, blocks=1)
    stream = StreamingModel(model)
    model.set_weights(small.model.get_weights())
    inputs = signal(1, 4, 3)
    np.testing.assert_array_equal(run_steps(stream, inputs)[0], run_steps(small, inputs)[0])
    assert len(stream.weights) == len(model.weights)


def test_a_model_without_states():
    model = keras.Sequential([keras.Input((7, 3)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    inputs = signal(2, 7, 3)
    stream = StreamingModel(model)
    np.testing.assert_allclose(stream(inputs), model(inputs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(run_steps(stream, inputs)[0], model(inputs), rtol=0, atol=1e-6)


def test_plain_layers_around_a_dss_layer():
    model = keras.Sequential(
        [
            keras.Input((9, 3)),
            keras.layers.BatchNormalization(),
            DSS(3),
            keras.layers.Activation("tanh"),
            keras.layers.SpatialDropout1D(0.5),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )
    inputs = signal(2, 9, 3)
    outputs, _ = run_steps(StreamingModel(shake(model)), inputs)
    np.testing.assert_allclose(outputs[:, -1], model(inputs), rtol=0, atol=1e-5)


class TestPooling:
    def pool(self, length, **arguments):
        return keras.Sequential([keras.Input((length, 1)), keras.layers.GlobalAveragePooling1D(**arguments)])

    def test_open_length_is_refused(self):
        with pytest.raises(ValueError, match=r"averages over time.*StreamingModel\(model, length=...\)"):
            StreamingModel(self.pool(None))

    def test_given_length(self):
        inputs = np.arange(1.0, 5.0, dtype="float32").reshape(1, 4, 1)
        outputs, _ = run_steps(StreamingModel(self.pool(None), length=4), inputs)
        np.testing.assert_array_equal(outputs[0, :, 0], [0.25, 0.75, 1.5, 2.5])

    def test_given_length_wins(self):
        outputs, _ = run_steps(StreamingModel(self.pool(4), length=8), np.ones((1, 8, 1), "float32"))
        np.testing.assert_array_equal(outputs[0, :, 0], np.arange(1, 9) / 8)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_sums_in_half_precision_do_not_stop_growing(self, policy):
        """In bfloat16, 256 + 1 is 256."""
        model = self.pool(600, dtype=policy)
        outputs = StreamingModel(model)(np.ones((1, 600, 1), "float32"))
        assert outputs[0, -1, 0] == 1.0


def test_mixed_precision(dtype_policy):
    """States are carried in single precision, and `predict` and the compiled loop accept them."""
    dtype_policy("mixed_bfloat16")
    model = shake(classifier((40, 3), 2, channels=4, states=3, blocks=1))
    stream = StreamingModel(model)
    states = keras.tree.flatten(stream.initial_state(1))
    assert {keras.backend.standardize_dtype(state.dtype) for state in states} == {"float32"}
    inputs = signal(2, 40, 3)
    outputs = np.asarray(stream(inputs), "float32")[:, -1]
    # bfloat16 keeps 8 bits of a probability.
    np.testing.assert_allclose(outputs, np.asarray(ops.cast(model(inputs), "float32")), rtol=0, atol=0.02)


def test_save_and_load(small, tmp_path):
    inputs = signal(2, 12, 3)
    small.save(tmp_path / "stream.keras")
    loaded = keras.models.load_model(tmp_path / "stream.keras")
    assert loaded.length == 12
    np.testing.assert_array_equal(run_steps(loaded, inputs)[0], run_steps(small, inputs)[0])


def test_config_round_trip(small):
    copy = StreamingModel.from_config(small.get_config())
    assert copy.get_config() == small.get_config()


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(streaming, "_STREAMERS", dict(streaming._STREAMERS))


class Difference(keras.layers.Layer):
    """`y[t] = x[t] - x[t - 1]`."""

    def call(self, inputs):
        return inputs - ops.pad(inputs, [[0, 0], [1, 0], [0, 0]])[:, :-1]


class TestRegistration:
    def model(self):
        return keras.Sequential([keras.Input((6, 2)), Difference(name="edge"), DSS(2)])

    def test_an_unsupported_layer_is_refused_by_name(self):
        with pytest.raises(
            NotImplementedError,
            match=r"'edge' \(Difference\) cannot run step by step. Supported: .*DSS.*Dense.*S4Block.*register",
        ):
            StreamingModel(self.model())

    def test_a_layer_of_ones_own(self, registry):
        @streaming.register(Difference)
        class _Difference(streaming.Streamer):
            def initial_state(self, batch):
                return ops.zeros((batch, self.input_shape[-1]))

            def step(self, inputs, state):
                return inputs[0] - state, inputs[0]

        model, inputs = self.model(), signal(2, 6, 2)
        np.testing.assert_allclose(StreamingModel(model)(inputs), model(inputs), rtol=0, atol=1e-5)

    def test_subclasses_run_as_their_base(self):
        class MyDense(keras.layers.Dense):
            pass

        model = keras.Sequential([keras.Input((6, 2)), MyDense(3)])
        inputs = signal(2, 6, 2)
        np.testing.assert_allclose(run_steps(StreamingModel(model), inputs)[0], model(inputs), rtol=0, atol=1e-6)


class TestRefusals:
    def test_a_layer_called_twice(self):
        inputs = keras.Input((6, 2))
        layer = DSS(2, name="twice")
        with pytest.raises(ValueError, match="'twice' is called more than once"):
            StreamingModel(keras.Model(inputs, layer(layer(inputs))))

    def test_an_unbuilt_model(self):
        with pytest.raises(ValueError, match="not built yet"):
            StreamingModel(keras.Sequential([DSS(2)]))

    def test_several_inputs_or_outputs(self):
        a, b = keras.Input((6, 2)), keras.Input((6, 2))
        with pytest.raises(ValueError, match="expected one input"):
            StreamingModel(keras.Model([a, b], keras.layers.Add()([a, b])))
        with pytest.raises(ValueError, match="2 output"):
            StreamingModel(keras.Model(a, [keras.layers.Dense(1)(a), keras.layers.Dense(2)(a)]))

    def test_inputs_without_a_time_axis(self):
        with pytest.raises(ValueError, match=r"expected one input \[B, L, features\]"):
            StreamingModel(keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)]))
