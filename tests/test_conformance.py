"""The conformance harness finds the flaws it is there to find, and takes layers that are unusual but sound."""

from typing import ClassVar

import backends
import keras
import numpy as np
import pytest
import tensorflow
from conformance import LayerConformance
from keras import ops

register = keras.saving.register_keras_serializable(package="conformance")


@register
class Gain(keras.layers.Layer):
    """`factor * gain * inputs` on `[B, L, F]`."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.supports_masking = True

    def build(self, input_shape):
        self.gain = self.add_weight(shape=input_shape[-1:], initializer="ones", name="gain")

    def call(self, inputs, mask=None):
        return self.factor * self.gain * inputs

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class GainConformance(LayerConformance):
    layer_class = Gain
    arguments: ClassVar = {}
    unusual_arguments: ClassVar = {"factor": 2.0}


def must_fail(test):
    """Class decorator: of all tests, only this one runs, and it must find the flaw."""

    def reduce(conformance):
        tests = {name for name in dir(conformance) if name.startswith("test_")}
        assert test in tests
        for other in tests - {test}:
            setattr(conformance, other, None)
        return pytest.mark.xfail(raises=AssertionError, strict=True)(conformance)

    return reduce


@register
class WithoutConfig(Gain):
    def get_config(self):
        return keras.layers.Layer.get_config(self)


@must_fail("test_every_argument_is_in_the_config")
class TestArgumentMissingInTheConfig(GainConformance):
    layer_class = WithoutConfig


@register
class WithConstantConfig(Gain):
    def get_config(self):
        return {**super().get_config(), "factor": 1.0}


@must_fail("test_config_round_trip")
class TestArgumentLostInTheConfig(GainConformance):
    layer_class = WithConstantConfig


@register
class WithGreedyFromConfig(Gain):
    @classmethod
    def from_config(cls, config):
        return cls(config.pop("factor"), **config)


@must_fail("test_config_round_trip")
class TestFromConfigChangesItsArgument(GainConformance):
    layer_class = WithGreedyFromConfig


@must_fail("test_class_is_registered")
class TestUnregistered(GainConformance):
    layer_class = type("Unregistered", (Gain,), {})


@register
class WithHiddenState(Gain):
    made = 0

    def build(self, input_shape):
        super().build(input_shape)
        WithHiddenState.made += 1
        self.offset = float(WithHiddenState.made)

    def call(self, inputs, mask=None):
        return super().call(inputs) + self.offset


@must_fail("test_saved_model_gives_equal_outputs")
class TestStateThatIsNotSaved(GainConformance):
    layer_class = WithHiddenState


@register
class WithWrongShape(Gain):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 7)


@must_fail("test_output_shape")
class TestWrongOutputShape(GainConformance):
    layer_class = WithWrongShape


@register
class OtherwiseInGraphs(Gain):
    def call(self, inputs, mask=None):
        return super().call(inputs) * (1.0 if tensorflow.executing_eagerly() else 1.001)


@must_fail("test_compiled_outputs_equal_eager_ones")
class TestOtherOutputsInGraphs(GainConformance):
    layer_class = OtherwiseInGraphs


@register
class WithoutPolicy(Gain):
    def call(self, inputs, mask=None):
        return ops.cast(super().call(inputs), "float32")


@must_fail("test_other_precisions_stay_close")
class TestOutputsWithoutPolicy(GainConformance):
    layer_class = WithoutPolicy


@register
class WithoutGradient(Gain):
    def call(self, inputs, mask=None):
        return self.factor * ops.stop_gradient(self.gain) * inputs


@must_fail("test_gradients_are_finite_and_reach_every_weight")
class TestWithoutGradient(GainConformance):
    layer_class = WithoutGradient


@register
class WithInfiniteGradient(Gain):
    def call(self, inputs, mask=None):
        return super().call(inputs) + ops.sqrt(self.gain - self.gain)


@must_fail("test_gradients_are_finite_and_reach_every_weight")
class TestInfiniteGradient(GainConformance):
    layer_class = WithInfiniteGradient


@must_fail("test_gradients_are_finite_and_reach_every_weight")
class TestGradientWhereNoneIsDeclared(GainConformance):
    weights_without_gradient: ClassVar = {"gain"}


@register
class AgainstTheGradient(Gain):
    def call(self, inputs, mask=None):
        return self.factor * (2.0 * ops.stop_gradient(self.gain) - self.gain) * inputs


@must_fail("test_training_reduces_the_loss_alike_with_and_without_jit_compile")
class TestTrainingThatRaisesTheLoss(GainConformance):
    layer_class = AgainstTheGradient


@register
class OtherOutputsElsewhere(Gain):
    def call(self, inputs, mask=None):
        return super().call(inputs) + (0.0 if keras.backend.backend() == "tensorflow" else 0.001)


@must_fail("test_other_backends_give_the_outputs_and_gradients_of_tensorflow")
class TestOtherOutputsElsewhere(GainConformance):
    layer_class = OtherOutputsElsewhere


@register
class OtherGradientElsewhere(Gain):
    def call(self, inputs, mask=None):
        outputs = super().call(inputs)
        at_home = keras.backend.backend() == "tensorflow"
        return outputs if at_home else 1.001 * outputs - ops.stop_gradient(0.001 * outputs)


@must_fail("test_other_backends_give_the_outputs_and_gradients_of_tensorflow")
class TestOtherGradientElsewhere(GainConformance):
    layer_class = OtherGradientElsewhere


@must_fail("test_masks_are_supported_as_declared")
class TestMasksThatAreNotDeclared(GainConformance):
    masks = False


@register
class WithoutMask(Gain):
    def compute_mask(self, inputs, mask=None):
        return None


@must_fail("test_mask_passes_on")
class TestMaskThatIsLost(GainConformance):
    layer_class = WithoutMask


@register
class ReadsThePadding(Gain):
    """Less the mean over time."""

    def call(self, inputs, mask=None):
        outputs = super().call(inputs)
        return outputs - ops.mean(outputs, axis=1, keepdims=True)


@must_fail("test_padding_at_the_end_is_as_if_it_were_not_there")
class TestPaddingThatIsRead(GainConformance):
    layer_class = ReadsThePadding


@register
class WithoutMaskInGraphs(Gain):
    def call(self, inputs, mask=None):
        outputs = super().call(inputs)
        if mask is None or not tensorflow.executing_eagerly():
            return outputs
        return ops.where(mask[..., None], outputs, 0.0)


@must_fail("test_compiled_outputs_equal_eager_ones")
class TestMaskThatIsLostInGraphs(GainConformance):
    layer_class = WithoutMaskInGraphs


@register
class Lookup(keras.layers.Layer):
    """Integers `[B, L]` to the sum of their rows, `[B, units]`; with a weight that nothing depends on."""

    def __init__(self, words, units, **kwargs):
        super().__init__(**kwargs)
        self.words, self.units = words, units

    def build(self, input_shape):
        self.table = self.add_weight(shape=(self.words, self.units), initializer="normal", name="table")
        self.spare = self.add_weight(shape=(2,), initializer="ones", name="spare")

    def call(self, inputs):
        return ops.sum(ops.take(self.table, ops.cast(inputs, "int32"), axis=0), axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "words": self.words, "units": self.units}


class TestIntegersWithoutTimeOrMasks(LayerConformance):
    """A layer without a default constructor, whose outputs have no time and whose inputs have no gradient."""

    layer_class = Lookup
    arguments: ClassVar = {"words": 10, "units": 3}
    unusual_arguments: ClassVar = {"words": 12, "units": 2}
    input_shape = (3, 6)
    keeps_time = False
    masks = False
    weights_without_gradient: ClassVar = {"spare"}
    mixed_tolerance = 0.05

    def random_inputs(self, seed):
        return np.random.default_rng(seed).integers(10, size=self.input_shape).astype("int32")


@register
class SumCell(keras.layers.Layer):
    """`state + gain * inputs`, kept within a limit."""

    def __init__(self, units, limit=100.0, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.limit = limit

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(self.units,), initializer="ones", name="gain")

    def call(self, inputs, states):
        outputs = ops.clip(states[0] + self.gain * inputs, -self.limit, self.limit)
        return outputs, [outputs]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "limit": self.limit}


class TestCell(LayerConformance):
    layer_class = SumCell
    arguments: ClassVar = {"units": 4}
    unusual_arguments: ClassVar = {"limit": 2.0}
    unusual_alone: ClassVar = {"units": 3}  # other than there are inputs
    is_cell = True
    mixed_tolerance = 0.05


class TestBackendProcess:
    @pytest.fixture
    def task(self):
        layer = Gain()
        layer.build((2, 3, 4))
        ones = np.ones((2, 3, 4), "float32")
        return backends.task_of(layer, ones, ones)

    def test_what_goes_wrong_there_is_told(self, task, request, tmp_path, monkeypatch):
        backends.backend_process(request.config, "jax")  # skips without JAX
        (tmp_path / "crashes.py").write_text("import os\nos.write(2, b'out of luck')\nos._exit(7)\n")
        monkeypatch.syspath_prepend(tmp_path)
        process = backends.BackendProcess("jax")
        with pytest.raises(RuntimeError, match="No module named 'nowhere'"):
            process.evaluate(task._replace(module="nowhere"))
        assert process.is_running
        with pytest.raises(RuntimeError, match=r"(?s)ended with code 7.*out of luck"):
            process.evaluate(task._replace(module="crashes"))
        assert not process.is_running
