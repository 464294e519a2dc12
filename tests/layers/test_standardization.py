"""Features in units of their deviation: against numpy, and that nothing that is done to a model loses them."""

import keras
import numpy as np
import pytest

from keras_s4.layers import Standardization

UNITS = np.array([30.0, 0.4, 1.0])
LEVELS = np.array([1e5, 0.1, 7.0])


def steps(count=600):
    noise = np.random.default_rng(0).normal(size=(count, 3))
    noise[:, 2] = 0.0  # a constant feature
    return (LEVELS + UNITS * noise).astype(np.float32)


@pytest.fixture(scope="module")
def adapted():
    layer = Standardization()
    layer.adapt(steps())
    return layer


def test_features_have_mean_0_and_deviation_1(adapted):
    found = np.asarray(adapted(steps().reshape(6, 100, 3))).reshape(-1, 3)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=2e-3)
    np.testing.assert_allclose(found.std(axis=0), [1.0, 1.0, 0.0], rtol=1e-3)
    assert adapted.is_adapted
    assert not adapted.trainable_weights


def test_inverted_it_gives_the_units_back(adapted):
    inverse = Standardization(invert=True)
    inverse.adapt(steps())
    np.testing.assert_allclose(inverse(adapted(steps())), steps(), rtol=1e-6, atol=1e-7)


def test_outliers_do_not_move_a_robust_one():
    data = steps()
    data[:20] = 1e9
    layer = Standardization()
    layer.adapt(data, robust=True)
    assert np.all(np.abs(np.asarray(layer.mean) - LEVELS) < [0.2 * UNITS[0], 0.2 * UNITS[1], 1e-6])
    np.testing.assert_allclose(layer.deviation[:2], UNITS[:2], rtol=0.2)


def test_a_feature_that_mostly_rests_has_its_deviation():
    data = np.zeros((400, 1), np.float32)
    data[:40] = 5.0
    layer = Standardization()
    layer.adapt(data, robust=True)
    np.testing.assert_allclose(layer.deviation, data.std(), rtol=1e-5)


def test_rounding_is_no_deviation():
    data = np.float32(1e5) + np.float32(0.0078125) * np.random.default_rng(0).integers(0, 2, (500, 1)).astype(
        np.float32
    )
    layer = Standardization()
    layer.adapt(data)
    np.testing.assert_array_equal(layer.deviation, 1.0)


def test_set_weights_cloning_and_saving_keep_it(adapted, tmp_path):
    inputs = keras.Input((10, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(adapted(inputs)))
    x = steps(20).reshape(2, 10, 3)
    expected = np.asarray(model(x))
    clone = keras.models.clone_model(model)
    assert np.abs(np.asarray(clone(x)) - expected).max() > 1.0
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x), expected)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), expected)


def test_raw_units_do_not_overflow_in_half_precision():
    layer = Standardization(dtype="mixed_float16")
    layer.adapt(steps())
    inputs = keras.Input((3,))
    found = np.asarray(keras.Model(inputs, layer(inputs))(steps(50)))
    assert np.isfinite(found).all()
    assert found.dtype == np.float32


def test_masks_are_passed_on(adapted):
    inputs = keras.Input((10, 3))
    mask = adapted.compute_mask(inputs, "the mask")
    assert mask == "the mask"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 2), np.float32), r"shape \(4, 2\).*expected \[..., 3\]"),
        (np.full((4, 3), np.nan, np.float32), "NaN"),
        (np.zeros((0, 3), np.float32), r"shape \(0, 3\)"),
    ],
)
def test_refused_data(data, message):
    layer = Standardization()
    layer.build((None, 3))
    with pytest.raises(ValueError, match=message):
        layer.adapt(data)
