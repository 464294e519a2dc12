"""What Keras expects of every sequence layer, as a class to inherit from (after Keras' own `run_layer_test`)."""

import inspect
import json
from typing import ClassVar

import keras
import numpy as np
import pytest


def fresh_copy(layer, input_shape, **changes):
    """A layer of the same configuration, changed here and there, with the same weights."""
    copy = type(layer).from_config({**layer.get_config(), **changes})
    copy.build(input_shape)
    copy.set_weights(layer.get_weights())
    return copy


def shake(layer, seed=1, size=0.1):
    """Moves every weight away from its initial value, so that none is 0 or 1 by accident; variances stay positive."""
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        value = keras.ops.convert_to_numpy(weight)
        noise = size * random.normal(size=value.shape)
        weight.assign(value * np.exp(noise) if weight.name == "moving_variance" else value + noise)
    return layer


class LayerConformance:
    """Inherit, and set `layer_class`, `arguments` and `unusual_arguments` (each different from its default)."""

    layer_class: type
    arguments: ClassVar[dict]
    unusual_arguments: ClassVar[dict]
    input_shape = (3, 20, 4)
    mixed_tolerance = 0.02

    @pytest.fixture
    def inputs(self):
        return np.random.default_rng(0).normal(size=self.input_shape).astype("float32")

    @pytest.fixture
    def layer(self):
        keras.utils.set_random_seed(0)
        layer = self.layer_class(**self.arguments)
        layer.build(self.input_shape)
        return shake(layer)

    @pytest.fixture
    def expected(self, layer, inputs):
        return keras.ops.convert_to_numpy(layer(inputs))

    def as_model(self, layer):
        return keras.Sequential([keras.Input(self.input_shape[1:]), layer])

    def test_every_argument_is_in_the_config(self):
        parameters = inspect.signature(self.layer_class.__init__).parameters.values()
        names = {parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD}
        names -= {"self"}
        assert names == set(self.unusual_arguments), "unusual_arguments must set every argument"
        assert names <= set(self.layer_class().get_config())

    def test_config_round_trip(self):
        layer = self.layer_class(**self.unusual_arguments, name="unusual")
        config = layer.get_config()
        text = json.dumps(config)
        copy = self.layer_class.from_config(config)
        assert json.dumps(config) == text, "from_config changed its argument"
        assert copy.get_config() == config
        defaults = self.layer_class().get_config()
        for name in self.unusual_arguments:
            assert config[name] != defaults[name], f"{name} is lost or was not unusual"

    def test_json_round_trip_of_a_model(self, layer):
        model = self.as_model(self.layer_class(**self.unusual_arguments))
        copy = keras.models.model_from_json(model.to_json())
        assert copy.layers[0].get_config() == model.layers[0].get_config()
        assert [weight.shape for weight in copy.weights] == [weight.shape for weight in model.weights]

    def test_saved_model_gives_equal_outputs(self, layer, inputs, expected, tmp_path):
        self.as_model(layer).save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded(inputs), expected)

    def test_output_shape(self, layer, expected):
        assert layer.compute_output_shape((None, None, 4)) == (None, None, 4)
        assert tuple(layer.compute_output_shape(self.input_shape)) == expected.shape

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_compiled_outputs_equal_eager_ones(self, layer, inputs, expected, jit_compile):
        model = self.as_model(layer)
        model.compile(jit_compile=jit_compile)
        # Both run the same float32 operations, fused and ordered differently.
        np.testing.assert_allclose(
            model.predict(inputs, verbose=0), expected, rtol=0, atol=2e-6 * np.abs(expected).max()
        )

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
    def test_other_precisions_stay_close(self, layer, inputs, expected, policy):
        other = fresh_copy(layer, self.input_shape, dtype=policy)
        outputs = other(inputs)
        assert keras.backend.standardize_dtype(outputs.dtype) == other.compute_dtype
        outputs = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float64"))
        # bfloat16 keeps 8 bits: one rounding is 2^-9 of a value, and a few follow each other.
        tolerance = 1e-5 if policy == "float64" else self.mixed_tolerance
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance * np.abs(expected).max())

    def test_gradients_are_finite_and_reach_every_weight(self, layer, inputs):
        tensorflow = pytest.importorskip("tensorflow")
        with tensorflow.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(layer(inputs, **self.training_arguments())))
        for weight, gradient in zip(
            layer.trainable_weights, tape.gradient(loss, [w.value for w in layer.trainable_weights]), strict=True
        ):
            assert gradient is not None, weight.path
            assert np.all(np.isfinite(gradient)), weight.path
            assert np.any(np.asarray(gradient) != 0), weight.path

    def training_arguments(self):
        return {"training": True} if "training" in inspect.signature(self.layer_class.call).parameters else {}
