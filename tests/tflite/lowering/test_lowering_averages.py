"""Poolings of streams that never end: near Keras, equal in all readers, exact, and without drift."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4 import quantize_aware
from keras_s4.layers import RecentAverage, S4Block, SlidingAverage
from keras_s4.models import classifier
from keras_s4.testing.program_builder import Builder
from keras_s4.tflite import convert
from keras_s4.tflite.c99 import CRunner
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.lowering.averages import recent_averages
from keras_s4.tflite.program.operations import RecentMean, SlidingSum
from keras_s4.tflite.runtimes import TflmRunner

LENGTH, CHANNELS = 36, 4
SEQUENCES = {"return_sequences": True}


def drifting(seed=0, streams=6, length=LENGTH):
    random = np.random.default_rng(seed)
    return np.cumsum(random.normal(0.0, 0.4, (streams, length, CHANNELS)), axis=1).astype("float32")


def sequential(*stack, length=LENGTH):
    return keras.Sequential([keras.Input((length, CHANNELS)), *stack])


# name: model, samples in a block
MODELS = {
    "recent": (lambda: sequential(layers.Dense(5), RecentAverage(6.0), layers.Dense(3)), 1),
    "recent, trained, by channel": (
        lambda: sequential(layers.Dense(3, "relu"), RecentAverage([0.5, 4.0, 30.0], 1.0, True, True)),
        1,
    ),
    "recent, every step": (lambda: sequential(RecentAverage(6.0, **SEQUENCES), S4Block(3), layers.Dense(2)), 1),
    "recent, late": (lambda: sequential(layers.Conv1D(5, 4), RecentAverage(6.0)), 1),
    "recent of half the steps": (lambda: sequential(layers.MaxPooling1D(2), RecentAverage(3.0)), 2),
    "sliding": (lambda: sequential(layers.Dense(5), SlidingAverage(12, 3), layers.Dense(3)), 1),
    "sliding, never full": (lambda: sequential(layers.Dense(5, "relu"), SlidingAverage(60, 10)), 1),
    "sliding, late": (lambda: sequential(layers.Conv1D(5, 4), SlidingAverage(8, 4)), 1),
    "sliding of half the steps": (lambda: sequential(layers.MaxPooling1D(2), SlidingAverage(6, 3)), 2),
    "sliding, every hop": (lambda: sequential(SlidingAverage(9, 3, **SEQUENCES), layers.GRU(3)), 3),
    "sliding, every hop, late": (lambda: sequential(layers.Conv1D(5, 3), SlidingAverage(6, 2, **SEQUENCES)), 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_near_keras_and_equal_in_all_readers(name):
    make, steps = MODELS[name]
    model, x = make(), drifting()
    converted = convert(model, x)
    assert converted.program.steps == steps
    found = converted.verify(model, x, task="regression")
    assert found.bit_exact
    assert found.streamed_deviation < 1e-5
    assert found.snr["emulator"] > 25.0


@pytest.mark.parametrize("pooling", [("recent", {"seconds": 8.0}), ("sliding", {"window": 12, "hop": 6})])
def test_aware_training_and_several_steps_an_invoke(pooling):
    pooling, arguments = pooling
    model = classifier((LENGTH, CHANNELS), 3, 6, 3, 1, pooling=pooling, pooling_arguments=arguments)
    x = drifting()
    aware = quantize_aware(model, x)
    converted = convert(aware, x, steps=4)
    found = converted.verify(aware, x, np.zeros(len(x), int))
    assert found.bit_exact
    assert found.agreement["emulator"] > 0.8


def of_one_operation(operation, type="int8", *arguments):
    builder = Builder(seed=0)
    x = builder.activation(3, type, 0.05, -17 if type == "int8" else 0, name="x")
    return builder.program(x, getattr(builder, operation)(x, *arguments))


@pytest.mark.parametrize("type", ["int8", "int16"])
def test_a_constant_is_its_own_mean_exactly_and_for_ever(type):
    """From the first step on; and whatever came before, once the mean has had time to get there."""
    program = of_one_operation("recent_mean", type, [400, 5_000, 2**15])
    (operation,), (x,), (y,) = program.operations, program.inputs, program.outputs
    low, high = np.iinfo(type).min, np.iinfo(type).max
    values = np.array([low, high, 0, 3, 5])
    means = (values - x.zero_point) * operation.finer
    inputs = np.broadcast_to(values[:, None, None], (5, 1_500, 3)).astype(type)
    from_the_start = Emulator(program).run(inputs)
    np.testing.assert_array_equal(from_the_start, np.broadcast_to(means[:, None, None], inputs.shape))
    inputs[:, 0] = high
    np.testing.assert_array_equal(Emulator(program).run(inputs)[:, -100:] - means[:, None, None], 0)
    assert y.scale * operation.finer == x.scale


def test_the_slowest_mean_never_rests_before_it_is_there():
    program = of_one_operation("recent_mean", "int16", [1])
    inputs = np.full((1, 200, 3), 5, np.int16)
    inputs[:, 0] = 3
    (name,) = (state.after.name for state in program.states)
    means = Emulator(program).trace(inputs, [name]).tensors[name][0, :, 0]
    np.testing.assert_array_equal(np.diff(means), 2)  # two units of the input times a part of 2**-15


@pytest.mark.parametrize("type", ["int8", "int16"])
def test_a_mean_stays_within_half_a_unit_of_the_exact_one(type):
    rates = np.array([3, 650, 20_000])
    program = of_one_operation("recent_mean", type, rates.tolist())
    (operation,), (x,) = program.operations, program.inputs
    random = np.random.default_rng(0)
    inputs = random.integers(np.iinfo(type).min, np.iinfo(type).max, (2, 3_000, 3), type, endpoint=True)
    exact = recent_averages((inputs.astype(np.float64) - x.zero_point) * operation.finer, rates / 2**15)
    trace = Emulator(program, check_overflow=True).trace(inputs, [program.states[0].after.name])
    means = trace.tensors[program.states[0].after.name][..., :3] / 2**15
    assert np.abs(means - exact).max() <= 0.5 + 2**-14
    assert np.abs(trace.outputs[0] - means).max() <= 0.5 + 2**-14


@pytest.mark.parametrize("type", ["int8", "int16"])
def test_a_sliding_sum_is_a_fresh_one_at_every_hop(type):
    program = of_one_operation("sliding_sum", type, 5, 4)
    (x,) = program.inputs
    random = np.random.default_rng(0)
    inputs = random.integers(np.iinfo(type).min, np.iinfo(type).max, (2, 2_000, 3), type, endpoint=True)
    outputs = Emulator(program).run(inputs)[:, 4::5]
    values = inputs.astype(int) - x.zero_point
    hops = values.reshape(2, -1, 5, 3).sum(axis=2)
    fresh = np.stack([hops[:, place : place + 4].sum(axis=1) for place in range(hops.shape[1] - 3)], axis=1)
    np.testing.assert_array_equal(outputs[:, 3:], fresh)
    np.testing.assert_array_equal(outputs[:, 0], 4 * hops[:, 0])


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("length", [200, 40_000])
def test_a_sum_that_nobody_resets_stays_at_its_limit_in_all_readers(sign, length):
    """Once it wrapped, so that the largest average became the least. The longer windows need more than 30 bits."""
    model = keras.Sequential([keras.Input((None, 2)), layers.GlobalAveragePooling1D()])
    converted = convert(model, np.ones((1, 200, 2)) * sign, length=length)
    program = converted.program
    limit = program.operations[0].limit
    assert limit == (2**30 if length == 200 else 2**31 - 2**15)
    inputs = np.full((1, 30, 2), np.iinfo("int16").max * sign, np.int16)
    states = [np.full((1, 2), sign * (limit - 10 * 2**15), np.int32)]
    trace = Emulator(program).trace(inputs, [program.states[0].after.name], states)
    ends = trace.tensors[program.states[0].after.name]
    assert np.all(sign * np.diff(ends.astype(np.int64), axis=1) >= 0)
    assert np.unique(ends[:, -1]) == (limit - 1 if sign > 0 else -limit)
    for runner in (CRunner(program), TflmRunner(converted.tflite)):
        np.testing.assert_array_equal(runner.run(inputs, states=states), trace.outputs[0])


def test_a_stream_that_goes_on_is_equal_in_all_readers():
    """The long run is `scripts/soak/streams.py`."""
    for operation, arguments in (("recent_mean", ([40],)), ("sliding_sum", (7, 3))):
        program = of_one_operation(operation, "int16", *arguments)
        inputs = np.random.default_rng(0).integers(-(2**15), 2**15, (1, 1_000, 3)).astype(np.int16)
        expected = Emulator(program).run(inputs)
        np.testing.assert_array_equal(CRunner(program).run(inputs), expected)
        np.testing.assert_array_equal(TflmRunner(to_tflite(program)).run(inputs), expected)


def test_state_is_an_integer_a_channel():
    model = sequential(RecentAverage(5.0))
    program = convert(model, drifting()).program
    assert [type(operation) for operation in program.operations] == [RecentMean]
    assert program.states[0].before.shape == (CHANNELS + 1,)
    program = convert(sequential(SlidingAverage(12, 3)), drifting()).program
    assert isinstance(program.operations[0], SlidingSum)
    assert program.states[0].before.shape == (6 * CHANNELS + 1,)


def test_what_a_device_cannot_do_is_refused():
    with pytest.raises(
        NotImplementedError, match=r"its time constant is 90,000 steps, and a device knows none above 43"
    ):
        convert(sequential(RecentAverage(90_000.0)), drifting())
    with pytest.raises(ValueError, match=r"would sum 70000 steps in 32 bits, which holds 65536; use a shorter window"):
        convert(sequential(SlidingAverage(70_000, 10)), drifting())


@pytest.mark.parametrize(("seconds", "told"), [(600.0, False), (3000.0, False), (21_800.0, True)])
def test_a_time_constant_that_a_device_changes_is_told(seconds, told):
    """1 / 21,800 is 1.5 parts of 2**-15, of which a device takes 2."""
    inputs = keras.Input((20, 2))
    model = keras.Model(inputs, RecentAverage(seconds)(inputs))
    data = np.random.default_rng(0).normal(size=(4, 20, 2)).astype(np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convert(model, data)
    found = [str(each.message) for each in caught if "time constant" in str(each.message)]
    assert bool(found) == told
    if told:
        assert "21,800 steps, and on a device one of 16,384" in found[0] or "of 16,383" in found[0]
