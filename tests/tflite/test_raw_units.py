"""Models with normalization: raw sensor values at the input, targets in their units at the output, and a front."""

import keras
import numpy as np
import pytest
from conformance import shake

import keras_s4
from keras_s4 import models, training
from keras_s4.tflite import convert

LENGTH = 32
LEVELS, UNITS = np.array([1e5, 0.0, 7.0]), np.array([30.0, 0.4, 0.0])


@pytest.fixture(scope="module")
def windows():
    """A barometer in Pa, an acceleration in g, and something that stays as it is."""
    walks = np.cumsum(np.random.default_rng(0).normal(size=(48, LENGTH, 3)), axis=1) / 4
    return (LEVELS + UNITS * walks).astype(np.float32)


def raw_classifier(windows, **arguments):
    keras.utils.set_random_seed(0)
    sizes = {"channels": 6, "states": 3, "blocks": 1}
    return models.classifier((LENGTH, 3), 3, **sizes, normalization=windows, **arguments)


@pytest.fixture(scope="module")
def model(windows):
    return raw_classifier(windows)


def test_firmware_takes_raw_units_without_an_operation(model, windows):
    converted = convert(model, windows)
    written = {tensor.name for operation in converted.program.operations for tensor in operation.writes()}
    assert not [name for name in written if name.startswith("normalization/")]
    (encoding,) = converted.program.encodings.values()
    assert abs(encoding.offset[0] - 1e5) < 500
    assert encoding.unit[0] > 30 * encoding.unit[1]
    expected = model.predict(windows, verbose=0)
    np.testing.assert_allclose(converted.predict(windows), expected, atol=0.03)
    assert converted.verify(model, windows[:6]).bit_exact


def test_what_is_done_to_a_model_keeps_its_units(model, windows):
    mean = np.asarray(model.get_layer("normalization").mean)
    for changed in (
        keras_s4.reduce(model, keras_s4.ranks.uniform(model, fraction=0.5)),
        keras_s4.at_rate(model, 2.0),
        keras_s4.quantize_aware(model, windows),
    ):
        layer = changed.get_layer("normalization")
        np.testing.assert_array_equal(np.asarray(layer.mean), mean)
        np.testing.assert_array_equal(layer.deviation, model.get_layer("normalization").deviation)
        assert np.isfinite(np.asarray(changed(windows[:4, : changed.input_shape[1]]))).all()


def test_an_error_bound_knows_the_units(model, windows):
    small = keras_s4.reduce(model, keras_s4.ranks.uniform(model, fraction=0.7))
    bound = keras_s4.error_bound(model, small, windows[:8], local="data")
    assert np.all(bound.bound >= bound.measured)
    assert np.all(bound.measured >= 0)


def test_a_padded_model_of_raw_units_with_a_front_is_exported(windows):
    padded = windows.copy()
    padded[::2, 20:] = -1.0
    model = raw_classifier(padded, mask_value=-1.0, front=(8, 4))
    np.testing.assert_allclose(model.get_layer("normalization").mean, LEVELS, rtol=0.1, atol=0.5)
    converted = convert(model, padded)
    np.testing.assert_allclose(converted.predict(padded), model.predict(padded, verbose=0), atol=0.04)


def test_quantities_come_out_in_their_units(windows):
    keras.utils.set_random_seed(0)
    model = models.regressor((LENGTH, 3), 2, 6, 3, 1, normalization=True)
    targets = np.random.default_rng(0).normal(size=(48, 2)) * [20.0, 5.0] + [300.0, -40.0]
    shake(model)
    training.normalize_to(model, windows, targets)
    converted = convert(model, windows)
    expected = model.predict(windows, verbose=0)
    swing = expected.std(axis=0)
    np.testing.assert_array_less(np.abs(converted.predict(windows) - expected).max(axis=0), 0.15 * swing + 0.05)
