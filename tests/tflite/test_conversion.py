import keras
import numpy as np
import pytest

from keras_s4.layers import DSS
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS
from keras_s4.tflite.flatbuffer.reader import read_summary


def test_probabilities_are_near_those_of_keras(converted, reduced_model, test_windows):
    expected = reduced_model.predict(test_windows[0], verbose=0)
    received = converted.predict(test_windows[0])
    assert received.shape == expected.shape
    np.testing.assert_allclose(received.sum(axis=1), 1.0)
    assert (
        np.abs(received - expected).max() < 0.12
    )  # int8 activations; the mean below is what a bad lowering would move
    assert np.abs(received - expected).mean() < 0.01
    assert np.mean(received.argmax(axis=1) == expected.argmax(axis=1)) >= 0.97


def test_unreduced_model_is_exported_as_well(trained_model, windows, test_windows):
    converted = convert(trained_model, windows[0])
    expected = trained_model.predict(test_windows[0], verbose=0).argmax(axis=1)
    assert np.mean(converted.predict(test_windows[0]).argmax(axis=1) == expected) >= 0.97


def test_two_conversions_are_byte_identical(converted, reduced_model, windows):
    assert convert(reduced_model, windows[0]).tflite == converted.tflite


def test_file_has_only_integers_and_operators_of_the_table(converted):
    summary = read_summary(converted.tflite)
    assert not summary.float_tensors
    assert set(summary.operators) <= set(OPERATORS)
    for before, after in summary.states:
        assert (before.type, before.shape) == (after.type, after.shape) == ("int32", before.shape)
        assert before.scales == after.scales == ()
    for state in converted.program.states:
        assert (state.before.scale, state.before.zero_point) == (state.after.scale, state.after.zero_point)


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_no_accumulator_or_state_wraps_on_data_far_louder_than_calibrated(converted, test_windows, gain):
    emulator = Emulator(converted.program, check_overflow=True)
    emulator.run(converted.quantize(gain * test_windows[0]))
    assert 2**20 < max(emulator.peaks.values()) < 2**31


@pytest.mark.parametrize("radius", [0.9, 0.99, 0.999])
def test_single_layer_keeps_its_memory(radius):
    """Output signal-to-noise ratio of one DSS layer with poles of one radius, against float64, over 1,200 steps."""
    length, channels, modes = 1200, 4, 4
    layer = DSS(modes, per_channel_poles=True)
    model = keras.Sequential([keras.Input((length, channels)), layer])
    random = np.random.default_rng(5)
    layer.log_decay.assign(np.log(np.full((channels, modes), -np.log(radius))))
    layer.frequency.assign(random.uniform(0.01, 1.0, (channels, modes)))
    layer.log_time_step.assign(np.zeros(channels))
    x = random.normal(size=(2, length, channels))
    converted = convert(model, x)
    tensor = converted.program.outputs[0]
    received = Emulator(converted.program).run(converted.quantize(x)) * tensor.scale
    kernel = layer.system().impulse_response(length)
    expected = np.stack(
        [[np.convolve(x[b, :, h], kernel[h])[:length] for h in range(channels)] for b in range(len(x))]
    ).swapaxes(1, 2)
    noise = np.sqrt(np.mean((received - expected) ** 2))
    assert 20 * np.log10(np.sqrt(np.mean(expected**2)) / noise) > 45


class Unknown(keras.layers.Layer):
    def call(self, inputs):
        return inputs


def test_unsupported_layer_is_named_with_the_supported_ones():
    model = keras.Sequential([keras.Input((20, 3)), Unknown()])
    with pytest.raises(NotImplementedError, match=r"\(Unknown\) cannot be exported. Supported: .*Dense.*S4Block"):
        convert(model, np.zeros((4, 20, 3)))


def test_softmax_inside_a_model_is_refused():
    layers = [keras.layers.Dense(4, activation="softmax"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((20, 3)), *layers])
    with pytest.raises(NotImplementedError, match="softmax inside the model"):
        convert(model, np.ones((4, 20, 3)))


def test_pooling_of_open_length_asks_for_it():
    layers = [keras.layers.Dense(4), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    data = np.random.default_rng(0).normal(size=(4, 20, 3))
    with pytest.raises(ValueError, match=r"say how many steps a window has: convert"):
        convert(model, data)
    np.testing.assert_allclose(convert(model, data, length=20).predict(data), model.predict(data, verbose=0), atol=2e-2)


def test_nan_weights_are_refused(reduced_model, windows):
    broken = keras.models.clone_model(reduced_model)
    broken.get_layer("head").kernel.assign(np.full((8, 4), np.nan))
    with pytest.raises(ValueError, match="'head' holds 32 NaN or infinite numbers in kernel"):
        convert(broken, windows[0])


def test_unbuilt_model_and_empty_data_are_refused(reduced_model):
    with pytest.raises(ValueError, match="not built yet"):
        convert(keras.Sequential([keras.layers.Dense(2)]), np.zeros((4, 10, 3)))
    with pytest.raises(ValueError, match="is empty"):
        convert(reduced_model, np.zeros((0, 60, 3)))


def test_samples_beyond_the_calibrated_range_saturate(converted):
    sample = np.array([1e9, -1e9, 0.0]).reshape(1, 1, 3)
    assert converted.quantize(sample, whole=False).ravel().tolist() == [32767, -32768, 0]
    assert converted.clipped(sample)["input"].tolist() == [1.0, 1.0, 0.0]
