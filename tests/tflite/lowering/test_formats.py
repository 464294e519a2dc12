"""int16 activations, for a whole model or layer by layer: what they hold, what they gain, what is refused."""

import json

import keras
import numpy as np
import pytest
from conformance import shake
from rich.console import Console

from keras_s4 import layers
from keras_s4.tflite import compare_formats, convert, runtimes
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering import piecewise
from keras_s4.tflite.program.operations import Interpolate, Squash

LENGTH, CHANNELS = 40, 3
ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu"),
    *("log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign"),
    *("sparse_plus", "squareplus", "tanh", "tanh_shrink"),
)


def on_grid(model):
    """The model with its dense kernels on the grid of the exporter's 8-bit weights, as after training on it."""
    for weight in model.weights:
        if weight.name.startswith("kernel") and len(weight.shape) == 2:
            values = keras.ops.convert_to_numpy(weight).astype(np.float64)
            unit = np.abs(values).max() / 127.0
            weight.assign(np.rint(values / unit) * unit)
    return model


def noise(seed=0, shape=(24, LENGTH, CHANNELS)):
    return np.random.default_rng(seed).normal(size=shape)


def run_both(converted, x):
    """Real outputs of the emulator, after TensorFlow Lite Micro gave the same integers in every output and state."""
    program, integers = converted.program, converted.quantize(x)
    trace = Emulator(program, check_overflow=True).trace(integers, record=[s.after.name for s in program.states])
    outputs, states = runtimes.run_tflm(converted.tflite, integers, keep_states=True)
    outputs = outputs if len(program.outputs) > 1 else [outputs]
    for ours, theirs in zip(trace.outputs, outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for state, theirs in zip(program.states, states, strict=True):
        np.testing.assert_array_equal(trace.tensors[state.after.name], theirs)
    return [
        (q.astype(np.float64) - tensor.zero_point) * tensor.scale
        for q, tensor in zip(trace.outputs, program.outputs, strict=True)
    ]


def decibels(expected, received):
    return 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(received - expected))


def logits(converted, x):
    """Of the last step, less their mean."""
    values = run_both(converted, x)[0][:, -1]
    return values - values.mean(axis=-1, keepdims=True)


def log_probabilities(model, x):
    values = np.log(np.float64(keras.ops.convert_to_numpy(model(x, training=False))))
    return values - values.mean(axis=-1, keepdims=True)


def int8_activations(converted):
    return [t.name for t in converted.program.tensors() if t.type == "int8" and t.data is None]


FORMATS = {"int8": "int8", "int16": "int16", "first": {"block_1": "int16"}, "second": {"block_2": "int16"}}


@pytest.fixture(scope="module")
def classifier():
    return drawn_classifier(0)


