"""Layers that join tensors: of different numbers of axes, and where nothing but zeros comes out in calibration."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import LastStep
from keras_s4.testing.programs import Builder, random_inputs
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.operations import Add, Maximum, Minimum, Multiply, Reshape
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.tflite.runtimes import run_tflm

# As many streams as rows and as channels: a batch axis that was taken for one of these would go unnoticed by numpy.
STREAMS = ROWS = WIDTH = 3
LENGTH = 8
KINDS = {"Add": Add, "Multiply": Multiply, "Maximum": Maximum, "Minimum": Minimum}


def samples(channels=WIDTH):
    return np.random.default_rng(0).normal(size=(STREAMS, LENGTH, channels))


def joined(kind: str, first: tuple[int, ...], second: tuple[int, ...]) -> Program:
    """An operation on parts of the input in these shapes."""
    b = Builder(0)
    x = b.activation(ROWS * WIDTH, "int16", 0.5, name="x")
    parts = []
    for shape in (first, second):
        part = b.slice(x, len(parts), int(np.prod(shape)))
        parts.append(b.add(Reshape(part, b.like(part, shape))) if len(shape) > 1 else part)
    output = Tensor("output", np.broadcast_shapes(first, second), "int32", 0.25 if kind == "Multiply" else 0.5)
    gains = (3, -5, 0.5) if kind == "Add" else ()
    b.add(KINDS[kind](*parts, *gains, output))
    return b.program(x, output)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [((ROWS, WIDTH), (1, WIDTH)), ((ROWS, 1), (1, WIDTH)), ((2, 1), (2, WIDTH))])
def test_axes_of_size_1_serve_for_the_whole_axis_of_the_other(kind, shapes):
    program = joined(kind, *shapes)
    x = random_inputs(program, STREAMS, LENGTH)
    first, second = (
        x[..., start : start + np.prod(shape)].reshape(STREAMS, LENGTH, *shape).astype(np.int64)
        for start, shape in enumerate(shapes)
    )
    expected = {
        "Add": lambda: 3 * first - 5 * second,
        "Multiply": lambda: first * second,
        "Maximum": lambda: np.maximum(first, second),
        "Minimum": lambda: np.minimum(first, second),
    }[kind]()
    np.testing.assert_array_equal(Emulator(program).run(x), expected)
    np.testing.assert_array_equal(run_tflm(to_tflite(program), x), expected)
    blocks = in_blocks(program, 4)
    cut = x.reshape(STREAMS, 2, 4, -1)
    np.testing.assert_array_equal(Emulator(blocks).run(cut).reshape(expected.shape), expected)
    np.testing.assert_array_equal(run_tflm(to_tflite(blocks), cut).reshape(expected.shape), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [((ROWS, WIDTH), (WIDTH,)), ((WIDTH,), (ROWS, WIDTH))])
def test_tensors_of_different_numbers_of_axes_are_refused(kind, shapes):
    with pytest.raises(ValueError, match=rf"{kind} joins .* give them equally many axes with a Reshape"):
        joined(kind, *shapes).check()


def test_a_constant_may_have_fewer_axes():
    program = joined("Maximum", (ROWS, WIDTH), (1, WIDTH))
    *before, maximum = program.operations
    three = Tensor("three", (1,), "int32", data=np.array([3], np.int32))
    program = dataclasses.replace(program, operations=(*before, dataclasses.replace(maximum, b=three)))
    x = random_inputs(program, STREAMS, LENGTH)
    expected = np.maximum(x, 3).reshape(STREAMS, LENGTH, ROWS, WIDTH)
    np.testing.assert_array_equal(Emulator(program).run(x), expected)
    np.testing.assert_array_equal(run_tflm(to_tflite(program), x), expected)


def matrices_and_vectors(layer, first: bool) -> keras.Model:
    """Joins a matrix and a vector for each step, inside of a layer for single steps, and once more at the end."""
    start = keras.Input((WIDTH,))
    matrix = layers.Reshape((ROWS, WIDTH))(layers.Dense(ROWS * WIDTH)(start))
    vector = layers.Dense(WIDTH, activation="tanh")(start)
    pair = [matrix, vector] if first else [vector, matrix]
    step = keras.Model(start, layers.Flatten()(layer(pair)))
    x = keras.Input((LENGTH, WIDTH))
    sequence = layers.TimeDistributed(step)(x)
    last = LastStep()(x)
    rows = layers.Reshape((ROWS, WIDTH))(LastStep()(sequence))
    return keras.Model(x, [sequence, type(layer)()([rows, last] if first else [last, rows])])


@pytest.mark.parametrize(
    ("kind", "activations"),
    [
        ("Add", "int8"),
        ("Subtract", "int16"),
        ("Average", "int16"),
        ("Multiply", "int8"),
        ("Multiply", "int16"),
        ("Maximum", "int8"),
        ("Minimum", "int16"),
    ],
)
def test_layers_join_matrices_and_vectors_as_keras_does(kind, activations):
    keras.utils.set_random_seed(1)
    model, data = matrices_and_vectors(getattr(layers, kind)(), activations == "int8"), samples()
    for steps in (1, 4) if kind == "Multiply" else (4,):
        converted = convert(model, data, activations=activations, steps=steps)
        integers = converted.quantize(data)
        received = run_tflm(converted.tflite, integers)
        for ours, theirs in zip(Emulator(converted.program).run(integers), received, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        sequence, last = converted.dequantize(received)
        for expected, values in zip(model.predict(data, verbose=0), (sequence, last[:, -1]), strict=True):
            assert 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(values - expected)) > 32


def test_sequences_of_matrices_and_of_vectors_are_refused():
    """Keras takes them where there are as many steps as rows, and aligns the ones with the others."""
    x = keras.Input((LENGTH, LENGTH))
    rows = layers.Reshape((-1, LENGTH, 1))(x)
    with pytest.raises(NotImplementedError, match=r"8, 8, 1\), \(None, 8, 8\).* Put Reshape\(\(-1, 1, \.\.\.\)\)"):
        convert(keras.Model(x, layers.Add(name="sum")([rows, x])), samples(LENGTH))


# Zeros for every input, or for all of the calibration data.
SILENT = {
    "difference": lambda x: layers.Subtract()([layers.Rescaling(2.0)(x), layers.Rescaling(2.0)(x)]),
    "sum": lambda x: layers.Add()([x, layers.Rescaling(-1.0)(x)]),
    "product": lambda x: layers.Multiply()([layers.ReLU()(x), layers.ReLU()(layers.Rescaling(-1.0)(x))]),
    "rectified": lambda x: layers.Activation("relu")(layers.Rescaling(1.0, -100.0)(x)),
    "rectified by a layer": lambda x: layers.ReLU()(layers.Rescaling(1.0, -100.0)(x)),
}


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", SILENT)
def test_silence_in_calibration_overflows_nowhere(name, activations):
    x = keras.Input((LENGTH, WIDTH))
    model = keras.Model(x, layers.Dense(2, bias_initializer="ones")(SILENT[name](x)))
    converted = convert(model, samples(), activations=activations)
    integers = random_inputs(converted.program, STREAMS, LENGTH)
    received = run_tflm(converted.tflite, integers)
    np.testing.assert_array_equal(Emulator(converted.program, check_overflow=True).run(integers), received)
    np.testing.assert_allclose(converted.predict(samples()), 1.0, atol=0.02)
