"""Padded sequences in a stream: what Keras gives for them, at every step."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS, LastStep, RecentAverage, S4Block, SlidingAverage
from keras_s4.models import classifier, forecaster, sequence_to_sequence
from keras_s4.streaming import StreamingModel

LENGTH, FEATURES, VOCABULARY = 10, 3, 7
# Real steps of each sequence.
COUNTS = (10, 7, 1, 4)
SIZE = {"channels": 4, "states": 2, "blocks": 1}


def sequential(*stack):
    return keras.Sequential([keras.Input((LENGTH, FEATURES)), *stack])


def functional(*stack):
    inputs = outputs = keras.Input((LENGTH, FEATURES))
    for layer in stack:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def with_mask_argument():
    """The mask computed with keras.ops, and given to layers by hand."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    mask = keras.ops.not_equal(tokens, 0)
    hidden = layers.GRU(4, return_sequences=True)(layers.Embedding(VOCABULARY, 4)(tokens), mask=mask)
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(hidden, mask=mask))


def masked_inside():
    inputs = keras.Input((LENGTH, FEATURES))
    inner = functional(layers.Masking(), layers.Dense(4))
    return keras.Model(inputs, layers.GRU(4)(inner(inputs)))


def averaged_inside():
    inner = functional(layers.Dense(4), layers.GlobalAveragePooling1D())
    inputs = keras.Input((LENGTH, FEATURES))
    return keras.Model(inputs, layers.Dense(2)(inner(layers.Masking()(inputs))))


@keras.saving.register_keras_serializable(package="test_padded_streams")
class MaskOfZeros(keras.layers.Identity):
    """A layer that makes a mask by a rule of its own."""

    def compute_mask(self, inputs, mask=None):
        return keras.ops.any(inputs != 0.0, axis=-1)


POOLED = {
    "GRU": lambda: functional(layers.Masking(), layers.GRU(4)),
    "LSTM, sequential": lambda: sequential(layers.Masking(), layers.Dense(4), layers.LSTM(4), layers.Dense(2)),
    "average": lambda: functional(layers.Dropout(0.1), layers.Masking(), layers.GlobalAveragePooling1D()),
    "average of normalised steps": lambda: functional(
        layers.Masking(), layers.LayerNormalization(), layers.Dense(5), layers.GlobalAveragePooling1D(), layers.Dense(2)
    ),
    "DSS and average": lambda: sequential(layers.Masking(), DSS(4), layers.Dense(4), layers.GlobalAveragePooling1D()),
    "recent average": lambda: functional(layers.Masking(), S4Block(3), RecentAverage(4.0), layers.Dense(2)),
    "sliding average": lambda: functional(layers.Masking(), layers.Dense(4), SlidingAverage(4, 1), layers.Dense(2)),
    "blocks, last step": lambda: functional(layers.Masking(), layers.Dense(4), S4Block(3), LastStep(), layers.Dense(2)),
    "classifier": lambda: classifier((LENGTH, FEATURES), 3, mask_value=0.0, **SIZE),
    "classifier, last step": lambda: classifier((LENGTH, FEATURES), 3, mask_value=0.0, pooling="last", **SIZE),
    "classifier of tokens": lambda: classifier((LENGTH,), 3, vocabulary=VOCABULARY, **SIZE),
    "classifier of open length": lambda: classifier((None, FEATURES), 3, mask_value=0.0, **SIZE),
    "forecaster": lambda: forecaster((LENGTH, FEATURES), 2, mask_value=0.0, **SIZE),
    "mask argument": with_mask_argument,
    "masked inside": masked_inside,
    "averaged inside": averaged_inside,
    "mask of one's own": lambda: functional(MaskOfZeros(), layers.GRU(4)),
}
SEQUENCES = {
    "GRU": lambda: functional(layers.Masking(), layers.GRU(4, return_sequences=True)),
    "sequence_to_sequence": lambda: sequence_to_sequence((LENGTH, FEATURES), 2, mask_value=0.0, **SIZE),
}


def padded(model, place):
    """Sequences, and which of their steps are real."""
    random = np.random.default_rng(0)
    shape = (len(COUNTS), LENGTH)
    tokens = len(model.inputs[0].shape) == 2
    x = random.integers(1, VOCABULARY, shape) if tokens else random.normal(size=(*shape, FEATURES)).astype("float32")
    real = np.arange(LENGTH) < np.array(COUNTS)[:, None]
    real = real[:, ::-1] if place == "front" else real
    x[~real] = 0
    return x, real


