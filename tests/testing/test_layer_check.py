"""`check_layer` takes sound layers and names what is wrong with others."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from registries import restored

from keras_s4 import streaming
from keras_s4.layers import DSS, LastStep, LowRankDense, S4Block
from keras_s4.testing import check_layer
from keras_s4.testing.layer_check import check_chunks, check_export, check_steps
from keras_s4.testing.manners import Flaw, Subject
from keras_s4.tflite import lowering
from keras_s4.tflite.c99 import CRunner

register = keras.saving.register_keras_serializable(package="layer_check")


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(4, 16, 3)).astype("float32")


@register
class Edge(keras.layers.Layer):
    """`gain * x[t] - x[t - 1]`."""

    def __init__(self, gain=1.0, **kwargs):
        super().__init__(**kwargs)
        self.gain = gain
        self.supports_masking = True

    def build(self, input_shape):
        self.bias = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="bias")

    def call(self, inputs):
        return self.gain * inputs - ops.pad(inputs, [[0, 0], [1, 0], [0, 0]])[:, :-1] + self.bias

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "gain": self.gain}


@register
class Halve(keras.layers.Layer):
    """Half of the inputs."""

    def call(self, inputs):
        return inputs / 2

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)


class EdgeStreamer(streaming.Streamer):
    def initial_state(self, batch):
        return ops.zeros((batch, *self.input_shape[1:][1:]))

    def step(self, inputs, state):
        return self.layer.gain * inputs[0] - state + self.layer.bias, inputs[0]


class HalveStreamer(streaming.Streamer):
    def initial_state(self, batch):
        return []

    def step(self, inputs, state):
        return inputs[0] / 2, state


@pytest.fixture
def own_registries():
    with restored():
        yield


def flaws_of(layer, data, **options):
    with pytest.raises(AssertionError) as caught:
        check_layer(layer, data, **options)
    return str(caught.value)


class TestSoundLayers:
    @pytest.mark.parametrize(
        "make", [lambda: S4Block(DSS(2)), lambda: LowRankDense(4, 2, "relu")], ids=["block", "dense"]
    )
    def test_ours(self, data, make):
        layer = make()
        layer.build(data.shape)
        before = layer.get_weights()
        report = check_layer(layer, data)
        assert report.flaws == ()
        assert {"configuration", "masks", "step mode", "chunks", "export, 8 bits"} <= {f.name for f in report.findings}
        assert "emulator = tflm = c" in str(report)
        for kept, given in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(kept, given)

    def test_one_step_of_a_sequence(self, data):
        assert not check_layer(LastStep(), data, export=False).flaws

    def test_a_layer_of_keras_that_drops_steps(self, data):
        assert not check_layer(keras.layers.Conv1D(4, 3, strides=2), data, export=False).flaws

    def test_tokens(self):
        tokens = np.random.default_rng(0).integers(0, 7, (3, 12))
        assert not check_layer(keras.layers.Embedding(7, 3), tokens, export=False).flaws

    def test_a_layer_of_ones_own(self, data, own_registries):
        streaming.register(Halve)(HalveStreamer)
        lowering.register(Halve)(
            lambda layer, inputs, builder: lowering.lower(keras.layers.Rescaling(0.5, name=layer.name), inputs, builder)
        )
        assert not check_layer(Halve(), data).flaws

    def test_what_the_layer_is_not_meant_for_is_not_asked(self, data):
        report = check_layer(keras.layers.Conv1D(2, 3, padding="same"), data, step_mode=False, export=False)
        assert {finding.name for finding in report.findings} & {"step mode", "chunks", "export, 8 bits"} == set()


@register
class WithoutConfig(Edge):
    def get_config(self):
        return keras.layers.Layer.get_config(self)


@register
class WithConstantConfig(Edge):
    def get_config(self):
        return {**super().get_config(), "gain": 1.0}


@register
class WithGreedyFromConfig(Edge):
    @classmethod
    def from_config(cls, config):
        return cls(config.pop("gain"), **config)


@register
class WithObjectsInConfig(Edge):
    def get_config(self):
        return {**super().get_config(), "gain": np.float32(self.gain)}


class Unregistered(Edge):
    pass


@register
class WithHiddenState(Edge):
    made = 0

    def build(self, input_shape):
        super().build(input_shape)
        WithHiddenState.made += 1
        self.offset = float(WithHiddenState.made)

    def call(self, inputs):
        return super().call(inputs) + self.offset


@register
class WithWrongShape(Edge):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 7)


@register
class ReadsThePadding(Edge):
    def call(self, inputs):
        return super().call(inputs) - ops.mean(inputs, axis=1, keepdims=True)


@register
class WithoutMask(Edge):
    def compute_mask(self, inputs, mask=None):
        return None


@register
class OtherwiseInGraphs(Edge):
    def call(self, inputs):
        import tensorflow

        return super().call(inputs) * (1.0 if tensorflow.executing_eagerly() else 1.01)


@register
class WithInfiniteGradient(Edge):
    def call(self, inputs):
        return super().call(inputs) + ops.sqrt(ops.stop_gradient(self.bias) - self.bias)


@register
class WithoutGradient(Edge):
    def call(self, inputs):
        return inputs + ops.stop_gradient(self.bias)


@register
class WithIdleWeight(Edge):
    def build(self, input_shape):
        super().build(input_shape)
        self.idle = self.add_weight(shape=(2,), name="idle")


class TestFlawsOfManners:
    @pytest.mark.parametrize(
        ("layer_class", "words"),
        [
            (WithoutConfig, ["configuration: get_config of WithoutConfig lacks gain", "super().get_config()"]),
            (WithConstantConfig, ["configuration: WithConstantConfig made from its configuration", "differs by"]),
            (WithGreedyFromConfig, ["configuration: from_config of WithGreedyFromConfig changes"]),
            (WithObjectsInConfig, ["configuration: get_config of WithObjectsInConfig is not what JSON can hold"]),
            (Unregistered, ["registered name: Unregistered is not registered", "register_keras_serializable"]),
            (WithHiddenState, ["saved model: the loaded model differs"]),
            (WithWrongShape, ["output shape: compute_output_shape says [4, 16, 7], but the outputs are [4, 16, 3]"]),
            (ReadsThePadding, ["masks: a sequence of 13 steps, padded to 16 and masked, differs by"]),
            (WithoutMask, ["masks: supports_masking is true, but the mask does not reach the layer behind"]),
            (OtherwiseInGraphs, ["compilation: the compiled model differs by 0.01"]),
            (WithoutGradient, ["training: there are trainable weights, but no gradient reaches any"]),
            (WithInfiniteGradient, ["training: a step of training gives", "bias"]),
        ],
    )
    def test_are_named(self, data, layer_class, words):
        message = flaws_of(layer_class(2.0), data, step_mode=False, export=False)
        for word in words:
            assert word in message

    def test_nothing_else_is_named(self, data):
        assert len(flaws_of(WithoutMask(2.0), data, step_mode=False, export=False).splitlines()) == 1

    def test_a_weight_that_nothing_depends_on_is_told(self, data):
        report = check_layer(WithIdleWeight(), data, step_mode=False, export=False)
        assert "training: no gradient reaches with_idle_weight/idle" in str(report)


class TestFlawsOfStepMode:
    def test_a_layer_without_one(self, data):
        message = flaws_of(Edge(), data, export=False)
        assert "step mode: NotImplementedError: Layer" in message and "keras_s4.streaming.register" in message

    def test_a_sound_one(self, data, own_registries):
        streaming.register(Edge)(EdgeStreamer)
        assert not check_layer(Edge(2.0), data, export=False).flaws

    def test_a_state_that_starts_wrong(self, data, own_registries):
        @streaming.register(Edge)
        class _Wrong(EdgeStreamer):
            def initial_state(self, batch):
                return ops.ones((batch, *self.input_shape[2:]))

        with pytest.raises(Flaw, match="step mode differs by"):
            check_steps(Subject.of(Edge(2.0), data, 1e-4))

    def test_a_step_that_forgets_a_bias_that_is_zero_when_fresh(self, data, own_registries):
        @streaming.register(Edge)
        class _Wrong(EdgeStreamer):
            def step(self, inputs, state):
                return self.layer.gain * inputs[0] - state, inputs[0]

        assert "step mode: step mode differs by" in flaws_of(Edge(2.0), data, export=False)

    def test_a_chunk_that_is_not_its_steps(self, data, own_registries):
        @streaming.register(Edge)
        class _Wrong(EdgeStreamer):
            def chunk(self, inputs, state):
                return self.layer.call(inputs[0]), inputs[0][:, -1]

        with pytest.raises(Flaw, match="a stream in chunks differs by"):
            check_chunks(Subject.of(Edge(2.0), data, 1e-4))


class TestFlawsOfExport:
    def test_a_layer_without_one(self, data, own_registries):
        streaming.register(Edge)(EdgeStreamer)
        message = flaws_of(Edge(), data)
        assert "export, 8 bits: NotImplementedError" in message and "step mode" not in message

    def test_a_lowering_of_other_numbers(self, data, own_registries):
        streaming.register(Halve)(HalveStreamer)
        lowering.register(Halve)(
            lambda layer, inputs, builder: lowering.lower(keras.layers.Rescaling(0.3, name=layer.name), inputs, builder)
        )
        message = flaws_of(Halve(), data)
        assert "export, 8 bits: alone, the integers are" in message and "dB from Keras; expected at least 20" in message

    @pytest.mark.parametrize("end", ["outputs", "states"])
    def test_a_reader_of_other_integers(self, data, monkeypatch, end):
        run = CRunner.run

        def run_differently(self, *arguments, **options):
            outputs, states = run(self, *arguments, **options)
            (outputs if end == "outputs" else states[0])[-1, -1] += 1
            return outputs, states

        subject = Subject.of(keras.layers.Conv1D(2, 2, padding="causal"), data, 1e-4)
        monkeypatch.setattr(CRunner, "run", run_differently)
        with pytest.raises(Flaw, match="alone, the emulator and c give different integers"):
            check_export(subject, {}, 20.0)

    def test_readers_that_are_not_here_are_named(self, data, monkeypatch):
        def is_missing():
            raise ImportError("not here")

        monkeypatch.setattr("keras_s4.testing.layer_check.load_tflm", is_missing)
        subject = Subject.of(LastStep(), data, 1e-4)
        assert "emulator = c, " in (detail := check_export(subject, {}, 20.0))
        assert "without tflm, not installed here" in detail


class TestArguments:
    def test_data_and_layer_are_looked_at(self, data):
        with pytest.raises(TypeError, match=r"received ndarray; expected a Keras layer, then data"):
            check_layer(data, DSS(2))
        with pytest.raises(ValueError, match=r"received data of shape \[1, 16, 3\]; expected .* 2 sequences"):
            check_layer(DSS(2), data[:1])
        with pytest.raises(TypeError, match="received data of bool"):
            check_layer(DSS(2), data > 0)


def test_the_example_of_the_guide_runs(own_registries, capsys):
    guide = (Path(__file__).parents[2] / "keras_s4" / "testing" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {"__name__": "guide"})
    shown = guide.split("prints what was measured of each property:\n\n```\n")[1].split("```")[0]
    printed = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert {line.split(":")[0] for line in shown.splitlines()} - {"  ..."} <= set(printed)
