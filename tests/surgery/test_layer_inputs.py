"""What layers receive, measured on data: against what they give, and against their steps by hand."""

import keras
import numpy as np
import pytest
from conformance import shake

from keras_s4.compression.matrices import matrices_of, matrix_layers
from keras_s4.layers import DSS, LowRankConv1D, LowRankDense, LowRankGRU, S4Block
from keras_s4.surgery.layer_inputs import PowerSpectrum, measure, moment_of

LENGTH, FEATURES = 11, 4


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(150, LENGTH, FEATURES)).astype("float32")


def model_of(*layers):
    return shake(keras.Sequential([keras.Input((LENGTH, FEATURES)), *layers]))


def measured(model, name, data):
    meter = moment_of(matrix_layers(model)[name])
    measure(model, {name: meter}, data)
    return meter.values


def mean_of_squares(rows):
    rows = np.asarray(rows, float).reshape(-1, np.shape(rows)[-1])
    return rows.T @ rows / len(rows)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dense(3, use_bias=False),
        LowRankDense(3, 2, use_bias=False),
        keras.layers.Conv1D(3, 1, use_bias=False),
        *(
            keras.layers.Conv1D(3, size, stride, padding, dilation_rate=dilation, use_bias=False)
            for padding in ("valid", "same", "causal")
            for size, stride, dilation in ((4, 2, 1), (3, 3, 1), (2, 1, 3))
        ),
        LowRankConv1D(3, 4, 2, strides=2, padding="same", use_bias=False),
    ],
    ids=lambda layer: f"{type(layer).__name__} {getattr(layer, 'padding', '')} {getattr(layer, 'strides', '')}",
)
def test_moment_explains_the_outputs(layer, data):
    """Outputs of a layer without bias are `x W`, so that the mean of their squares is `W' M W`."""
    model = model_of(layer)
    moment = measured(model, layer.name, data)["kernel"]
    kernel = matrices_of(layer)["kernel"]
    expected = mean_of_squares(model(data))
    np.testing.assert_allclose(kernel.T @ moment @ kernel, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def states_by_hand(layer, data, mask):
    """The inputs and the states that every step multiplies, of each unmasked step."""
    inputs, states = [], []
    for sequence, valid in zip(data, mask, strict=True):
        state = layer.cell.get_initial_state(1)
        for t in reversed(range(LENGTH)) if layer.go_backwards else range(LENGTH):
            if valid[t]:
                inputs.append(sequence[t])
                states.append(np.asarray(state[0])[0])
                _, state = layer.cell(sequence[None, t], state)
    return np.stack(inputs), np.stack(states)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.SimpleRNN(3),
        keras.layers.GRU(3, go_backwards=True),
        keras.layers.LSTM(3, return_state=True),
        LowRankGRU(3, 2, None, return_sequences=True, zero_output_for_mask=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_moments_of_a_recurrent_layer_are_those_of_its_steps(layer, masked, data):
    few = data[:5].copy()
    if masked:
        few[:, 7:] = few[1:3, 4] = 0.0
    mask = np.any(few != 0, axis=2)
    inputs = keras.Input((LENGTH, FEATURES))
    outputs = layer(keras.layers.Masking()(inputs) if masked else inputs)
    model = shake(keras.Model(inputs, keras.tree.flatten(outputs)[0]))
    received = measured(model, layer.name, few)
    expected = map(mean_of_squares, states_by_hand(layer, few, mask))
    for name, moment in zip(("kernel", "recurrent_kernel"), expected, strict=True):
        np.testing.assert_allclose(received[name], moment, rtol=0, atol=1e-5 * np.abs(moment).max(), err_msg=name)


def test_layers_inside_a_block_are_measured(data):
    block = S4Block(3, value_rank=1)
    model = model_of(block)
    hidden = block.activation(block.dss(block.normalization(data)))
    for name in ("value", "gate"):
        received = measured(model, f"{block.name}/{name}", data)["kernel"]
        np.testing.assert_allclose(received, mean_of_squares(hidden), rtol=0, atol=1e-5)


def test_a_shared_layer_is_measured_at_every_call(data):
    inputs = keras.Input((LENGTH, FEATURES))
    shared = keras.layers.Dense(FEATURES, name="shared")
    model = keras.Model(inputs, shared(shared(inputs)))
    expected = (mean_of_squares(data) + mean_of_squares(shared(data))) / 2
    np.testing.assert_allclose(measured(model, "shared", data)["kernel"], expected, rtol=0, atol=1e-5)


def test_the_model_is_not_changed(data):
    model = model_of(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(3, name="dense"))
    before = [np.array(weight) for weight in model.weights]
    dense = model.get_layer("dense")
    call = dense.call
    measured(model, "dense", data)
    assert dense.call == call
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_power_spectrum_is_that_of_the_autocorrelation(data):
    layer = DSS(2, bidirectional=True)
    model = model_of(layer)
    meter = PowerSpectrum()
    measure(model, {layer.name: meter}, data)
    power = meter.of(layer)
    assert power.shape == (2 * FEATURES, LENGTH + 1)
    np.testing.assert_array_equal(power[:FEATURES], power[FEATURES:])
    correlations = np.fft.irfft(power, axis=1)
    for channel in range(FEATURES):
        expected = np.mean([np.correlate(row, row, "full") for row in data[:, :, channel].astype(float)], axis=0)
        np.testing.assert_allclose(correlations[channel, :LENGTH], expected[LENGTH - 1 :] / LENGTH, rtol=0, atol=1e-9)


def test_masked_steps_have_no_power(data):
    padded = data.copy()
    padded[:, 6:] = 0.0
    spectra = []
    for front in ([], [keras.layers.Masking()]):
        layer = DSS(2)
        model = keras.Sequential([keras.Input((LENGTH, FEATURES)), *front, keras.layers.Rescaling(1.0, 0.5), layer])
        meter = PowerSpectrum()
        measure(model, {layer.name: meter}, padded if front else padded[:, :LENGTH])
        spectra.append(np.fft.irfft(meter.of(layer), axis=1)[:, 0])
    np.testing.assert_allclose(LENGTH * (spectra[0] - spectra[1]), 5 * 0.5**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: data[:, :, :2], r"takes data of shape \[B, 11, 4\], but got \[150, 11, 2\]"),
        (lambda data: data[0], r"takes data of shape \[B, 11, 4\], but got \[11, 4\]"),
        (lambda data: data[:0], r"takes data of shape \[B, 11, 4\], but got \[0, 11, 4\]"),
        (lambda data: [data, data], r"but got \[150, 11, 4\], \[150, 11, 4\]"),
        (lambda data: np.where(data > 2, np.nan, data), r"holds \d+ NaN or infinite numbers"),
    ],
)
def test_unusable_data_is_refused(data, make, message):
    with pytest.raises(ValueError, match=message):
        measure(model_of(keras.layers.Dense(3)), {}, make(data))


def test_a_fixed_batch_size_reads_whole_batches(data):
    model = keras.Sequential([keras.Input(batch_shape=(32, LENGTH, FEATURES)), keras.layers.Dense(3, name="dense")])
    np.testing.assert_allclose(measured(model, "dense", data)["kernel"], mean_of_squares(data[:128]), atol=1e-5)
