import keras
import numpy as np
import pytest

from keras_s4.tflite.lowering.calibration import (
    check_representative_data,
    int8_range,
    power_of_two_scale,
    symmetric_int8_scale,
)


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((10, 3)), keras.layers.Dense(2)], name="tiny")


@pytest.mark.parametrize("largest", [1e-6, 0.3, 1.0, 1.7, 1234.5])
@pytest.mark.parametrize("bits", [8, 13, 16])
def test_power_of_two_scale_is_the_smallest_that_fits(largest, bits):
    scale = power_of_two_scale(largest, bits, headroom=1.0)
    limit = 2 ** (bits - 1) - 1
    assert np.log2(scale) == np.rint(np.log2(scale))
    assert largest / scale <= limit < largest / (scale / 2)


def test_range_spends_nothing_on_what_the_function_flattens():
    values = np.random.default_rng(0).normal(scale=4.0, size=20_000)
    scale, zero_point = int8_range(values, lambda x: np.maximum(x, 0.0))
    lowest = (-128 - zero_point) * scale
    plain_scale, _ = int8_range(values, lambda x: x)
    assert lowest > 0.6 * values.min()
    assert scale < plain_scale


def test_range_holds_zero_exactly_and_covers_plain_values():
    values = np.random.default_rng(1).uniform(2.0, 5.0, 1000)
    scale, zero_point = int8_range(values, lambda x: x)
    assert -128 <= zero_point <= 127
    assert (127 - zero_point) * scale >= 4.9


def test_constant_zero_signal_has_a_usable_range():
    scale, zero_point = int8_range(np.zeros(10), lambda x: x)
    assert scale > 0
    assert -128 <= zero_point <= 127


def test_symmetric_scale_is_a_power_of_two_and_clips_rare_outliers():
    values = np.random.default_rng(2).normal(size=50_000)
    values[0] = 5.0
    assert symmetric_int8_scale(values) == 2.0**-5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 10)), r"has shape \[4, 10\]; model 'tiny' takes \[None, 10, 3\]"),
        (np.zeros((4, 10, 2)), r"has shape \[4, 10, 2\]"),
        (np.zeros((4, 9, 3)), r"has shape \[4, 9, 3\]"),
        (np.zeros((0, 10, 3)), "is empty; pass some hundred windows"),
        (np.full((1, 10, 3), np.nan), "holds 30 NaN or infinite values"),
    ],
)
def test_unusable_data_is_refused(model, data, message):
    with pytest.raises(ValueError, match=message):
        check_representative_data(model, data)


def test_what_a_tanh_flattens_in_a_rare_event_costs_no_resolution():
    """Arguments of thousands once among a thousand of about 1; and what only a linear function keeps is kept."""
    values = np.random.default_rng(0).normal(size=(100, 1000))
    values[3, 5], values[4, 6] = 5000.0, -3000.0
    scale, zero_point = int8_range(values, np.tanh)
    rounded = (np.clip(np.rint(values / scale) + zero_point, -128, 127) - zero_point) * scale
    error = np.tanh(rounded) - np.tanh(values)
    assert 20 * np.log10(np.tanh(values).std() / error.std()) > 35
    scale, zero_point = int8_range(values, lambda x: x)
    assert scale * (127 - zero_point) > 0.45 * 5000.0
