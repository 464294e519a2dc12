"""The ready-made classifier: its shape and size, and that it learns."""

import keras
import numpy as np
import pytest

from keras_s4.models import classifier

STEPS, FEATURES, CLASSES = 32, 3, 2


def slow_or_fast(count=128, seed=0):
    """Sines of two frequencies at random phases: the classes have equal averages, and differ only over time."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    phases = random.uniform(0, 2 * np.pi, (count, 1, FEATURES))
    time = np.arange(STEPS)[None, :, None]
    frequencies = np.array([0.2, 0.9])[labels][:, None, None]
    signals = np.sin(frequencies * time + phases) + 0.1 * random.normal(size=(count, STEPS, FEATURES))
    return signals.astype("float32"), labels


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = classifier((STEPS, FEATURES), CLASSES, channels=8, states=4, blocks=1, dropout=0.1)
    model.compile(
        keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=True
    )
    history = model.fit(*slow_or_fast(), batch_size=8, epochs=6, verbose=0).history
    return model, history


@pytest.mark.parametrize(("channels", "states", "blocks"), [(8, 4, 1), (5, 3, 3)])
def test_shapes_and_parameter_count(channels, states, blocks):
    model = classifier((STEPS, FEATURES), 7, channels=channels, states=states, blocks=blocks)
    assert model.input_shape == (None, STEPS, FEATURES)
    assert model.output_shape == (None, 7)
    encoder = FEATURES * channels + channels
    normalization = 4 * channels
    dss = 2 * states + channels + 2 * channels * states + channels
    mixing = 2 * (channels * channels + channels)
    head = channels * 7 + 7
    assert model.count_params() == encoder + blocks * (normalization + dss + mixing) + head
    assert [layer.name for layer in model.layers[2:-2]] == [f"block_{index + 1}" for index in range(blocks)]


def test_arguments_reach_the_blocks():
    model = classifier((None, FEATURES), 2, channels=4, states=3, blocks=2, activation="relu", dropout=0.3, name="net")
    config = model.get_layer("block_2").get_config()
    assert (config["state_size"], config["activation"], config["dropout"]) == (3, "relu", 0.3)
    assert model.name == "net"
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize("argument", ["classes", "channels", "states", "blocks"])
@pytest.mark.parametrize("value", [0, -3, 1.5, None])
def test_refused_sizes(argument, value):
    arguments = {"classes": 2, argument: value}
    with pytest.raises(ValueError, match=f"classifier got {argument}={value}; expected a whole number of at least 1"):
        classifier((STEPS, FEATURES), **arguments)


@pytest.mark.parametrize("shape", [(STEPS,), (2, STEPS, FEATURES)])
def test_refused_input_shape(shape):
    with pytest.raises(ValueError, match=r"input_shape=.*expected \(steps, features\)"):
        classifier(shape, 2)


def test_it_learns_compiled(trained):
    _, history = trained
    assert history["accuracy"][-1] > 0.9
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_probabilities(trained):
    model, _ = trained
    probabilities = np.asarray(model(slow_or_fast(count=5)[0]))
    assert np.all(probabilities > 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_a_saved_model_gives_equal_outputs(trained, tmp_path):
    model, _ = trained
    inputs, _ = slow_or_fast(count=4, seed=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.optimizer.iterations == model.optimizer.iterations
