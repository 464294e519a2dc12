"""Streaming models against their convolution mode."""

import keras
import numpy as np
import pytest
from conformance import shake
from keras import ops
from registries import restored
from streams import assert_streams, by_steps, signal

from keras_s4 import streaming
from keras_s4.layers import DSS, S4Block
from keras_s4.models import classifier
from keras_s4.streaming import Effect, StreamingModel


def sequence_to_sequence(length, channels=4, states=4, blocks=6):
    inputs = keras.Input((length, 2))
    hidden = keras.layers.Dense(channels)(inputs)
    for _ in range(blocks):
        hidden = S4Block(states, dropout=0.1)(hidden)
    return keras.Model(inputs, keras.layers.Dense(3)(hidden))


class DifferenceStreamer(streaming.Streamer):
    """Each sample less the one before it."""

    def initial_state(self, batch):
        return ops.zeros((batch, self.input_shape[-1]))

    def step(self, inputs, state):
        return inputs[0] - state, inputs[0]


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
    outputs, _ = by_steps(small, inputs)
    np.testing.assert_allclose(outputs, small.predict(inputs, verbose=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cuts", [(6,), (1, 2, 11), tuple(range(1, 12))])
def test_a_stream_in_chunks_gives_equal_outputs(small, cuts):
    inputs = signal(2, 12, 3)
    whole, _ = by_steps(small, inputs)
    states, parts = small.initial_state(2), []
    for chunk in np.split(inputs, cuts, axis=1):
        outputs, states = by_steps(small, chunk, states)
        states = keras.tree.map_structure(np.asarray, states)  # a state can be stored
        parts.append(outputs)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_initial_state_starts_anew(small):
    inputs = signal(2, 12, 3)
    first, states = by_steps(small, inputs)
    continued, _ = by_steps(small, inputs, states)
    again, _ = by_steps(small, inputs, small.initial_state(2))
    np.testing.assert_array_equal(again, first)
    assert np.abs(continued - first).max() > 1e-3


def test_streams_of_a_batch_do_not_mix(small):
    inputs = signal(2, 5, 3)
    both, _ = by_steps(small, inputs)
    alone, _ = by_steps(small, inputs[1:])
    np.testing.assert_allclose(both[1:], alone, rtol=0, atol=1e-6)


def test_streaming_follows_the_weights_of_the_model(small):
    model = classifier((12, 3), 2, channels=4, states=3, blocks=1)
    stream = StreamingModel(model)
    model.set_weights(small.model.get_weights())
    inputs = signal(1, 4, 3)
    np.testing.assert_array_equal(by_steps(stream, inputs)[0], by_steps(small, inputs)[0])
    assert len(stream.weights) == len(model.weights)


def test_a_model_without_states():
    model = keras.Sequential([keras.Input((7, 3)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    inputs = signal(2, 7, 3)
    stream = StreamingModel(model)
    np.testing.assert_allclose(stream(inputs), model(inputs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(by_steps(stream, inputs)[0], model(inputs), rtol=0, atol=1e-6)


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
    outputs, _ = by_steps(StreamingModel(shake(model)), inputs)
    np.testing.assert_allclose(outputs[:, -1], model(inputs), rtol=0, atol=1e-5)


class TestPooling:
    def pool(self, length, **arguments):
        return keras.Sequential([keras.Input((length, 1)), keras.layers.GlobalAveragePooling1D(**arguments)])

    def test_open_length_is_refused(self):
        with pytest.raises(ValueError, match=r"averages over time.*StreamingModel\(model, length=...\)"):
            StreamingModel(self.pool(None))

    def test_given_length(self):
        inputs = np.arange(1.0, 5.0, dtype="float32").reshape(1, 4, 1)
        outputs, _ = by_steps(StreamingModel(self.pool(None), length=4), inputs)
        np.testing.assert_array_equal(outputs[0, :, 0], [0.25, 0.75, 1.5, 2.5])

    def test_given_length_wins(self):
        outputs, _ = by_steps(StreamingModel(self.pool(4), length=8), np.ones((1, 8, 1), "float32"))
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
    np.testing.assert_array_equal(by_steps(loaded, inputs)[0], by_steps(small, inputs)[0])


def test_config_round_trip(small):
    copy = StreamingModel.from_config(small.get_config())
    assert copy.get_config() == small.get_config()


@pytest.fixture
def registry():
    with restored():
        yield


class Difference(keras.layers.Layer):
    """`y[t] = x[t] - x[t - 1]`."""

    def call(self, inputs):
        return inputs - ops.pad(inputs, [[0, 0], [1, 0], [0, 0]])[:, :-1]


class Smooth(keras.layers.Layer):
    """`y[j] = (x[2 j] + x[2 j + 1]) / 2`."""

    def call(self, inputs):
        return (inputs[:, :-1:2] + inputs[:, 1::2]) / 2


class Weigh(keras.layers.Layer):
    """`y[t] = a[t] * (b[0] + ... + b[t])`."""

    def call(self, inputs):
        return inputs[0] * ops.cumsum(inputs[1], axis=1)


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
        streaming.register(Difference)(DifferenceStreamer)

        model, inputs = self.model(), signal(2, 6, 2)
        np.testing.assert_allclose(StreamingModel(model)(inputs), model(inputs), rtol=0, atol=1e-5)

    def test_a_layer_of_ones_own_without_a_chunk(self, registry):
        """The base class loops its steps, of several inputs too."""

        @streaming.register(Weigh, effect=Effect(lasting=True, several=True))
        class _Weigh(streaming.Streamer):
            def initial_state(self, batch):
                return {"sum": ops.zeros((batch, *self.input_shape[1][2:]))}

            def step(self, inputs, state):
                total = state["sum"] + inputs[1]
                return inputs[0] * total, {"sum": total}

        inputs = keras.Input((12, 3))
        model = keras.Model(inputs, Weigh()([keras.layers.Dense(2)(inputs), keras.layers.Dense(1)(inputs)]))
        assert_streams(model, signal(2, 12, 3), 1e-5)

    def test_a_layer_of_ones_own_with_a_chunk(self, registry, monkeypatch):
        @streaming.register(Difference)
        class _WithChunk(DifferenceStreamer):
            def chunk(self, inputs, state):
                before = ops.concatenate([state[:, None], inputs[0][:, :-1]], axis=1)
                return inputs[0] - before, inputs[0][:, -1]

        model = keras.Sequential([keras.Input((12, 2)), Difference(), Difference()])
        assert_streams(model, signal(2, 12, 2), 1e-5)
        monkeypatch.setattr("keras_s4.streaming.loop.StepLoop.__call__", None)
        stream = StreamingModel(model)
        outputs, _ = stream.chunk(signal(2, 12, 2), stream.initial_state(2))
        np.testing.assert_allclose(outputs, model(signal(2, 12, 2)), rtol=0, atol=1e-5)

    def test_a_layer_of_ones_own_that_drops_steps(self, registry):
        @streaming.register(Smooth, effect=Effect(stride=2, delay=1))
        class _Smooth(streaming.Streamer):
            def initial_state(self, batch):
                return ops.zeros((batch, self.input_shape[-1]))

            def step(self, inputs, state):
                return (inputs[0] + state) / 2, inputs[0]

        model = keras.Sequential([keras.Input((12, 2)), Smooth(), DSS(2), Smooth(), keras.layers.GRU(2)])
        stream = assert_streams(model, signal(2, 12, 2), 1e-5)
        assert (stream.period, stream.phase) == (4, 3)

    def test_a_streamer_that_does_not_say_that_steps_are_dropped(self, registry):
        streaming.register(Smooth)(streaming.Streamer)
        with pytest.raises(ValueError, match=r"'half' \(Smooth\) gives 6 steps in convolution mode, but 12.*effect="):
            StreamingModel(keras.Sequential([keras.Input((12, 2)), Smooth(name="half")]))

    def test_a_streamer_that_says_itself_what_is_done_in_time(self, registry):
        class Saying(streaming.Streamer):
            stride = 2

        with pytest.raises(TypeError, match=r"Saying says with stride .* effect=Effect"):
            streaming.register(Smooth)(Saying)

    def test_subclasses_run_as_their_base(self):
        class MyDense(keras.layers.Dense):
            pass

        model = keras.Sequential([keras.Input((6, 2)), MyDense(3)])
        inputs = signal(2, 6, 2)
        np.testing.assert_allclose(by_steps(StreamingModel(model), inputs)[0], model(inputs), rtol=0, atol=1e-6)


class TestChunks:
    def test_samples_of_another_shape(self, small):
        states = small.initial_state(2)
        with pytest.raises(ValueError, match=r"shape \(2, 5, 3\); expected \[B, 3\]"):
            small.step(signal(2, 5, 3), states)
        with pytest.raises(ValueError, match=r"shape \(2, 4\); expected \[B, 3\]"):
            small.step(signal(2, 4), states)
        with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \[B, T, 3\]"):
            small.chunk(signal(2, 3), states)

    def test_chunks_and_steps_of_one_stream(self, small):
        assert_streams(small.model, signal(2, 12, 3), 1e-5)

    def test_the_state_after_a_chunk_is_that_after_its_steps(self, small):
        inputs = signal(2, 12, 3)
        _, by_chunk = small.chunk(inputs, small.initial_state(2))
        _, by_step = by_steps(small, inputs)
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max()), by_chunk, by_step
        )
