"""Several models as one, against numpy."""

import keras
import numpy as np
import pytest

from keras_s4 import average_models, layers, models, reduce, tflite


def make(seed, **kwargs):
    keras.utils.set_random_seed(seed)
    return models.classifier((40, 2), 3, 4, 4, 1, **kwargs)


@pytest.fixture(scope="module")
def three():
    return [make(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def sequences():
    return np.random.default_rng(0).normal(size=(12, 40, 2)).astype("float32")


def logits_of(model, sequences):
    # A softmax forgets a number that is added to all logits, of which none is left in differences.
    logits = np.log(np.asarray(model.predict(sequences, verbose=0), np.float64))
    return logits - logits.mean(axis=-1, keepdims=True)


def test_logits_are_averaged(three, sequences):
    found = logits_of(average_models(three), sequences)
    np.testing.assert_allclose(found, np.mean([logits_of(model, sequences) for model in three], axis=0), atol=1e-5)


def test_members_are_copies(three, sequences):
    before = three[0].predict(sequences, verbose=0)
    average = average_models(three)
    average.set_weights([np.zeros_like(weight) for weight in average.get_weights()])
    np.testing.assert_array_equal(three[0].predict(sequences, verbose=0), before)


def test_quantities_and_layers_that_only_activate_are_averaged_as_they_are(sequences):
    def ends_with(*last):
        inputs = keras.Input((40, 2))
        hidden = keras.layers.GlobalAveragePooling1D()(layers.DSS(2)(inputs))
        for layer in last:
            hidden = layer(hidden)
        return keras.Model(inputs, hidden)

    def softmax():
        return keras.layers.Dense(2), keras.layers.Softmax()

    def recurrent():
        return keras.layers.Reshape((2, 1)), keras.layers.GRU(2, activation="tanh")

    for last in (softmax, recurrent, lambda: [keras.layers.Dense(2)]):
        pair = [ends_with(*last()) for _ in range(2)]
        expected = np.mean([model.predict(sequences, verbose=0) for model in pair], axis=0)
        np.testing.assert_allclose(average_models(pair).predict(sequences, verbose=0), expected, atol=1e-6)


def test_a_last_layer_that_is_called_elsewhere_too_keeps_its_activation(sequences):
    def with_shared_head():
        inputs = keras.Input((40, 2))
        head = keras.layers.Dense(2, activation="softmax")
        return keras.Model(inputs, head(keras.layers.GlobalAveragePooling1D()(head(inputs))))

    pair = [with_shared_head() for _ in range(2)]
    expected = np.mean([model.predict(sequences, verbose=0) for model in pair], axis=0)
    np.testing.assert_allclose(average_models(pair).predict(sequences, verbose=0), expected, atol=1e-6)


def test_it_is_saved_streamed_reduced_and_exported(three, sequences, tmp_path):
    average = average_models(three)
    average.save(tmp_path / "average.keras")
    loaded = keras.saving.load_model(tmp_path / "average.keras")
    expected = average.predict(sequences, verbose=0)
    np.testing.assert_array_equal(loaded.predict(sequences, verbose=0), expected)
    smaller = reduce(average, 2)
    assert smaller.count_params() < average.count_params()
    found = tflite.convert(smaller, sequences).verify(smaller, sequences)
    assert found.bit_exact
    assert found.streamed_deviation < 1e-5


def test_refusals(three):
    with pytest.raises(TypeError, match="got 'a'; expected Keras models"):
        average_models(["a", three[0]])
    with pytest.raises(ValueError, match="got 1 models"):
        average_models(three[:1])
    with pytest.raises(ValueError, match=r"different input shapes: \(None, 40, 2\), \(None, 41, 2\)"):
        average_models([three[0], models.classifier((41, 2), 3, 4, 4, 1)])
    with pytest.raises(ValueError, match="different last activations: softmax, linear"):
        average_models([three[0], models.regressor((40, 2), 3, 4, 4, 1)])
    two_outputs = keras.Model(three[0].inputs, [three[0].output, three[0].output])
    with pytest.raises(ValueError, match="2 outputs; expected one of each"):
        average_models([two_outputs, two_outputs])