@pytest.mark.parametrize("name", POOLED)
def test_every_step_is_what_keras_gives_for_the_sequence_so_far(name):
    model = POOLED[name]()
    streaming = StreamingModel(model)
    for place in ("end", "front"):
        x, real = padded(model, place)
        stream = streaming.predict(x, verbose=0)
        np.testing.assert_allclose(stream[:, -1], model.predict(x, verbose=0), atol=2e-5)
        # The model on the sequence so far, padded to its length at the end, where no step is real before.
        started = np.logical_or.accumulate(real, axis=1)
        so_far = [
            np.where((np.arange(LENGTH) <= step).reshape(1, -1, *[1] * (x.ndim - 2)), x, 0) for step in range(LENGTH)
        ]
        expected = model.predict(np.stack(so_far, axis=1)[started], batch_size=started.size, verbose=0)
        np.testing.assert_allclose(stream[started], expected, atol=2e-5)
        assert not stream[~started].any()


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_those_of_keras_at_real_steps(name):
    model = SEQUENCES[name]()
    streaming = StreamingModel(model)
    for place in ("end", "front"):
        x, real = padded(model, place)
        stream = streaming.predict(x, verbose=0)
        np.testing.assert_allclose(stream[real], model.predict(x, verbose=0)[real], atol=2e-5)


def test_recurrent_layers_rest_in_gaps():
    model = functional(layers.Masking(), layers.GRU(4, return_sequences=True), layers.GlobalAveragePooling1D())
    x, _ = padded(model, "end")
    x[:, 3:5] = 0
    x[2, 6] = 1.0
    stream = StreamingModel(model).predict(x[[0, 1, 3]], verbose=0)
    np.testing.assert_allclose(stream[:, -1], model.predict(x[[0, 1, 3]], verbose=0), atol=2e-5)


def test_a_live_stream_has_no_padding():
    """A sample of zeros is a sample, as on a device."""
    model = functional(layers.Masking(), layers.Dense(2, bias_initializer="ones"), layers.GlobalAveragePooling1D())
    stream = StreamingModel(model)
    output, state = stream.step(np.zeros((1, FEATURES)), stream.initial_state(1))
    np.testing.assert_allclose(output, [[1.0, 1.0]])
    chunk, _ = stream.chunk(np.zeros((1, 2, FEATURES)), state)
    np.testing.assert_allclose(chunk, np.ones((1, 2, 2)))


def test_behind_the_training_length_older_steps_fade():
    model = functional(layers.Masking(), layers.GlobalAveragePooling1D())
    stream = StreamingModel(model, length=4)
    x = np.random.default_rng(0).normal(size=(1, 9, FEATURES))
    outputs, _ = stream.chunk(x, stream.initial_state(1))
    mean = np.zeros(FEATURES)
    for step in range(9):
        mean = mean + (x[0, step] - mean) / min(step + 1, 4)
        np.testing.assert_allclose(outputs[0, step], mean, atol=1e-6)


REFUSED = {
    "convolution": (
        lambda: functional(layers.Masking(), layers.Conv1D(4, 3, padding="causal", name="conv"), layers.GRU(4)),
        r"padding at the end .*Layer 'conv' \(Conv1D\) does not pass the mask on.*Use layers that pass masks on",
    ),
    "maximum": (
        lambda: functional(layers.Masking(), layers.GlobalMaxPooling1D(name="largest")),
        r"layer 'largest' \(GlobalMaxPooling1D\).*takes the maximum over padding too.*Use GlobalAveragePooling1D",
    ),
    "reshape": (
        lambda: functional(layers.Masking(), layers.Reshape((-1, FEATURES), name="shape"), layers.LSTM(4)),
        r"Layer 'shape' \(Reshape\) does not pass the mask on",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_compute_with_padding_are_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        StreamingModel(make())


def test_padding_that_a_layer_looks_back_into_is_refused():
    """Behind a bias a padded step is not zero, and a convolution reads it; at the end nobody does."""
    model = functional(
        layers.Masking(), layers.Dense(4, bias_initializer="ones"), layers.Conv1D(4, 3, padding="causal")
    )
    stream = StreamingModel(model)
    x, real = padded(model, "end")
    np.testing.assert_allclose(stream.predict(x, verbose=0)[real], model.predict(x, verbose=0)[real], atol=2e-5)
    with pytest.raises(ValueError, match=r"padding in front of a sequence.*Pad sequences at their end"):
        stream.predict(padded(model, "front")[0], verbose=0)


def test_gaps_in_front_of_a_dss_layer_are_refused():
    model = functional(layers.Masking(), DSS(4))
    x, _ = padded(model, "end")
    x[0, 4:6] = 0
    with pytest.raises(ValueError, match=r"in the middle of a sequence.*Cut sequences where steps are missing"):
        StreamingModel(model).predict(x, verbose=0)


def test_masks_that_differ_are_refused():
    tokens = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.GRU(4, return_sequences=True)(layers.Embedding(VOCABULARY, 4, mask_zero=True)(tokens))
    model = keras.Model(tokens, layers.GRU(4)(hidden, mask=keras.ops.not_equal(tokens, 3)))
    with pytest.raises(ValueError, match="calls layers with masks that differ"):
        StreamingModel(model).predict(padded(model, "end")[0], verbose=0)


def test_sequences_without_a_real_step_are_refused():
    model = functional(layers.Masking(), layers.GRU(4))
    x, _ = padded(model, "end")
    x[1] = 0
    with pytest.raises(ValueError, match="masks all steps of 1 of 4 sequences, the first of them number 1"):
        StreamingModel(model).predict(x, verbose=0)
