"""Kernels of windows, shapes, extrema and normalisation against their formulas, written with plain loops and floats."""

import keras
import numpy as np
import pytest

from keras_s4.testing.programs import full_range, single
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.operations import DepthwiseProduct, Maximum, Normalize, Window, WindowMaximum

BATCH, LENGTH = 2, 25


def traced(name, seed=0):
    """A program of single operations, its input, and the integers of every tensor."""
    program = single(name, seed)
    x = program.inputs[0]
    data = full_range(np.random.default_rng(seed), (BATCH, LENGTH, *x.shape), x.type)
    trace = Emulator(program).trace(data, record=None)
    constants = {tensor.name: tensor.data for tensor in program.tensors() if tensor.data is not None}
    return program, data, {**trace.tensors, **constants, x.name: data}


def operations_of(program, kind):
    found = [operation for operation in program.operations if isinstance(operation, kind)]
    assert found
    return found


@pytest.mark.parametrize("name", ["window", "window_int16"])
def test_window_holds_the_inputs_of_some_steps(name):
    program, x, tensors = traced(name)
    for operation in operations_of(program, Window):
        size = operation.input.shape[0]
        count = operation.output.shape[0] // size
        for step in range(LENGTH):
            wanted = [step - lag * operation.dilation for lag in reversed(range(count))]
            rows = [x[:, index] if index >= 0 else np.zeros_like(x[:, 0]) for index in wanted]
            np.testing.assert_array_equal(tensors[operation.output.name][:, step], np.concatenate(rows, axis=-1))
        last = tensors[operation.next_state.name][:, -1].reshape(BATCH, -1, size)
        np.testing.assert_array_equal(last, x[:, LENGTH - last.shape[1] :])


@pytest.mark.parametrize("name", ["window", "window_int16"])
def test_maximum_of_a_window(name):
    program, _, tensors = traced(name)
    for operation in operations_of(program, WindowMaximum):
        windows = tensors[operation.input.name].reshape(BATCH, LENGTH, -1, operation.output.shape[0])
        np.testing.assert_array_equal(tensors[operation.output.name], windows.max(axis=2))


def test_depthwise_product():
    program, _, tensors = traced("depthwise_product")
    for operation in operations_of(program, DepthwiseProduct):
        steps, size = operation.weights.shape
        channels = operation.input.shape[0] // steps
        window = tensors[operation.input.name].astype(float) * operation.input.scale
        for column in range(size):
            taps = window[..., column // (size // channels) :: channels]
            weights = operation.weights.data[:, column] * operation.weights.scale[column]
            exact = taps @ weights + operation.bias.data[column] * operation.bias.scale[column]
            exact = np.clip(exact / operation.output.scale, -(2**15), 2**15 - 1)
            # A 15-bit mantissa moves large results by up to 2**-15 of their value.
            assert np.abs(tensors[operation.output.name][..., column] - exact).max() <= 2.0


@pytest.mark.parametrize(("name", "function"), [("maximum", np.maximum), ("minimum", np.minimum)])
def test_extrema(name, function):
    program, _, tensors = traced(name)
    for operation in program.operations[-2:]:
        assert isinstance(operation, Maximum) == (name == "maximum")
        expected = function(tensors[operation.a.name], tensors[operation.b.name])
        np.testing.assert_array_equal(tensors[operation.output.name], expected)


@pytest.mark.parametrize("seed", range(3))
def test_normalize_in_pythons_integers(seed):
    """Every line of the docstring of `operations.Normalize`; each rounding is within its bound."""
    program, _, tensors = traced("normalize", seed)
    for operation in operations_of(program, Normalize):
        q = tensors[operation.input.name].astype(object)
        energy = (q**2).sum(axis=-1, keepdims=True) * operation.input.scale**2
        for tensor in (operation.coarse, operation.fine):
            exact = np.clip((energy / tensor.scale).astype(float), 0, 2**15 - 1)
            assert np.abs(tensors[tensor.name] - exact).max() <= 2.0
        coarse, fine = (tensors[tensor.name].astype(int) for tensor in (operation.coarse, operation.fine))
        sums = coarse * operation.coarse_gain.data + fine * operation.fine_gain.data
        level = tensors[operation.level.name]
        assert np.abs(level - np.clip(sums / operation.level.scale - 128, -128, 127)).max() <= 0.76
        places = 256 * np.arange(level.shape[-1]) + level + 128
        np.testing.assert_array_equal(tensors[operation.part.name], operation.table.data[places])
        total = (operation.table.data[places].astype(int) * operation.weights.data[0]).sum(axis=-1, keepdims=True)
        np.testing.assert_array_equal(
            tensors[operation.root.name], np.clip(total + operation.bias.data, -(2**15), 32767)
        )
        root = (tensors[operation.root.name] + 2.0**15) * operation.root_scale
        exact = q.astype(float) * operation.input.scale * root / operation.output.scale
        limits = np.iinfo(operation.output.type)
        assert np.abs(tensors[operation.output.name] - np.clip(exact, limits.min, limits.max)).max() <= 0.76


@pytest.mark.parametrize("epsilon", [1e-7, 1e-2])
def test_the_reciprocal_root_over_all_energies(epsilon):
    """One value at a time, over 45 dB: the quotient is within 1.2% everywhere, and its error 50 dB down in the mean.

    Half a level is at most 1/128 of the energy and 1/256 of its root; the table's rounding, and that of the sum, which
    has 8 bits at the loud end, are as large.
    """
    layer = keras.layers.RMSNormalization(epsilon=epsilon)
    model = keras.Sequential([keras.Input((400, 1)), layer])
    values = np.geomspace(1e-3, 1.0, 400)[None, :, None]
    converted = convert(model, values)
    (operation,) = converted.program.operations
    trace = Emulator(converted.program).trace(converted.quantize(values), record=[operation.root.name])
    root = (trace.tensors[operation.root.name][0, :, 0] + 2.0**15) * operation.root_scale
    loud = values[0, :, 0] > 1.0 / 181
    exact = 1.0 / np.sqrt(values[0, :, 0] ** 2 + epsilon)
    error = (root / exact - 1)[loud]
    assert np.abs(error).max() < 0.012
    assert np.sqrt(np.mean(error**2)) < 10 ** (-50 / 20)
