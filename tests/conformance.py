"""What Keras expects of every sequence layer, as a class to inherit from (after Keras' own `run_layer_test`)."""

import inspect
import json
from typing import ClassVar

import backends
import keras
import numpy as np
import pytest
from keras import ops

from keras_s4.testing.manners import AttachMask, ReceivedMask, with_padding


def shake(layer, seed=1, size=0.1):
    """Moves every weight away from its initial value, so that none is 0 or 1 by accident; variances stay positive."""
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        value = ops.convert_to_numpy(weight)
        noise = size * random.normal(size=value.shape)
        weight.assign(value * np.exp(noise) if weight.name == "moving_variance" else value + noise)
    return layer


def assert_close(actual, expected, tolerance, name=""):
    """Equal up to a tolerance relative to the largest expected number."""
    assert np.shape(actual) == np.shape(expected), name
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=name)


class LayerConformance:
    """Inherit, set the first three, and the others where the layer differs from DSS.

    layer_class: what is tested: a layer with inputs `[B, L, ...]`, or a cell.
    arguments: those of a small layer without dropout, for most tests.
    unusual_arguments: every argument of `__init__`, each different from `arguments` or else its default; may set more,
        such as arguments of a base class.
    unusual_alone: arguments that go through the configuration only, without those: they exclude each other, or the
        layer fits no sequential model, as with `return_state`.
    input_shape: with batch and time.
    is_cell: `layer_class` is a cell, tested inside `keras.layers.RNN`.
    keeps_time: outputs have the time axis of the inputs.
    masks: the layer is meant to support masks.
    trainable: the layer has weights to train.
    weights_without_gradient: names of trainable weights that the outputs do not depend on.
    float32_tolerance: of the same computation in another order, relative to the largest number.
    mixed_tolerance: of half precision, relative to the largest output.
    learning_rate: of the Adam steps that must reduce the loss.
    """

    layer_class: type
    arguments: ClassVar[dict]
    unusual_arguments: ClassVar[dict]
    unusual_alone: ClassVar[dict] = {}
    input_shape = (3, 20, 4)
    is_cell = False
    keeps_time = True
    masks = True
    trainable = True
    weights_without_gradient: ClassVar[set] = set()
    float32_tolerance = 1e-5
    # bfloat16 keeps 8 bits: one rounding is 2^-9 of a value, and a few follow each other.
    mixed_tolerance = 0.02
    learning_rate = 0.03

    def random_inputs(self, seed):
        """Inputs of `input_shape`; override for integers."""
        return np.random.default_rng(seed).normal(size=self.input_shape).astype("float32")

    def new_layer(self, **changes):
        """A layer of `arguments` and these changes, a cell inside `keras.layers.RNN`; not built."""
        layer = self.layer_class(**{**self.arguments, **changes})
        return keras.layers.RNN(layer, return_sequences=True, dtype=layer.dtype_policy) if self.is_cell else layer

    def as_model(self, *layers, length=None):
        shape = (length, *self.input_shape[2:])
        return keras.Sequential([keras.Input(shape, dtype=self.random_inputs(0).dtype.name), *layers])

    def task(self, layer, inputs, mask=None, training=True):
        shape = layer.compute_output_shape(inputs.shape)
        cotangents = np.random.default_rng(2).normal(size=shape).astype("float32")
        return backends.task_of(layer, inputs, cotangents, mask, training, module=self.layer_class.__module__)

    def copy_of(self, layer, **changes):
        """A layer of `arguments` and these changes with the same weights."""
        copy = self.new_layer(**changes)
        copy.build(self.input_shape)
        copy.set_weights(layer.get_weights())
        return copy

    @pytest.fixture
    def inputs(self):
        return self.random_inputs(0)

    @pytest.fixture
    def layer(self):
        keras.utils.set_random_seed(0)
        layer = self.new_layer()
        layer.build(self.input_shape)
        return shake(layer)

    @pytest.fixture
    def expected(self, layer, inputs):
        return ops.convert_to_numpy(layer(inputs))

    @pytest.fixture
    def padded(self, inputs):
        """Inputs padded at the end by numbers that matter if they are read, their mask, and the lengths before that."""
        lengths = np.linspace(inputs.shape[1], 1, len(inputs)).round().astype(int)
        mask = np.arange(inputs.shape[1]) < lengths[:, None]
        garbage = self.random_inputs(1)
        if np.issubdtype(garbage.dtype, np.floating):
            garbage = 10 * garbage
        return with_padding(inputs, mask, garbage), mask, lengths

    @pytest.fixture
    def needs_masks(self):
        if not self.masks:
            pytest.skip(f"{self.layer_class.__name__} does not support masks")

    @pytest.fixture
    def needs_weights(self):
        if not self.trainable:
            pytest.skip(f"{self.layer_class.__name__} has nothing to train")

    def test_every_argument_is_in_the_config(self):
        kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        parameters = list(inspect.signature(self.layer_class.__init__).parameters.values())[1:]
        names = {parameter.name for parameter in parameters if parameter.kind in kinds}
        assert names <= {*self.unusual_arguments, *self.unusual_alone}, "every argument needs an unusual value"
        assert names <= set(self.layer_class(**self.arguments).get_config())

    def test_config_round_trip(self):
        usual = self.layer_class(**self.arguments).get_config()
        for unusual in (self.unusual_arguments, self.unusual_alone):
            config = self.layer_class(**{**self.arguments, **unusual}, name="unusual").get_config()
            text = json.dumps(config)
            copy = self.layer_class.from_config(config)
            assert json.dumps(config) == text, "from_config changed its argument"
            assert copy.get_config() == config
            for name in unusual:
                assert config[name] != usual[name], f"{name} is lost or was not unusual"

    def test_class_is_registered(self):
        """Otherwise it is found by the name of its module, and a saved model breaks when that changes."""
        assert ">" in keras.saving.get_registered_name(self.layer_class)

    def test_json_round_trip_of_a_model(self):
        model = self.as_model(self.new_layer(**self.unusual_arguments))
        copy = keras.models.model_from_json(model.to_json())
        assert copy.to_json() == model.to_json()
        assert [weight.shape for weight in copy.weights] == [weight.shape for weight in model.weights]

    @pytest.mark.parametrize("unusual", [False, True])
    def test_saved_model_gives_equal_outputs(self, inputs, unusual, tmp_path):
        model = self.as_model(self.new_layer(**(self.unusual_arguments if unusual else {})))
        shake(model).save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded(inputs), model(inputs))

    def test_output_shape(self, layer, expected):
        assert tuple(layer.compute_output_shape(self.input_shape)) == expected.shape
        open_shape = (None, None, *expected.shape[2:]) if self.keeps_time else (None, *expected.shape[1:])
        assert tuple(layer.compute_output_shape((None, None, *self.input_shape[2:]))) == open_shape
        assert self.as_model(layer).output_shape == open_shape

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_compiled_outputs_equal_eager_ones(self, layer, padded, jit_compile):
        """With a mask if the layer takes one: it is trained without below, and each compilation takes seconds."""
        inputs, mask, _ = padded
        layers = [AttachMask(mask), layer] if self.masks else [layer]
        model = self.as_model(*layers, length=self.input_shape[1])
        expected = ops.convert_to_numpy(model(inputs))
        model.compile(jit_compile=jit_compile)
        assert_close(model.predict(inputs, verbose=0), expected, self.float32_tolerance)

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
    def test_other_precisions_stay_close(self, layer, inputs, expected, policy):
        other = self.copy_of(layer, dtype=policy)
        outputs = other(inputs)
        assert keras.backend.standardize_dtype(outputs.dtype) == other.compute_dtype
        tolerance = self.float32_tolerance if policy == "float64" else self.mixed_tolerance
        assert_close(ops.convert_to_numpy(ops.cast(outputs, "float64")), expected, tolerance)

    @pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
    def test_gradients_are_finite_and_reach_every_weight(self, layer, inputs, policy):
        layer = self.copy_of(layer, dtype=policy)
        assert bool(layer.trainable_weights) == self.trainable
        answer = backends.evaluate(self.task(layer, inputs))
        names = {weight.name for weight in layer.trainable_weights}
        assert names >= self.weights_without_gradient
        gradients = dict(zip([weight.path for weight in layer.trainable_weights], answer.weight_gradients, strict=True))
        if np.issubdtype(inputs.dtype, np.floating):
            gradients["inputs"] = answer.input_gradient
        for path, gradient in gradients.items():
            reaches = gradient is not None and bool(np.any(gradient != 0))
            assert reaches == (path.split("/")[-1] not in self.weights_without_gradient), path
            assert not reaches or np.all(np.isfinite(gradient.astype("float32"))), path

    @pytest.mark.parametrize("backend", ["jax", "torch"])
    @pytest.mark.parametrize("masked", [False, True])
    def test_other_backends_give_the_outputs_and_gradients_of_tensorflow(self, layer, padded, masked, backend, request):
        if masked and not self.masks:
            pytest.skip(f"{self.layer_class.__name__} does not support masks")
        process = backends.backend_process(request.config, backend)
        inputs, mask, _ = padded
        task = self.task(layer, inputs, mask=mask if masked else None, training=not masked)
        self.assert_equal_answers(layer, process.evaluate(task), backends.evaluate(task))

    def assert_equal_answers(self, layer, actual, expected):
        assert_close(actual.outputs, expected.outputs, self.float32_tolerance, "outputs")
        pairs = {"inputs": (actual.input_gradient, expected.input_gradient)}
        for kind, weights in (
            ("weight_gradients", layer.trainable_weights),
            ("updated_weights", layer.non_trainable_weights),
        ):
            values = zip(getattr(actual, kind), getattr(expected, kind), strict=True)
            pairs |= dict(zip([weight.path for weight in weights], values, strict=True))
        for name, (one, other) in pairs.items():
            # What does not depend on a weight has no gradient on one backend and a zero one on the other.
            if one is None or other is None:
                assert not np.any(one) and not np.any(other), name
            else:
                assert_close(one, other, self.float32_tolerance, name)

    def test_training_reduces_the_loss_alike_with_and_without_jit_compile(self, layer, inputs, needs_weights):
        """Towards the outputs of a layer with other weights, so that there is something to find."""
        targets = ops.convert_to_numpy(shake(self.copy_of(layer), seed=2, size=0.3)(inputs))
        losses = {}
        for jit_compile in (False, True):
            model = self.as_model(self.copy_of(layer), length=self.input_shape[1])
            model.compile(keras.optimizers.Adam(self.learning_rate), "mse", jit_compile=jit_compile)
            model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
            losses[jit_compile] = [self.train_one_step(model, inputs, targets) for _ in range(20)]
            assert losses[jit_compile][-1] < 0.5 * losses[jit_compile][0], f"jit_compile={jit_compile}"
        np.testing.assert_allclose(losses[True][0], losses[False][0], rtol=self.float32_tolerance)
        # Adam divides each gradient by its size, and rounding grows from step to step.
        np.testing.assert_allclose(losses[True], losses[False], rtol=1e-3)

    def train_one_step(self, model, inputs, targets):
        model.reset_metrics()  # or the loss would be the mean of all steps
        return model.train_on_batch(inputs, targets)

    def test_masks_are_supported_as_declared(self, layer):
        assert layer.supports_masking == self.masks

    def test_mask_passes_on(self, layer, padded, needs_masks):
        """As far as there are steps to mask: outputs without time have no mask."""
        inputs, mask, _ = padded
        received = self.as_model(AttachMask(mask), layer, ReceivedMask())(inputs)
        np.testing.assert_array_equal(received, mask if self.keeps_time else -np.ones(len(mask)))

    @pytest.mark.parametrize("garbage", [False, True])
    def test_padding_at_the_end_is_as_if_it_were_not_there(self, layer, padded, garbage, needs_masks):
        inputs, mask, lengths = padded
        if not garbage:
            inputs = with_padding(inputs, mask, 0)
        outputs = ops.convert_to_numpy(self.as_model(AttachMask(mask), layer)(inputs))
        for row, length in enumerate(lengths):
            alone = ops.convert_to_numpy(layer(inputs[row : row + 1, :length]))[0]
            actual = outputs[row, :length] if self.keeps_time else outputs[row]
            assert_close(actual, alone, self.float32_tolerance, f"sequence of {length} steps")
