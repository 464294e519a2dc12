"""States of DSS layers, given, returned and carried; and masks, which say where a sequence ends."""

import backends
import keras
import numpy as np
import pytest
import tensorflow
from dss_layers import CHANNELS, STATES, built, shaken
from keras import ops

from keras_s4.layers import DSS


def check_stateful():
    """Of either backend, in the process that has it."""
    layer = DSS(STATES, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(2, 20, CHANNELS)), layer])
    inputs = np.random.default_rng(0).normal(size=(2, 60, CHANNELS)).astype("float32")
    stateless = built()
    stateless.set_weights(layer.get_weights()[:-1])
    expected = np.asarray(stateless(inputs))
    for _ in range(2):
        pieces = [model.predict(piece, batch_size=2, verbose=0) for piece in np.split(inputs, 3, axis=1)]
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        layer.reset_state()


class TestState:
    def test_state_in_and_out_of_a_model(self):
        start = keras.Input((CHANNELS, STATES, 2))
        samples = keras.Input((None, CHANNELS))
        layer = DSS(STATES, return_state=True)
        model = keras.Model([samples, start], layer(samples, initial_state=start))
        assert [tuple(output.shape) for output in model.outputs] == [
            (None, None, CHANNELS),
            (None, CHANNELS, STATES, 2),
        ]
        inputs = np.random.default_rng(0).normal(size=(2, 50, CHANNELS)).astype("float32")
        whole, last = model.predict([inputs, layer.initial_state(2)], verbose=0)
        first, state = model.predict([inputs[:, :21], layer.initial_state(2)], verbose=0)
        second, state = model.predict([inputs[:, 21:], state], verbose=0)
        tolerance = {"rtol": 0, "atol": 1e-5 * np.abs(whole).max()}
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, **tolerance)
        np.testing.assert_allclose(state, last, rtol=0, atol=1e-5 * np.abs(last).max())

    def test_gradients_reach_the_initial_state(self):
        layer = shaken()
        inputs = np.random.default_rng(0).normal(size=(2, 30, CHANNELS))
        state = tensorflow.constant(np.random.default_rng(1).normal(size=(2, CHANNELS, STATES, 2)))
        with tensorflow.GradientTape() as tape:
            tape.watch(state)
            loss = ops.sum(layer(inputs, initial_state=state))
        gradient = np.asarray(tape.gradient(loss, state))
        change = np.random.default_rng(2).normal(size=state.shape)
        moved = ops.sum(layer(inputs, initial_state=state + change)) - loss
        np.testing.assert_allclose(np.sum(gradient * change), moved, rtol=1e-9)  # outputs are linear in the state

    def test_a_stateful_layer_goes_on_where_the_last_batch_ended(self):
        check_stateful()

    def test_a_stateful_layer_does_so_on_jax(self, request):
        backends.backend_process(request.config, "jax").evaluate(check_stateful)

    def test_a_stateful_layer_needs_the_batch_size(self):
        with pytest.raises(ValueError, match=r"must know the batch size.*batch_shape"):
            DSS(2, stateful=True).build((None, 5, 3))

    def test_only_stateful_layers_are_reset(self):
        with pytest.raises(ValueError, match=r"carries no state.*stateful=True"):
            built().reset_state()


class TestMasks:
    lengths = (40, 25, 1)

    def padded(self, layer, filling):
        inputs = np.random.default_rng(0).normal(size=(3, 40, CHANNELS))
        mask = np.arange(40) < np.array(self.lengths)[:, None]
        inputs[~mask] = filling
        return inputs, layer(inputs, mask=ops.convert_to_tensor(mask))

    @pytest.mark.parametrize("bidirectional", [False, True])
    @pytest.mark.parametrize("filling", [0.0, 1e3, np.nan])
    def test_padding_changes_nothing(self, bidirectional, filling):
        layer = shaken(bidirectional=bidirectional)
        inputs, outputs = self.padded(layer, filling)
        for sequence, result, length in zip(inputs, np.asarray(outputs), self.lengths, strict=True):
            expected = np.asarray(layer(sequence[None, :length]))[0]
            np.testing.assert_allclose(result[:length], expected, rtol=0, atol=1e-10)

    def test_the_state_is_the_one_after_the_last_unmasked_step(self):
        layer = shaken(return_state=True)
        start = np.random.default_rng(3).normal(size=(3, CHANNELS, STATES, 2))
        inputs = np.random.default_rng(0).normal(size=(3, 40, CHANNELS))
        mask = ops.convert_to_tensor(np.arange(40) < np.array(self.lengths)[:, None])
        _, state = layer(inputs, initial_state=start, mask=mask)
        for index, length in enumerate(self.lengths):
            one = slice(index, index + 1)
            _, expected = layer(inputs[one, :length], initial_state=start[one])
            np.testing.assert_allclose(state[one], expected, rtol=0, atol=1e-10)

    def test_masked_steps_in_between_are_zeros(self):
        layer = shaken()
        inputs = np.random.default_rng(0).normal(size=(1, 10, CHANNELS))
        mask = np.arange(10)[None] % 3 != 1
        outputs = layer(inputs, mask=ops.convert_to_tensor(mask))
        np.testing.assert_allclose(outputs, layer(inputs * mask[:, :, None]), rtol=0, atol=1e-12)
