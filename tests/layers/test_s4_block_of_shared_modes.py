"""S4 blocks around a layer whose channels share their modes."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from conformance import LayerConformance, shake

import keras_s4
from keras_s4.initializers import LogUniform
from keras_s4.layers import DiagonalSSM, LastStep, S4Block
from keras_s4.layers.quantized import SnappedDiagonalSSM
from keras_s4.streaming import StreamingModel
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite import convert
from keras_s4.tflite.quantization import quantize_aware

STEPS, CHANNELS = 40, 4


class TestConformance(LayerConformance):
    layer_class = S4Block
    arguments: ClassVar = {"dss": DiagonalSSM(None, 5)}
    unusual_arguments: ClassVar = {
        "dss": DiagonalSSM(4, 3, "diagonal", discretization="bilinear", rate=0.5, name="mine"),
        "activation": "relu",
        "dropout": 0.25,
        "momentum": 0.75,
        "value_rank": 2,
        "gate_rank": 1,
    }
    # Those of the other arguments are in the class of blocks of DSS layers.
    test_every_argument_is_in_the_config = None


def smooth(streams, seed, steps=STEPS):
    random = np.random.default_rng(seed)
    x = random.normal(size=(streams, steps, 3))
    for step in range(1, steps):
        x[:, step] = 0.9 * x[:, step - 1] + 0.44 * x[:, step]
    return x.astype("float32")


def block(feedthrough="full", **form):
    layer = DiagonalSSM(None, 6, feedthrough, time_step_initializer=LogUniform(0.02, 0.5))
    return S4Block(layer, **form, name="block")


def model_of(*layers, steps=STEPS):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((steps, 3)), keras.layers.Dense(CHANNELS), *layers])
    shake(model)
    return model


@pytest.fixture(scope="module")
def trained():
    model = model_of(block(), LastStep(), keras.layers.Dense(2))
    x = smooth(64, 0)
    y = (x[:, -1, 0] > x[:, -6, 0]).astype(int)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = model.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    return model


def test_formula():
    """Against the parts, with the recurrence of the system in float64."""
    layer = block("diagonal", gate=None)
    layer.build((None, STEPS, CHANNELS))
    shake(layer)
    x = np.random.default_rng(0).normal(size=(2, STEPS, CHANNELS)).astype("float32")
    hidden, _ = layer.dss.system().simulate(np.asarray(layer.normalization(x), float))
    hidden = np.asarray(keras.activations.gelu(keras.ops.convert_to_tensor(hidden, "float32")), float)
    expected = x + hidden @ np.asarray(layer.value.kernel, float) + np.asarray(layer.value.bias, float)
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_trained_block_is_saved_reduced_streamed_and_exported(trained, tmp_path):
    small = keras_s4.reduce(trained, {"block/dss": 4})
    assert isinstance(small.get_layer("block").dss, DiagonalSSM)
    assert small.get_layer("block").dss.state_size == 4
    small.save(tmp_path / "small.keras")
    loaded, x = keras.models.load_model(tmp_path / "small.keras"), smooth(24, 1)
    expected = small.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    stream = StreamingModel(loaded)
    _, states = stream.chunk(x[:, :17], stream.initial_state(batch=24))
    outputs, _ = stream.chunk(x[:, 17:], states)
    np.testing.assert_allclose(outputs[:, -1], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    found = convert(loaded, x[:16]).verify(loaded, x, task="regression")
    assert found.bit_exact
    assert found.streamed_deviation < 1e-5
    assert found.snr["emulator"] > 25.0


def test_rank_tuning_takes_states_and_matrices_of_the_block(trained):
    x = smooth(16, 2)
    wanted = trained.predict(x, verbose=0)

    def fit(candidate):
        return 1.0 - float(np.mean((candidate.predict(x, verbose=0) - wanted) ** 2) / np.var(wanted))

    tuned = keras_s4.rank_tuning(trained, fit, relative_loss=0.05, data=x)
    assert "block/dss" in tuned.ranks
    assert fit(keras_s4.reduce(trained, tuned.ranks)) >= 0.95


def test_an_aware_block_is_what_the_device_computes(trained, tmp_path):
    x = smooth(24, 1)
    aware = quantize_aware(trained, x)
    twin = layers_by_path(aware)["block/dss"]
    assert isinstance(twin, SnappedDiagonalSSM)
    aware.save(tmp_path / "aware.keras")
    loaded = keras.models.load_model(tmp_path / "aware.keras")
    assert isinstance(layers_by_path(loaded)["block/dss"], SnappedDiagonalSSM)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), aware.predict(x, verbose=0))
    device = convert(loaded, x).predict(x, engine="emulator")
    errors = [np.sqrt(np.mean((each.predict(x, verbose=0) - device) ** 2)) for each in (loaded, trained)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    "form", [{"normalization": "rms", "gate": "channel"}, {"post_norm": True, "mix": None}], ids=str
)
def test_published_forms_are_exported(form):
    model, x = model_of(block(None, **form), LastStep()), smooth(12, 1)
    found = convert(model, x).verify(model, smooth(6, 3), task="regression")
    assert found.bit_exact
    assert found.snr["emulator"] > 18.0


def test_masked_steps_change_nothing():
    layer = block()
    layer.build((None, STEPS, CHANNELS))
    x = np.random.default_rng(0).normal(size=(2, STEPS, CHANNELS)).astype("float32")
    mask = np.arange(STEPS) < np.array([[STEPS], [11]])
    outputs = layer(np.where(mask[..., None], x, 50.0), mask=keras.ops.convert_to_tensor(mask))
    np.testing.assert_allclose(np.asarray(outputs)[mask], np.asarray(layer(x))[mask], rtol=0, atol=1e-5)


def test_at_half_the_rate_a_held_signal_gives_the_same():
    """Without a feedthrough, what is held for two steps drives the modes as one step of twice the length."""
    model = model_of(block(None), steps=20)
    fine, x = keras_s4.at_rate(model, 0.5), smooth(3, 1, 20)
    held = fine.predict(np.repeat(x, 2, axis=1), verbose=0)[:, 1::2]
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(held, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_stateful_block_goes_on_and_starts_anew():
    x = np.random.default_rng(0).normal(size=(2, 20, CHANNELS)).astype("float32")
    layer = S4Block(DiagonalSSM(None, 3, stateful=True))
    layer.build((2, 10, CHANNELS))
    whole = S4Block(DiagonalSSM(None, 3))
    whole.build((2, 20, CHANNELS))
    whole.set_weights([np.asarray(weight) for weight in layer.weights if weight.name != "carried_state"])
    for _ in range(2):
        pieces = np.concatenate([layer(x[:, :10]), layer(x[:, 10:])], axis=1)
        np.testing.assert_allclose(pieces, whole(x), rtol=0, atol=1e-5)
        layer.reset_state()


def test_layers_that_are_refused():
    with pytest.raises(ValueError, match="DiagonalSSM layer with return_state=True; the block returns outputs"):
        S4Block(DiagonalSSM(None, 3, return_state=True))
    with pytest.raises(ValueError, match=r"units=3 and inputs of 4 channels.*expected as many units, or units=None"):
        S4Block(DiagonalSSM(3, 3)).build((None, STEPS, CHANNELS))