def drawn_classifier(seed):
    """Random weights of this seed."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((LENGTH, CHANNELS))
    y = keras.layers.Dense(8, name="encoder")(x)
    y = layers.S4Block(6, name="block_1")(y)
    y = layers.S4Block(6, activation="silu", value_rank=4, gate_rank=3, name="block_2")(y)
    y = keras.layers.GlobalAveragePooling1D(name="pooling")(y)
    model = keras.Model(x, keras.layers.Dense(4, activation="softmax", name="head")(y))
    return on_grid(shake(model))


@pytest.fixture(scope="module")
def programs(classifier):
    """The classifier in four formats."""
    return {name: convert(classifier, noise(), activations=format) for name, format in FORMATS.items()}


class TestClassifier:
    @pytest.mark.parametrize("format", ["int16", "first", "second"])
    def test_emulator_and_device_agree_and_nothing_wraps(self, programs, format):
        run_both(programs[format], noise(1, (3, LENGTH, CHANNELS)))
        run_both(programs[format], 30.0 * noise(2, (2, LENGTH, CHANNELS)))

    def test_logits_gain_15_decibels(self):
        """With weights on the 8-bit grid, so that activations are all that rounds.

        On average of three models: of a single one the roundings of two blocks may happen to cancel.
        """
        x = noise(1, (8, LENGTH, CHANNELS))
        found = {name: [] for name in FORMATS}
        for seed in range(3):
            model = drawn_classifier(seed)
            expected = log_probabilities(model, x)
            for name, format in FORMATS.items():
                found[name].append(decibels(expected, logits(convert(model, noise(), activations=format), x)))
        ratios = {name: np.mean(each) for name, each in found.items()}
        assert ratios["int16"] > ratios["int8"] + 15
        assert ratios["int8"] < min(ratios["first"], ratios["second"])
        assert max(ratios["first"], ratios["second"]) < ratios["int16"]

    def test_the_type_is_that_of_the_layer(self, programs):
        assert int8_activations(programs["int16"]) == []
        for format, block in (("first", "block_2/"), ("second", "block_1/")):
            names = int8_activations(programs[format])
            assert names
            assert all(name.startswith(block) for name in names)
        for tensor in programs["int16"].program.tensors():
            if tensor.type == "int16" and tensor.data is None and tensor.name != "pooling/output":
                assert np.log2(tensor.scale) % 1 == 0, tensor.name

    def test_sigmoid_and_silu_take_no_table(self, programs):
        kinds = [type(operation) for operation in programs["int16"].program.operations]
        assert kinds.count(Squash) == 3
        assert kinds.count(Interpolate) == 1


class TestLayers:
    def test_every_activation(self):
        """Behind dense layers of one input, each an output of the model."""
        keras.utils.set_random_seed(0)
        x = keras.Input((LENGTH, CHANNELS))
        model = keras.Model(x, [keras.layers.Dense(3, activation=name, name=name)(x) for name in ACTIVATIONS])
        on_grid(shake(model))
        data = noise(3, (6, LENGTH, CHANNELS))
        converted = convert(model, data, activations="int16")
        assert int8_activations(converted) == []
        for name, expected, received in zip(ACTIVATIONS, model(data), run_both(converted, data), strict=True):
            # One is steep, so that its output holds little more than the rounding of its argument; one jumps.
            least = {"exponential": 45, "hard_shrink": 25}.get(name, 65)
            assert decibels(np.float64(expected), received) > least, name

    def test_a_stack(self):
        keras.utils.set_random_seed(0)
        stack = [keras.layers.Dense(5, activation=name) for name in ("gelu", "selu", "softsign", "relu", "mish")]
        model = on_grid(shake(keras.Sequential([keras.Input((LENGTH, CHANNELS)), *stack])))
        x = noise(4, (6, LENGTH, CHANNELS))
        expected = np.float64(model(x))
        narrow, wide = (run_both(convert(model, x, activations=type), x)[0] for type in ("int8", "int16"))
        assert decibels(expected, wide) > decibels(expected, narrow) + 15

    @pytest.mark.parametrize(
        "make",
        [
            lambda: keras.layers.GRU(4, activation="elu", recurrent_activation="hard_sigmoid"),
            lambda: keras.layers.LSTM(4, activation="softsign", return_sequences=True),
            lambda: keras.layers.SimpleRNN(4, activation="relu"),
            lambda: keras.layers.Conv1D(4, 3, padding="causal", activation="gelu"),
        ],
        ids=["GRU", "LSTM", "SimpleRNN", "Conv1D"],
    )
    def test_layers_with_a_memory(self, make):
        model = shake(keras.Sequential([keras.Input((LENGTH, CHANNELS)), make()]))
        x = noise(5, (4, LENGTH, CHANNELS))
        converted = convert(model, x, activations="int16")
        assert int8_activations(converted) == []
        run_both(converted, x)

    def test_behind_int8_tensors(self):
        """An embedding's table is int8 in any case; what reads it widens it."""
        tokens = keras.Input((LENGTH,))
        rows = keras.layers.Embedding(11, 4)(tokens)
        left, right = (keras.layers.Dense(4, activation=name)(rows) for name in ("gelu", "sigmoid"))
        joined = keras.layers.Add()([keras.layers.Multiply()([left, right]), rows])
        joined = keras.layers.Concatenate()([joined, keras.layers.Activation("elu")(rows)])
        model = shake(keras.Model(tokens, keras.layers.Conv1D(3, 2, padding="causal")(joined)))
        data = np.random.default_rng(0).integers(0, 11, (4, LENGTH))
        converted = convert(model, data, activations="int16")
        assert all("embedding" in name for name in int8_activations(converted))
        (received,) = run_both(converted, data)
        assert decibels(np.float64(model(data)), received) > 30

    def test_layers_inside_of_others(self):
        inner = keras.Sequential([keras.Input((LENGTH, CHANNELS)), keras.layers.Dense(3, "gelu", name="a")], name="in")
        inner.add(keras.layers.Dense(3, "gelu", name="b"))
        wrapped = keras.layers.TimeDistributed(keras.layers.Dense(3, "gelu", name="c"), name="td")
        model = keras.Sequential([keras.Input((LENGTH, CHANNELS)), inner, wrapped])
        x = noise(6, (2, LENGTH, CHANNELS))

        def left_in_int8(activations):
            return {name.split("/")[1] for name in int8_activations(convert(model, x, activations=activations))}

        assert left_in_int8({"in/a": "int16"}) == {"b", "c"}
        assert left_in_int8({"in": "int16", "in/b": "int8"}) == {"b", "c"}
        assert left_in_int8({"in": "int16"}) == {"c"}
        assert left_in_int8({"td/c": "int16"}) == {"a", "b"}


