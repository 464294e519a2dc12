"""Steps, chunks and loops of steps as compiled functions, against single steps."""

import keras
import numpy as np
import pytest
from conformance import shake
from registries import restored
from streams import by_steps, signal

from keras_s4 import streaming
from keras_s4.layers import DSS, S4Block
from keras_s4.streaming import StreamingModel


@pytest.fixture
def registry():
    with restored():
        yield


@keras.saving.register_keras_serializable(package="tests")
class Counted(keras.layers.Layer):
    """The identity."""

    def call(self, inputs):
        return inputs


class TestCompiled:
    @pytest.fixture
    def traces(self, registry):
        """A list that grows by one each time a `Counted` layer runs in Python."""
        calls = []

        @streaming.register(Counted)
        class _Counted(streaming.Streamer):
            def step(self, inputs, state):
                calls.append(inputs[0].shape)
                return inputs[0], ()

        return calls

    def model(self):
        return shake(
            keras.Sequential([keras.Input((12, 3)), Counted(), S4Block(2), keras.layers.AveragePooling1D(2), DSS(2)])
        )

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_it_equals_the_step_and_is_traced_once_a_batch_size(self, traces, jit_compile):
        stream = StreamingModel(self.model())
        inputs = signal(2, 12, 3)
        expected, _ = by_steps(stream, inputs)
        step = stream.compiled_step(jit_compile=jit_compile)
        traces.clear()
        outputs, states = [], stream.initial_state(2)
        for t in range(12):
            # Whatever arrays come: of double precision, lists, tensors; and states that were stored in between.
            samples = [inputs[:, t], inputs[:, t].astype("float64"), inputs[:, t].tolist()][t % 3]
            output, states = step(samples, states)
            states = keras.tree.map_structure(np.asarray, states) if t % 2 else states
            outputs.append(np.asarray(output))
        np.testing.assert_allclose(np.stack(outputs, axis=1), expected, rtol=0, atol=1e-5)
        assert len(traces) == 1
        step(inputs[:1, 0], stream.initial_state(1))
        assert len(traces) == 2

    def test_chunks(self, traces):
        model = keras.Sequential([keras.Input((12, 3)), Counted(), S4Block(2), keras.layers.GRU(2)])
        stream = StreamingModel(shake(model))
        inputs = signal(2, 12, 3)
        expected, _ = by_steps(stream, inputs)
        chunk, states, outputs = stream.compiled_chunk(), stream.initial_state(2), []
        for start in (0, 4, 8):
            output, states = chunk(inputs[:, start : start + 4], states)
            outputs.append(np.asarray(output))
            if start == 0:
                traces.clear()
        np.testing.assert_allclose(np.concatenate(outputs, axis=1), expected, rtol=0, atol=1e-5)
        assert not traces, "the second chunk of one length compiled anew"

    @pytest.mark.parametrize("layer", [S4Block(2), keras.layers.Conv1D(4, 3, strides=2, padding="causal")])
    def test_steps_in_a_loop(self, layer):
        model = keras.Sequential([keras.Input((12, 3)), keras.layers.Dense(4), layer, keras.layers.GRU(2)])
        stream = StreamingModel(shake(model))
        inputs = signal(2, 12, 3)
        expected, _ = by_steps(stream, inputs)
        steps, states, outputs = stream.compiled_steps(), stream.initial_state(2), []
        for start, end in ((0, 5), (5, 6), (6, 12)):
            output, states = steps(inputs[:, start:end], states)
            outputs.append(np.asarray(output))
        np.testing.assert_allclose(np.concatenate(outputs, axis=1), expected, rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match=r"Got samples of shape \(2, 12, 4\); expected \[B, T, 3\]"):
            stream.steps(signal(2, 12, 4), states)

    def test_it_follows_the_weights(self, traces):
        stream = StreamingModel(self.model())
        step = stream.compiled_step()
        inputs = signal(1, 12, 3)
        step(inputs[:, 0], stream.initial_state(1))
        stream.model.set_weights(shake(self.model(), seed=5).get_weights())
        states, other = stream.initial_state(1), stream.initial_state(1)
        traces.clear()
        for t in range(12):
            output, states = step(inputs[:, t], states)
        assert not traces
        for t in range(12):
            expected, other = stream.step(inputs[:, t], other)
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)

    def test_tokens(self):
        model = keras.Sequential([keras.Input((5,), dtype="int32"), keras.layers.Embedding(4, 2), keras.layers.GRU(2)])
        stream = StreamingModel(model)
        output, _ = stream.compiled_step()([3, 1], stream.initial_state(2))
        np.testing.assert_allclose(output, stream.step(np.array([3, 1]), stream.initial_state(2))[0], rtol=0, atol=1e-6)
