"""Shapes in which operators are written where TensorFlow Lite Micro's kernels want others than the program has.

The `tflite-micro` package is built with NDEBUG and runs more than builds without: `check_operator` knows what those
want, and is asked for every file that is written here.
"""

import keras
import numpy as np
import pytest
from ran_programs import ran

from keras_s4.layers import DSS, S4Block
from keras_s4.testing.programs import Builder, full_range, random_inputs, single
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import read_summary, to_tflite
from keras_s4.tflite.flatbuffer.elementwise import joined_axes
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.operations import Affine
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.runtimes import TensorFlowRunner, TflmRunner

LENGTH = 12


def operators_of(tflite: bytes, name: str):
    """The tensors `(inputs, outputs)` of every operator of this name."""
    summary = read_summary(tflite)
    for operator, inputs, outputs in zip(
        summary.operators, summary.operator_inputs, summary.operator_outputs, strict=True
    ):
        if operator == name:
            yield tuple([summary.tensors[index] for index in indices] for indices in (inputs, outputs))


@pytest.mark.parametrize("steps", [1, 3])
def test_normalize_casts_into_equal_shapes(steps):
    program = in_blocks(single("normalize"), steps)
    casts = list(operators_of(to_tflite(program), "CAST"))
    assert casts
    ran(program, random_inputs(program, batch=2, length=5))
    for (input,), (output,) in casts:
        assert input.shape == output.shape


@pytest.mark.parametrize("operation", ["fully_connected_int8", "fully_connected_int16", "normalize"])
def test_fully_connected_has_two_output_axes_in_blocks_as_well(operation):
    outputs = [output for _, (output,) in operators_of(to_tflite(in_blocks(single(operation), 4)), "FULLY_CONNECTED")]
    assert outputs
    assert all(len(output.shape) == 2 and output.shape[0] % 4 == 0 for output in outputs)


def test_outputs_that_are_reshaped_keep_their_names():
    program = in_blocks(single("fully_connected_int8"), 4)
    summary = read_summary(to_tflite(program))
    assert [summary.tensors[index].name for index in summary.outputs] == [tensor.name for tensor in program.outputs]


@pytest.mark.parametrize(
    ("shapes", "joined"),
    [
        (((1, 4, 2, 3, 5), (1, 4, 2, 3, 5)), [(120,), (120,)]),
        (((1, 4, 2, 3, 5), (1, 4, 2, 3, 1)), [(24, 5), (24, 1)]),
        (((1, 4, 2, 3, 5), (5,)), [(24, 5), (1, 5)]),
        (((1, 4, 1, 3, 5), (1, 4, 2, 3, 5)), [(4, 1, 15), (4, 2, 15)]),
        (((1, 1, 1), (1,)), [(1,), (1,)]),
    ],
)
def test_joined_axes_are_the_same_broadcast(shapes, joined):
    assert joined_axes(*shapes) == joined
    a, b = (np.random.default_rng(0).integers(0, 99, shape) for shape in shapes)
    expected = np.maximum(a, b)
    c, d = (array.reshape(shape) for array, shape in zip((a, b), joined, strict=True))
    np.testing.assert_array_equal(np.maximum(c, d).ravel(), expected.ravel())


@pytest.mark.parametrize("kind", ["Maximum", "Minimum"])
@pytest.mark.parametrize("width", [1, 4])
def test_extrema_of_five_axes_take_four_at_most(kind, width):
    start = keras.Input((LENGTH, 3))
    matrix = keras.layers.Reshape((-1, 2, 3, 4))(keras.layers.Dense(24)(start))
    both = getattr(keras.layers, kind)()([matrix, keras.layers.Dense(width)(matrix)])
    model = keras.Model(start, keras.layers.Dense(2)(keras.layers.Reshape((-1, 24))(both)))
    x = np.random.default_rng(0).normal(size=(3, LENGTH, 3))
    converted = convert(model, x, steps=4)
    found = list(operators_of(converted.tflite, kind.upper()))
    assert found
    for inputs, outputs in found:
        assert max(len(tensor.shape) for tensor in (*inputs, *outputs)) <= 4
    ran(converted.program, converted.quantize(x), converted.tflite)


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_a_result_that_is_nothing_but_zeros_has_a_scale_that_the_kernels_take(activations):
    """A normalised single channel is 0: its product had a scale of 2**-54, and AllocateTensors failed."""
    keras.utils.set_random_seed(1)
    stack = [keras.Input((LENGTH, 1)), S4Block(DSS(1)), keras.layers.LayerNormalization(), keras.layers.Dense(1)]
    x = np.random.default_rng(0).normal(size=(3, LENGTH, 1))
    converted = convert(keras.Sequential(stack), x, activations=activations)
    ran(converted.program, converted.quantize(x), converted.tflite)


def affine(gain: np.ndarray, offset: int, shift: int) -> Program:
    """A program of one affine step from int16 to int16, whose sums lose so many bits."""
    b = Builder(0, lowered=True)
    x = b.activation(gain.size, "int16", 2.0**-13, name="x")
    gains, offsets = b.constant(gain, "int32"), b.constant(np.full(gain.size, offset), "int32")
    output = b.activation(gain.size, "int16", 2.0 ** (shift - 26))
    return b.program(x, b.add(Affine(x, gains, offsets, 2.0**-26, output)))


class TestAffineSteps:
    """QUANTIZE and MUL of int16 round alike, ties of both signs included."""

    @pytest.mark.parametrize("shift", [1, 2, 7, 15, 18])
    def test_without_offset_are_one_product_on_both_engines(self, shift):
        gain = np.concatenate([[1, -1, 3, 2**15 - 1, 1 - 2**15], np.random.default_rng(shift).integers(-999, 999, 11)])
        program = affine(gain, 0, shift)
        data = to_tflite(program)
        assert read_summary(data).operators == ("MUL",)
        x = full_range(np.random.default_rng(0), (1, 200, gain.size), "int16")
        x[0, :32] = np.arange(-16, 16)[:, None] << max(0, shift - 4)
        (expected,) = Emulator(program).trace([x]).outputs
        for runner in (TflmRunner, TensorFlowRunner):
            np.testing.assert_array_equal(runner(data).run(x), expected)

    @pytest.mark.parametrize(("largest", "offset"), [(2**15, 0), (5, 1)])
    def test_with_larger_gains_or_offsets_are_several(self, largest, offset):
        program = affine(np.array([1, largest]), offset, 9)
        operators = read_summary(to_tflite(program)).operators
        assert operators[0] == "CAST"
        assert operators[-1] == "QUANTIZE"
        ran(program, random_inputs(program, batch=2, length=9))


def test_readouts_without_imaginary_parts_have_no_products_with_them():
    b = Builder(0, lowered=True)
    x = b.activation(5, "int16", 2.0**-12, name="x")
    lowered = b.program(x, b.diagonal_step(x, 7, "int8"))
    general = single("diagonal_step")
    for program, rows in ((lowered, 1), (general, 2)):
        ((inputs, _),) = operators_of(to_tflite(program), "DEPTHWISE_CONV_2D")
        assert (inputs[0].shape[1], inputs[1].shape[1]) == (2, rows)
        ran(program, random_inputs(program, batch=2, length=9))