class TestLines:
    @pytest.mark.parametrize("activation", ["gelu", "softplus", "elu", "selu", "mish"])
    def test_error_at_every_input(self, activation):
        """Within 2 units of int16, the output's rounding included, wherever calibration went; on the device, too."""
        model = keras.Sequential([keras.Input((1, 64)), keras.layers.Activation(activation)])
        calibrated = np.linspace(-6.0, 6.0, 64)
        converted = convert(model, calibrated[None, None], activations="int16")
        (lines,) = converted.program.operations
        assert isinstance(lines, Interpolate)
        every = np.arange(-(2**15), 2**15, dtype=np.int16).reshape(1, 1024, 64)
        outputs = Emulator(converted.program).run(every)
        np.testing.assert_array_equal(runtimes.run_tflm(converted.tflite, every), outputs)
        function = keras.activations.get(activation)
        exact = np.float64(function(keras.ops.convert_to_tensor(every * lines.input.scale, "float64")))
        exact = np.clip(exact / lines.output.scale, -(2**15), 2**15 - 1)
        assert np.abs(outputs - exact).max() < 2.0
        assert np.abs(outputs - exact).mean() < 0.5

    def test_straight_functions_take_two_lines(self):
        lines = piecewise.fit_lines(lambda x: np.where(x > 0, x, 0.25 * x), 2.0**-12, 2.0**-12)
        assert lines.slope.tolist() == [16, 64]
        assert lines.offset.tolist() == [0, 0]
        assert lines.slope_bits == 6
        assert lines.error == 0.0

    @pytest.mark.parametrize("scale_out", [2.0**-14, 2.0**-11, 2.0**-3])
    def test_the_integers_of_steep_and_flat_functions_fit(self, scale_out):
        lines = piecewise.fit_lines(np.exp, 2.0**-12, scale_out)
        assert np.abs(lines.slope).max() <= 127
        assert np.abs(lines.offset).max() <= 32639
        assert lines.offset_gain <= 64
        assert len(lines.slope) <= 512


class TestRefusals:
    def test_types(self, classifier):
        for activations in ("float16", {"block_1": "float16"}):
            with pytest.raises(ValueError, match="Received activations 'float16'; expected 'int8' or 'int16'"):
                convert(classifier, noise(), activations=activations)

    def test_names(self, classifier):
        with pytest.raises(ValueError, match=r"of layers 'block_3', which model .* has not; it has .*block_1, block_2"):
            convert(classifier, noise(), activations={"block_1": "int16", "block_3": "int16"})


@pytest.fixture(scope="module")
def formats(classifier):
    return compare_formats(classifier, noise())


class TestComparison:
    def test_gains_are_those_of_the_programs(self, formats, programs):
        assert {wide.layers for wide in formats.single} == {("block_1",), ("block_2",)}
        (first,) = (wide for wide in formats.single if wide.layers == ("block_1",))
        assert first.tflite_bytes == len(programs["first"].tflite) - len(programs["int8"].tflite)
        assert [wide.gain for wide in formats.single] == sorted((w.gain for w in formats.single), reverse=True)
        assert formats.together.gain > 15
        assert formats.together.measured == pytest.approx(formats.measured + formats.together.gain)

    def test_ratios_are_those_of_the_logits(self, formats, classifier, programs):
        expected = log_probabilities(classifier, noise())
        assert formats.measured == pytest.approx(decibels(expected, logits(programs["int8"], noise())), abs=0.01)

    def test_report(self, formats):
        assert Console(width=1000).measure(formats.table()).maximum <= 80
        assert len(formats.table().rows) == 3
        assert "everywhere" in formats.advice
        assert json.loads(json.dumps(formats.figures(), allow_nan=False))["single"][0]["layers"]

    def test_weights_are_to_blame(self):
        model = keras.Sequential([keras.Input((LENGTH, CHANNELS)), keras.layers.Dense(3, "relu", name="a")])
        formats = compare_formats(shake(model), noise())
        assert formats.single == (formats.together,)
        plain = keras.Sequential([keras.Input((LENGTH, CHANNELS)), keras.layers.Dense(3)])
        assert compare_formats(plain, noise()).advice == "No layer has int8 activations."
