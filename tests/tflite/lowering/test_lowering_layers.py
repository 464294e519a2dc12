"""Layers that keep the rate of steps, in tiny models: near their float values, and equal on emulator and TFLM."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS, GLU, LastStep, LowRankConv1D
from keras_s4.tflite import convert, lowering, runtimes
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering import registry
from keras_s4.tflite.lowering.reciprocal_root import add_normalize
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.fixed_point import product_multiplier, quantize_multiplier, reduced_mantissa
from keras_s4.tflite.program.operations import Add, Requantize

STREAMS, LENGTH, CHANNELS = 4, 30, 4


def smooth(seed, channels=CHANNELS, length=LENGTH):
    """Noise with a drift: no two steps alike, no channel at rest."""
    random = np.random.default_rng(seed)
    drift = np.sin(np.arange(length)[:, None] * random.uniform(0.05, 0.4, channels) + random.uniform(0, 6, channels))
    return drift + 0.5 * random.normal(size=(STREAMS, length, channels))


def bursts(seed, factor=30.0, channels=CHANNELS):
    """Noise whose amplitude moves over this factor (the variance over its square) in the course of each stream."""
    envelope = factor ** -np.linspace(0, 1, LENGTH)
    random = np.random.default_rng(seed)
    return random.normal(size=(STREAMS, LENGTH, channels)) * envelope[:, None] * 10


def randomised(model):
    """Biases, gains, slopes and averages as training leaves them: not 0 and 1."""
    random = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "mean", "moving_mean"):
            weight.assign(0.3 * random.normal(size=weight.shape))
        if weight.name in ("gamma", "scale", "moving_variance", "variance", "alpha"):
            weight.assign(random.uniform(0.3, 1.5, weight.shape))
    return model


def sequential(*stack, channels=CHANNELS, length=LENGTH):
    return keras.Sequential([keras.Input((length, channels)), *stack])


def merged(layer, wide="int16", branches=2):
    """A layer that joins branches: of dense layers, int16, or with a sigmoid, int8."""
    x = keras.Input((LENGTH, CHANNELS))
    activations = {"int16": [None] * branches, "int8": ["sigmoid", "tanh", "relu"], "both": [None, "tanh", "sigmoid"]}
    outputs = [layers.Dense(3, activation=activations[wide][index])(x) for index in range(branches)]
    return keras.Model(x, layer(outputs))


def broadcast(layer):
    x = keras.Input((LENGTH, CHANNELS))
    return keras.Model(x, layer([x, layers.Dense(1)(x)]))


def padded(layer, front):
    return sequential(layers.ZeroPadding1D((front, 0)), layer)


def nested():
    inner = keras.Sequential([keras.Input((LENGTH, 5)), layers.Conv1D(4, 2, padding="causal"), layers.ReLU()])
    return sequential(layers.Dense(5), inner, DSS(2, name="last"))


def shared():
    x = keras.Input((LENGTH, CHANNELS))
    dense = layers.Conv1D(3, 2, padding="causal")
    return keras.Model(x, layers.Concatenate()([dense(x), dense(layers.Dense(CHANNELS)(x))]))


def convolutional_classifier():
    """The usual one: without padding, so that each layer starts later than the one before."""
    return sequential(
        layers.Conv1D(6, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.Conv1D(6, 3, dilation_rate=2, activation="relu"),
        layers.MaxPooling1D(2, strides=1),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3, activation="softmax"),
    )


# Least signal-to-noise ratio in dB. A tensor of 8 bits over its own range has some 40 dB, less where values crowd near
# zero; a product with 8-bit weights some 42; the int16 path of sums, maxima and gains 65 and more.
CASES = {
    "add": (lambda: merged(layers.Add()), 40),
    "add, int8": (lambda: merged(layers.Add(), "int8", 3), 34),
    "add, both types": (lambda: merged(layers.Add(), "both", 3), 36),
    "add, broadcast": (lambda: broadcast(layers.Add()), 45),
    "subtract": (lambda: merged(layers.Subtract()), 40),
    "subtract, both types": (lambda: merged(layers.Subtract(), "both"), 36),
    "multiply": (lambda: merged(layers.Multiply(), branches=3), 36),
    "multiply, both types": (lambda: merged(layers.Multiply(), "both", 3), 34),
    "multiply, int8": (lambda: merged(layers.Multiply(), "int8"), 30),
    "multiply, broadcast": (lambda: broadcast(layers.Multiply()), 40),
    "gated linear unit": (lambda: sequential(layers.Dense(6), GLU()), 34),
    "gated linear unit, int16": (lambda: sequential(GLU()), 45),
    "average": (lambda: merged(layers.Average(), branches=3), 40),
    "maximum": (lambda: merged(layers.Maximum(), branches=3), 40),
    "maximum, both types": (lambda: merged(layers.Maximum(), "both", 3), 36),
    "minimum, int8": (lambda: merged(layers.Minimum(), "int8", 3), 34),
    "concatenate": (lambda: merged(layers.Concatenate(), branches=3), 40),
    "concatenate, both types": (lambda: merged(layers.Concatenate(), "both", 3), 34),
    "concatenate, int8": (lambda: merged(layers.Concatenate(axis=2), "int8", 3), 32),
    "relu": (lambda: sequential(layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2)), 34),
    "leaky relu": (lambda: sequential(layers.LeakyReLU(0.2)), 36),
    "elu": (lambda: sequential(layers.ELU()), 36),
    "hard swish": (lambda: sequential(layers.Activation("hard_swish")), 34),
    "prelu": (lambda: sequential(layers.PReLU(shared_axes=[1])), 65),
    "prelu, one slope": (lambda: sequential(layers.PReLU(shared_axes=[1, 2])), 36),
    "softmax": (lambda: sequential(layers.Dense(3), layers.Softmax()), 38),
    "rescaling": (lambda: sequential(layers.Rescaling(1 / 255, offset=[0.1, 0.2, 0.3, 0.4])), 65),
    "normalization": (lambda: sequential(layers.Normalization(mean=[1, 2, 3, 4], variance=[4, 3, 2, 1])), 65),
    "causal convolution": (lambda: sequential(layers.Conv1D(5, 3, padding="causal")), 42),
    "causal convolution, dilated": (lambda: sequential(layers.Conv1D(5, 3, padding="causal", dilation_rate=3)), 42),
    "causal convolution of int8": (
        lambda: sequential(layers.Activation("sigmoid"), layers.Conv1D(5, 3, padding="causal", activation="tanh")),
        32,
    ),
    "convolution without bias and padding": (lambda: sequential(layers.Conv1D(5, 4, use_bias=False)), 42),
    "convolution behind padding": (lambda: padded(layers.Conv1D(5, 4), 2), 42),
    "convolution of one step": (lambda: sequential(layers.Conv1D(5, 1, activation="relu")), 34),
    "low-rank convolution": (lambda: sequential(LowRankConv1D(5, 3, rank=2, padding="causal")), 38),
    "depthwise convolution": (lambda: padded(layers.DepthwiseConv1D(3, activation="relu"), 2), 34),
    "depthwise convolution, multiplied": (lambda: sequential(layers.DepthwiseConv1D(3, depth_multiplier=2)), 42),
    "depthwise convolution, dilated": (lambda: padded(layers.DepthwiseConv1D(3, dilation_rate=2), 4), 42),
    "separable convolution": (lambda: padded(layers.SeparableConv1D(5, 3, depth_multiplier=2), 2), 38),
    "cropping": (lambda: sequential(layers.Cropping1D((3, 0)), layers.Dense(2)), 42),
    "local average": (lambda: sequential(layers.AveragePooling1D(3, strides=1)), 65),
    "local maximum": (lambda: sequential(layers.MaxPooling1D(3, strides=1)), 70),
    "local maximum of int8": (lambda: sequential(layers.ELU(), layers.MaxPooling1D(2, strides=1)), 36),
    "maximum over time": (lambda: sequential(layers.GlobalMaxPooling1D()), 70),
    "maximum over time, int8": (lambda: sequential(layers.ELU(), layers.GlobalMaxPooling1D()), 36),
    "average over time, late": (lambda: sequential(layers.Conv1D(5, 3), layers.GlobalAveragePooling1D()), 36),
    "last step": (lambda: sequential(LastStep(), layers.LayerNormalization(axis=1), layers.Dense(2)), 36),
    "reshape": (lambda: sequential(layers.Reshape((-1, 2, 2)), layers.Dense(3), layers.LayerNormalization()), 36),
    "permute nothing, flatten": (
        lambda: sequential(layers.Permute((1, 2)), LastStep(), layers.Reshape((2, 2)), layers.Flatten()),
        70,
    ),
    "time distributed": (lambda: sequential(layers.TimeDistributed(layers.Dense(3, activation="tanh"))), 34),
    "nested model": (nested, 34),
    "layer called twice": (shared, 38),
    "identities": (lambda: sequential(layers.GaussianNoise(0.1), layers.Masking(), layers.Identity()), 70),
    "convolutional classifier": (convolutional_classifier, 28),
}
NORMALISATIONS = {
    "layer normalisation": lambda: layers.LayerNormalization(epsilon=1e-6),
    "layer normalisation, plain": lambda: layers.LayerNormalization(epsilon=1e-6, center=False, scale=False),
    "RMS normalisation": lambda: layers.RMSNormalization(),
    "unit normalisation": lambda: layers.UnitNormalization(),
}


def run(converted, data):
    """Outputs of emulator and TFLM as real numbers; every output and state of every step is equal."""
    program, integers = converted.program, converted.quantize(data)
    if not program.operations:
        return converted.dequantize(integers)
    trace = Emulator(program, check_overflow=True).trace(integers, [state.after.name for state in program.states])
    outputs, states = runtimes.run_tflm(converted.tflite, integers, keep_states=True)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for ours, theirs in zip(trace.outputs, outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for state, theirs in zip(program.states, states, strict=True):
        np.testing.assert_array_equal(trace.tensors[state.after.name], theirs)
    return converted.dequantize(outputs if len(outputs) > 1 else outputs[0])


def decibels(expected, received):
    return 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(received - expected))


def compared(model, data):
    converted = convert(model, data)
    received, expected = run(converted, data), keras.ops.convert_to_numpy(model(data))
    if received.ndim > expected.ndim:
        return expected, received[:, -1]
    return expected, received[:, converted.phase :]


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    make, least = CASES[name]
    keras.utils.set_random_seed(1)
    expected, received = compared(randomised(make()), smooth(0))
    assert expected.shape == received.shape
    ratio = decibels(expected, received)
    print(f"{name}: {ratio:.1f}")
    assert ratio > least


@pytest.mark.parametrize("channels", [4, 48])
@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisation_of_a_variance_that_moves_over_a_thousand(name, channels):
    data = bursts(0, channels=channels)
    expected, received = compared(randomised(sequential(NORMALISATIONS[name](), channels=channels)), data)
    for part in np.array_split(np.arange(LENGTH), 3):
        ratio = decibels(expected[:, part], received[:, part])
        print(f"{name} {channels} {part[0]}: {ratio:.1f}")
        assert ratio > 40


def two_by_two(names=False):
    """Two sensors; a class at the end, with the probabilities left to the host, and an estimate at each step."""
    motion, sound = keras.Input((LENGTH, CHANNELS), name="motion"), keras.Input((LENGTH, 2), name="sound")
    joined = layers.Concatenate()(
        [DSS(2, name="memory")(motion), layers.Dense(3, activation="tanh", name="ears")(sound)]
    )
    label = layers.Dense(3, activation="softmax", name="label")(layers.GlobalMaxPooling1D()(joined))
    estimate = layers.Dense(2, name="estimate")(joined)
    return keras.Model(
        [motion, sound], {"label": label, "estimate": estimate} if names else [label, estimate], name="two_by_two"
    )


@pytest.fixture(scope="module")
def two_sensors():
    keras.utils.set_random_seed(2)
    return two_by_two(), [smooth(1), smooth(2, channels=2)]


class TestSeveralInputsAndOutputs:
    def test_each_output_is_near_keras_with_an_activation_of_its_own(self, two_sensors):
        model, data = two_sensors
        converted = convert(model, data)
        label, estimate = run(converted, data)
        expected = model.predict(data, verbose=0)
        assert [tensor.name for tensor in converted.program.inputs] == ["motion", "sound"]
        assert converted.program.output_activations == ("softmax", "linear")
        np.testing.assert_allclose(label.sum(axis=-1), 1.0)
        assert decibels(expected[0], label[:, -1]) > 34
        assert decibels(expected[1], estimate) > 34
        for ours, theirs in zip(converted.predict(data), (label[:, -1], estimate), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_dicts_by_name(self, two_sensors):
        model, data = two_sensors
        by_name = dict(zip(("sound", "motion"), data[::-1], strict=True))
        converted = convert(model, by_name)
        assert converted.tflite == convert(model, data).tflite
        for ours, theirs in zip(converted.quantize(by_name), converted.quantize(data), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        named = two_by_two(names=True)
        for layer in filter(lambda layer: layer.weights, model.layers):
            named.get_layer(layer.name).set_weights(layer.get_weights())
        outputs, (label, estimate) = convert(named, data).predict(data), converted.predict(data)
        assert set(outputs) == set(named.predict(data, verbose=0)) == {"label", "estimate"}
        np.testing.assert_array_equal(outputs["label"], label)
        np.testing.assert_array_equal(outputs["estimate"], estimate)

    def test_verify(self, two_sensors):
        model, data = two_sensors
        labels = model.predict(data, verbose=0)[0].argmax(axis=1)
        found = convert(model, data).verify(model, data, labels)
        assert found.bit_exact
        assert found.accuracy["keras"] == 1.0
        assert found.streamed_deviation < 1e-5
        assert found.accuracy["streamed"] == 1.0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a, b: a, r"has 2 inputs \(motion, sound\) and got 1"),
            (lambda a, b: [a, b, b], r"and got 3; pass a list of arrays in this order"),
            (lambda a, b: {"motion": a, "light": b}, r"got inputs named \['light', 'motion'\]; expected"),
            (lambda a, b: [a, b[:2]], "expected as many sequences, and as many steps, of every input"),
            (lambda a, b: [b, a], "Representative data has shape"),
        ],
    )
    def test_refuses_other_data(self, two_sensors, change, message):
        model, data = two_sensors
        with pytest.raises(ValueError, match=message):
            convert(model, change(*data))


class TestMaximumOverTime:
    @pytest.mark.parametrize("type", ["int8", "int16"])
    def test_of_values_that_are_all_negative(self, type):
        """The state starts at 0 and a reset returns to it: 0 must lie below every value, the lowest included."""
        stack = [layers.Activation("elu")] if type == "int8" else []
        data = np.full((1, LENGTH, 2), -3.0)
        data[:, -1] = -2.5
        model = sequential(*stack, layers.GlobalMaxPooling1D(), channels=2)
        converted = convert(model, np.concatenate([data, -data]))
        lowest = np.full((1, 3, 2), -(2**15), np.int16)  # of full scale, and below what was calibrated
        received = Emulator(converted.program).run(np.concatenate([lowest, converted.quantize(data)], axis=1))
        (pooling,) = converted.program.states
        assert pooling.before.type == "int32"
        expected = np.maximum.accumulate(received, axis=1)
        np.testing.assert_array_equal(received, expected)
        assert np.all(converted.dequantize(received) < 0)

    def test_no_value_is_below_the_state_that_a_reset_gives(self):
        """For each integer that the input can be, the first step gives that very integer."""
        model = sequential(layers.GlobalMaxPooling1D(), channels=1)
        converted = convert(model, smooth(0, channels=1))
        every = np.arange(-(2**15), 2**15, 37, dtype=np.int16)[:, None, None]
        np.testing.assert_array_equal(Emulator(converted.program).run(every), every)


class TestLateValues:
    def test_a_pooling_waits_for_the_first_of_them(self):
        """What a convolution gives before its window is full must not reach a maximum or an average."""
        for pooling in (layers.GlobalMaxPooling1D(), layers.GlobalAveragePooling1D()):
            keras.utils.set_random_seed(0)
            model = sequential(layers.Conv1D(3, 5, bias_initializer="ones"), pooling)
            data = -np.abs(smooth(0)) - 1
            model.layers[0].kernel.assign(np.abs(model.layers[0].kernel))
            converted = convert(model, data)
            assert converted.phase == 4
            received = run(converted, data)
            assert decibels(model.predict(data, verbose=0), received[:, -1]) > 40

    def test_the_count_of_steps_stops(self):
        converted = convert(sequential(layers.Conv1D(3, 5), layers.GlobalMaxPooling1D()), smooth(0))
        (steps,) = [state for state in converted.program.states if "steps" in state.after.name]
        trace = Emulator(converted.program).trace(converted.quantize(smooth(0)), [steps.after.name])
        assert trace.tensors[steps.after.name][0, :, 0].tolist() == [1, 2, 3, 4, 5, *[5] * (LENGTH - 5)]


def test_silence_is_normalised_to_silence():
    data = np.concatenate([smooth(0), np.zeros((1, LENGTH, CHANNELS))])
    for name, make in NORMALISATIONS.items():
        model = sequential(make())
        if name != "layer normalisation":
            assert np.abs(run(convert(model, data), data)[-1]).max() == 0


@pytest.mark.parametrize("make", NORMALISATIONS.values(), ids=NORMALISATIONS)
@pytest.mark.parametrize("data", [np.zeros((2, LENGTH, 3)), smooth(0, channels=1)], ids=["zeros", "one channel"])
def test_nothing_to_normalise(make, data):
    expected, received = compared(sequential(make(), channels=data.shape[-1]), data)
    assert np.abs(received - expected).max() < 0.02


def test_layer_normalisation_far_from_zero():
    data = 50 + 0.3 * smooth(0, channels=8)
    expected, received = compared(sequential(layers.LayerNormalization(), channels=8), data)
    assert decibels(expected, received) > 38  # of 16 bits, a 200th is left for what varies


@pytest.mark.parametrize("silent", [False, True])
def test_energies_have_scales_from_which_all_engines_take_one_multiplier(silent):
    """TensorFlow Lite Micro of August 2026 rounds the product of two scales to single precision."""

    def multipliers(scale, energy_scale):
        single = np.float32(scale) * np.float32(scale)
        each = quantize_multiplier(float(single) / float(np.float32(energy_scale)))
        other = product_multiplier(scale, scale, energy_scale)
        return [(reduced_mantissa(multiplier.mantissa), multiplier.shift) for multiplier in (each, other)]

    builder = registry.ProgramBuilder(None)
    random = np.random.default_rng(0)
    wanted = [scale for scale in random.uniform(0.001, 0.1, 5000) if len(set(multipliers(scale, 2.0**-9))) == 2]
    assert len(wanted) >= 5
    for index, scale in enumerate(wanted):
        tensor = builder.tensor(f"input_{index}", (4,), "int16", scale)
        values = scale * (not silent) * random.integers(-128, 128, (2, 20, 4))
        add_normalize(f"normalize_{index}", Signal(tensor, values), 0.25, 1e-3, builder)
    for operation in builder.operations:
        for energy in (operation.coarse, operation.fine):
            assert len(set(multipliers(operation.input.scale, energy.scale))) == 1


def test_window_states_are_as_small_as_their_input():
    converted = convert(sequential(layers.Conv1D(5, 3, padding="causal", dilation_rate=2)), smooth(0))
    (state,) = converted.program.states
    assert (state.before.type, state.before.shape) == ("int16", (4 * CHANNELS,))


def test_layer_of_ones_own_with_a_state(registries):
    """A smoother `y <- y + (x - y) / 4`, registered, exported, and compared."""

    class Smoother(layers.Layer):
        def call(self, inputs):
            outputs = [inputs[:, 0] / 4]
            for index in range(1, inputs.shape[1]):
                outputs.append(outputs[-1] + (inputs[:, index] - outputs[-1]) / 4)
            return keras.ops.stack(outputs, axis=1)

    @lowering.register(Smoother)
    def lower_smoother(layer, inputs, builder):
        tensor, values = inputs[0].tensor, np.array(keras.ops.convert_to_numpy(layer.call(inputs[0].values)))
        state = builder.state(f"{layer.name}/state", tensor.shape, tensor.scale, "int16")
        output = builder.tensor(f"{layer.name}/output", tensor.shape, "int16", tensor.scale)
        builder.add(Add(state.before, tensor, 3, 1, tensor.scale / 4, output))
        builder.add(Requantize(output, state.after))
        return Signal(output, values)

    assert "Smoother" in lowering.supported_layers()
    expected, received = compared(sequential(Smoother(), layers.Dense(3)), smooth(0))
    assert decibels(expected, received) > 42
