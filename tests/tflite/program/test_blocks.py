"""Blocks of steps compute what single steps do, bit for bit; models that drop steps are near their float values."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
from keras import layers
from ran_programs import listed, ran

from keras_s4 import models
from keras_s4.layers import DSS, LastStep, LowRankConv1D, S4Block
from keras_s4.testing.programs import SINGLE, Builder, model, random_inputs, single
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import read_summary, to_tflite
from keras_s4.tflite.manifest import multiply_accumulates
from keras_s4.tflite.program.blocks import Latest, in_blocks
from keras_s4.tflite.program.operations import Add, Affine, Maximum, Requantize, Window
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.tflite.runtimes import TensorFlowRunner, run_tflm

STREAMS, LENGTH, CHANNELS = 2, 12, 4


def assert_same(single_steps: Program, blocks: Program, x: np.ndarray, tflite: bytes | None = None) -> None:
    """The same outputs, of each step or at the ends of the blocks, and the same states there."""
    steps = blocks.steps
    cut = [array.reshape(len(array), -1, steps, *array.shape[2:]) for array in listed(x)]
    expected, received = ran(single_steps, x), ran(blocks, cut, tflite)
    for ours, theirs, rows in zip(received[0], expected[0], blocks.output_rows, strict=True):
        theirs = theirs if rows == steps else theirs[:, steps - 1 :: steps]
        np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)
    for name, states in received[1].items():
        np.testing.assert_array_equal(states, expected[1][name][:, steps - 1 :: steps])


def delay() -> Program:
    """Gives its input of two steps before; a state is the next value of another."""
    x, copy = (Tensor(name, (4,), "int16", 0.5) for name in ("x", "copy"))
    first, second = (Tensor(name, (4,), "int16", 0.5) for name in ("first", "second"))
    return Program("delay", (x,), (second,), (State(second, first), State(first, copy)), (Requantize(x, copy),))


def largest(latest: bool) -> Program:
    """A running maximum, given at each step or at the end of a block."""
    b = Builder(0)
    x = b.activation(3, "int16", 0.5, name="x")
    wide, before, after = (b.like(dataclasses.replace(x, type="int32"), (3,)) for _ in range(3))
    b.states.append(State(before, after))
    one, nothing = b.constant([1], "int32"), b.constant([0], "int32")
    b.operations += [Affine(x, one, nothing, 0.5, wide), Maximum(before, wide, after)]
    output = b.requantize(after, "int16", 0.5, 0)
    if latest:
        b.operations.append(Latest(output, b.like(output, (3,))))
        output = b.operations[-1].output
    return b.program(x, output)


class TestPrograms:
    @pytest.mark.parametrize("operation", SINGLE)
    def test_of_every_operation(self, operation):
        program = single(operation, 2)
        x = random_inputs(program, STREAMS, LENGTH)
        for steps in (3, 4):
            assert_same(program, in_blocks(program, steps), x)

    @pytest.mark.parametrize("steps", [2, 3, 12])
    def test_of_whole_models(self, steps):
        for program in (model(1, blocks=2), delay(), largest(latest=False)):
            assert_same(program, in_blocks(program, steps), random_inputs(program, STREAMS, 24))

    @pytest.mark.parametrize("operation", SINGLE)
    def test_of_one_step_is_the_same_file(self, operation):
        program = single(operation, 2)
        assert to_tflite(in_blocks(program, 1)) == to_tflite(program)

    def test_gives_only_the_latest_row_where_there_is_no_time(self):
        program = largest(latest=True)
        x = random_inputs(program, STREAMS, LENGTH)
        blocks = in_blocks(program, 4)
        (received,), _ = ran(blocks, x.reshape(STREAMS, 3, 4, 3))
        np.testing.assert_array_equal(received, np.maximum.accumulate(np.maximum(x, 0), axis=1)[:, 3::4])
        # Rounded once a block.
        assert sum(isinstance(operation, Requantize) for operation in blocks.operations) == 1
        assert not any(isinstance(operation, Latest) for operation in in_blocks(program, 1).operations)

    def test_count_as_many_products_a_sample(self):
        for program in (model(1, blocks=2), single("normalize"), single("affine_int16")):
            assert multiply_accumulates(in_blocks(program, 4)) == multiply_accumulates(program)

    def test_that_read_a_state_from_several_operations(self):
        """A window and a sum whose states between the steps of a block are read elsewhere."""
        b = Builder(0)
        x = b.activation(3, "int16", 0.5, name="x")
        b.window(x, 3, 1)
        before = b.states[-1].before
        sums = b.accumulate(x)
        shown = b.add(Requantize(before, b.like(x, before.shape)))
        program = b.program(x, shown, b.requantize(sums, "int16", 3.0))
        assert_same(program, in_blocks(program, 3), random_inputs(program, STREAMS, LENGTH))

    def test_with_states_as_variables(self):
        blocks = in_blocks(model(3), 4)
        x = random_inputs(blocks, STREAMS, 5)
        inside = listed(run_tflm(to_tflite(blocks, "variables"), x))
        np.testing.assert_array_equal(inside[0], Emulator(blocks).run(x))

    def test_with_a_stride_that_does_not_divide_them_are_refused(self):
        with pytest.raises(ValueError, match=r"Of a block of 3 steps, 3 reach .* computed at every 2th"):
            in_blocks(strided(2, 1, 2, 0, "int16"), 3)

    def test_with_tensors_of_different_rates_are_refused(self):
        program = strided(1, 1, 2, 0, "int16")
        x, window = program.inputs[0], program.outputs[0]
        total = Tensor("total", x.shape, "int16", 0.5)
        program = dataclasses.replace(program, operations=(*program.operations, Add(x, window, 1, 1, 0.5, total)))
        with pytest.raises(ValueError, match="would have 2 and 4 values in a block of 4 steps"):
            in_blocks(program, 4)


def strided(taps: int, dilation: int, stride: int, offset: int, type: str, latest: bool = False) -> Program:
    """A window over time that is read at some steps only."""
    x = Tensor("x", (3,), type, 0.5)
    size = (taps - 1) * dilation * 3
    state = State(*(Tensor(name, (size,), type, 0.5) for name in ("before", "after"))) if size else None
    window = Tensor("window", (taps * 3,), type, 0.5)
    ends = (state.before, state.after) if state else (None, None)
    operations = [Window(x, *ends, dilation, window, stride, offset)]
    output = window
    if latest:
        output = Tensor("output", window.shape, type, 0.5)
        operations.append(Latest(window, output))
    return Program("strided", (x,), (output,), (state,) if state else (), tuple(operations))


class TestWindows:
    @pytest.mark.parametrize("latest", [False, True])
    @pytest.mark.parametrize("type", ["int8", "int16"])
    def test_give_every_so_many_of_all_windows(self, type, latest):
        x = random_inputs(strided(1, 1, 1, 0, type), STREAMS, LENGTH)
        for taps, dilation, stride, steps in itertools.product((1, 2, 3, 5), (1, 2), (1, 2, 3), (2, 3, 6)):
            if steps % stride:
                continue
            places = np.arange(LENGTH)[:, None] - dilation * np.arange(taps)[::-1]
            padded = np.where(places[..., None] < 0, 0, x[:, places])
            for offset in range(stride):
                blocks = in_blocks(strided(taps, dilation, stride, offset, type, latest), steps)
                (received,), _ = ran(blocks, x.reshape(STREAMS, -1, steps, 3))
                expected = padded[:, offset::stride].reshape(STREAMS, LENGTH // stride, -1)
                rows = steps // stride
                expected = expected[:, rows - 1 :: rows] if latest else expected
                np.testing.assert_array_equal(received.reshape(expected.shape), expected)

    def test_without_overlap_keep_no_state_and_are_one_operator(self):
        blocks = in_blocks(strided(2, 1, 2, 1, "int16"), 4)
        assert not blocks.states
        assert read_summary(to_tflite(blocks)).operators == ("RESHAPE", "RESHAPE")


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    return models.classifier((24, 3), classes=4, channels=4, states=2, blocks=2)


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(0).normal(size=(8, 24, 3))


@pytest.fixture(scope="module")
def converted(classifier, windows):
    return convert(classifier, windows)


class TestClassifier:
    @pytest.mark.parametrize("steps", [2, 4, 6])
    def test_gives_what_single_steps_give(self, converted, classifier, windows, steps):
        blocks = convert(classifier, windows, steps=steps)
        x = converted.quantize(windows[:STREAMS])
        assert blocks.quantize(windows).shape == (8, 24 // steps, steps, 3)
        assert blocks.program.output_rows == (1,)
        assert_same(converted.program, blocks.program, x, blocks.tflite)
        np.testing.assert_array_equal(blocks.predict(windows), converted.predict(windows))

    def test_takes_fewer_operators_a_sample(self, classifier, windows):
        operators = [len(read_summary(convert(classifier, windows, steps=s).tflite).operators) / s for s in (1, 4, 8)]
        assert operators[0] > 1.5 * operators[1] > 1.5 * operators[2]

    def test_of_one_step_is_the_default(self, converted, classifier, windows):
        assert convert(classifier, windows, steps=1).tflite == converted.tflite
        assert converted.program.steps == 1
        assert converted.program.inputs[0].shape == (3,)

    def test_is_verified(self, windows):
        x = keras.Input((24, 3))
        h = layers.Dense(3, activation="tanh")(x)
        model = keras.Model(x, [layers.Dense(4)(layers.GlobalMaxPooling1D()(DSS(2)(h))), h])
        labels = model.predict(windows, verbose=0)[0].argmax(axis=1)
        found = convert(model, windows, steps=4).verify(model, windows, labels)
        assert found.bit_exact
        assert found.steps == 8 * 24
        assert found.accuracy["tflm"] == found.accuracy["emulator"] >= 0.75


def sequential(*stack, length=24):
    return keras.Sequential([keras.Input((length, CHANNELS)), *stack])


def two_inputs():
    a, b = keras.Input((24, CHANNELS), name="a"), keras.Input((24, 1), name="b")
    return keras.Model([a, b], layers.Multiply()([layers.Dense(3, activation="tanh")(a), b]))


# What carries a state in a way of its own, or gives steps more than one axis.
FULL_RATE = {
    "recurrent layers": lambda: sequential(layers.GRU(3, return_sequences=True), layers.LSTM(4)),
    "cells in a stack": lambda: sequential(
        layers.RNN(layers.StackedRNNCells([layers.SimpleRNNCell(3), layers.GRUCell(2, reset_after=False)]))
    ),
    "a maximum of late values": lambda: sequential(
        layers.Conv1D(5, 4, dilation_rate=2, activation="elu"), layers.GlobalMaxPooling1D(), layers.Dense(2)
    ),
    "an average of late values": lambda: sequential(layers.SeparableConv1D(5, 3), layers.GlobalAveragePooling1D()),
    "the last step of a window": lambda: sequential(layers.AveragePooling1D(3, strides=1), LastStep()),
    "steps of two axes": lambda: sequential(
        layers.Reshape((-1, 2, 2)), layers.Dense(3), layers.LayerNormalization(), layers.PReLU(shared_axes=[1])
    ),
    "two inputs": two_inputs,
}


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", FULL_RATE)
def test_layers_at_full_rate_give_what_single_steps_give(name, activations):
    keras.utils.set_random_seed(1)
    model, data = FULL_RATE[name](), smooth(0)[:STREAMS]
    data = [data, data[..., :1]] if len(model.inputs) > 1 else data
    one, blocks = (convert(model, data, activations=activations, steps=steps) for steps in (1, 3))
    assert_same(one.program, blocks.program, one.quantize(data), blocks.tflite)
    expected, received = (
        converted.dequantize(Emulator(converted.program).run(converted.quantize(data))) for converted in (one, blocks)
    )
    np.testing.assert_array_equal(received, expected if received.shape == expected.shape else expected[:, 2::3])


def in_series():
    return sequential(
        layers.AveragePooling1D(2),
        layers.Conv1D(6, 3, strides=2, padding="causal", activation="elu"),
        S4Block(3),
        layers.GlobalAveragePooling1D(),
        layers.Dense(3, activation="softmax"),
    )


def branches():
    """Two rates that meet behind poolings, and two layers that drop the same steps each in its own way."""
    x = keras.Input((24, CHANNELS))
    slow = layers.Add()(
        [layers.Conv1D(3, 3, strides=2, padding="causal")(x), layers.Dense(3)(layers.MaxPooling1D(2)(x))]
    )
    fast = layers.Conv1D(3, 3)(x)
    pooled = [layers.GlobalAveragePooling1D()(slow), layers.GlobalMaxPooling1D()(fast), LastStep()(slow)]
    return keras.Model(x, layers.Dense(2)(layers.Concatenate()(pooled)))


def two_outputs():
    x = keras.Input((24, CHANNELS))
    return keras.Model(x, [layers.AveragePooling1D(2)(x), layers.MaxPooling1D(3)(x), DSS(2)(x)])


def nested():
    inner = keras.Sequential([keras.Input((12, CHANNELS)), layers.Conv1D(3, 2, strides=2), layers.GlobalMaxPooling1D()])
    return sequential(layers.AveragePooling1D(2), inner, layers.Dense(2))


# The period of the model, and the least signal-to-noise ratio in dB; see test_lowering_layers.py.
DROPPING = {
    "average": (lambda: sequential(layers.AveragePooling1D(2)), 2, 65),
    "overlapping average": (lambda: sequential(layers.AveragePooling1D(3, strides=2)), 2, 65),
    "maximum": (lambda: sequential(layers.MaxPooling1D(3)), 3, 70),
    "maximum with gaps": (lambda: sequential(layers.MaxPooling1D(2, strides=3), layers.Dense(2)), 3, 42),
    "causal convolution": (lambda: sequential(layers.Conv1D(5, 3, strides=2, padding="causal")), 2, 42),
    "convolution without padding": (lambda: sequential(layers.Conv1D(5, 4, strides=3)), 3, 42),
    "convolution of one step": (lambda: sequential(layers.Conv1D(5, 1, strides=4)), 4, 42),
    "convolution behind padding": (
        lambda: sequential(layers.ZeroPadding1D((1, 0)), layers.Conv1D(5, 3, strides=2)),
        2,
        42,
    ),
    "low-rank convolution": (lambda: sequential(LowRankConv1D(5, 3, rank=2, strides=2, padding="causal")), 2, 38),
    "depthwise convolution": (lambda: sequential(layers.DepthwiseConv1D(3, strides=2, depth_multiplier=2)), 2, 42),
    "separable convolution": (lambda: sequential(layers.SeparableConv1D(5, 5, strides=2)), 2, 38),
    "behind a late value": (lambda: sequential(layers.Conv1D(5, 2), layers.Conv1D(5, 3, strides=2)), 2, 38),
    "late twice": (lambda: sequential(layers.Conv1D(5, 5, strides=2), layers.MaxPooling1D(3, strides=2)), 4, 40),
    "average of late values": (
        lambda: sequential(layers.Conv1D(5, 5, strides=2), layers.GlobalAveragePooling1D()),
        2,
        38,
    ),
    "recurrent layer behind it": (
        lambda: sequential(layers.MaxPooling1D(2), layers.GRU(4, return_sequences=True), layers.LSTM(3)),
        2,
        34,
    ),
    "normalisation behind it": (lambda: sequential(layers.MaxPooling1D(2), layers.LayerNormalization()), 2, 38),
    "in series": (in_series, 4, 30),
    "branches": (branches, 2, 36),
    "several outputs": (two_outputs, 6, 40),
    "nested": (nested, 4, 40),
}


def smooth(seed, length=24):
    random = np.random.default_rng(seed)
    drift = np.sin(np.arange(length)[:, None] * random.uniform(0.05, 0.4, CHANNELS) + random.uniform(0, 6, CHANNELS))
    return drift + 0.5 * random.normal(size=(4, length, CHANNELS))


def decibels(expected, received):
    return 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(received - expected))


class TestDroppingSteps:
    @pytest.mark.parametrize("name", DROPPING)
    def test_is_near_keras(self, name):
        make, period, least = DROPPING[name]
        keras.utils.set_random_seed(1)
        model, data = make(), smooth(0)
        converted = convert(model, data)
        assert converted.program.steps == period
        outputs, _ = ran(converted.program, converted.quantize(data), converted.tflite)
        values = converted.dequantize(outputs if len(outputs) > 1 else outputs[0])
        for expected, received in zip(listed(model.predict(data, verbose=0)), listed(values), strict=True):
            received = received[:, converted.phase :] if expected.ndim == 3 else received[:, -1]
            assert expected.shape == received.shape
            ratio = decibels(expected, received)
            print(f"{name}: {ratio:.1f}")
            assert ratio > least

    def test_takes_longer_blocks_too(self):
        keras.utils.set_random_seed(1)
        model, data = in_series(), smooth(0)
        short, long = convert(model, data), convert(model, data, steps=12)
        np.testing.assert_array_equal(short.predict(data), long.predict(data))
        difference = TensorFlowRunner(long.tflite).run(long.quantize(data)) - Emulator(long.program).run(
            long.quantize(data)
        ).astype(int)
        assert np.abs(difference).max() <= 30  # of 16 bits; it rounds fully connected layers in another way

    def test_an_average_behind_it_counts_what_is_left(self):
        """The pattern that a mean over the wrong number of values would change by half."""
        data = np.ones((2, 24, CHANNELS))
        model = sequential(layers.AveragePooling1D(2), layers.GlobalAveragePooling1D())
        np.testing.assert_allclose(convert(model, data).predict(data), 1.0, atol=1e-3)

    def test_embedded_tokens(self):
        model = keras.Sequential(
            [
                keras.Input((12,), dtype="int32"),
                layers.Embedding(9, 4),
                layers.Conv1D(3, 3, strides=2, padding="causal"),
            ]
        )
        tokens = np.random.default_rng(0).integers(0, 9, (4, 12))
        converted = convert(model, tokens)
        assert converted.quantize(tokens).shape == (4, 6, 2, 1)
        (received,), _ = ran(converted.program, converted.quantize(tokens))
        assert decibels(model.predict(tokens, verbose=0), converted.dequantize(received)) > 38


class TestRefusals:
    def test_of_steps_that_are_no_multiple_of_the_period(self, windows):
        for steps in (3, 6):
            with pytest.raises(ValueError, match=f"Received steps={steps}; expected a multiple of 4, after which"):
                convert(in_series(), smooth(0), steps=steps)

    def test_of_windows_that_end_inside_a_block(self, classifier, windows):
        with pytest.raises(ValueError, match="averages over windows of 24 steps, which end inside a block of 5"):
            convert(classifier, windows, steps=5)

    def test_of_sequences_that_are_no_whole_number_of_blocks(self, classifier, windows):
        blocks = convert(classifier, windows, steps=4)
        last = keras.Sequential([keras.Input((None, 3)), layers.GRU(2)])
        for refused in (functools.partial(blocks.quantize, whole=False), convert(last, windows, steps=4).predict):
            with pytest.raises(ValueError, match=r"shape \[8, 22, 3\]; expected .* a multiple of 4 as L"):
                refused(windows[:, :22])

    def test_of_branches_at_different_rates(self):
        x = keras.Input((None, CHANNELS))
        model = keras.Model(x, layers.Add()([layers.MaxPooling1D(2)(x), layers.MaxPooling1D(3)(x)]))
        reason = r"different steps .period 2 .*period 3 .*Give its branches the same"
        with pytest.raises(NotImplementedError, match=reason):
            convert(model, smooth(0))
