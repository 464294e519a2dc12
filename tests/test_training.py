import keras
import numpy as np
import pytest

from keras_s4 import models, training
from keras_s4.augmentation import RandomWindows, ShuffledWindows
from keras_s4.datasets import Recordings


@pytest.fixture(scope="module")
def recordings():
    """Two classes: slow and fast rotation about the first axis."""
    random = np.random.default_rng(0)
    signals, labels = [], np.arange(8) % 2
    for label in labels:
        times = np.arange(160) * (0.05 + 0.3 * label) + random.uniform(0, 6)
        waves = np.stack([np.sin(times + shift) for shift in range(6)], axis=1)
        signals.append((waves + 0.1 * random.normal(size=waves.shape)).astype(np.float32))
    return Recordings(signals, labels, np.arange(8))


def test_classifier_learns_from_random_windows(recordings):
    keras.utils.set_random_seed(0)
    model = models.classifier((80, 6), classes=2, channels=8, states=4, blocks=1, dropout=0.0)
    windows = RandomWindows(recordings, length=80, windows=64, batch_size=16)
    history = training.fit_windows(model, windows, epochs=12, jit_compile=False)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.evaluate(*recordings.windows(80, 40), verbose=0)[1] > 0.9


def test_regressor_learns_from_shuffled_windows(recordings):
    """The speed of the rotation."""
    keras.utils.set_random_seed(0)
    quantities = Recordings(recordings.signals, recordings.labels - 0.5, recordings.subjects)
    model = models.regressor((80, 6), outputs=1, channels=8, states=4, blocks=1, dropout=0.0)
    windows = ShuffledWindows(quantities, length=80, hop=20, batch_size=10)
    training.fit_windows(model, windows, 30, jit_compile=False, compile_model=training.compile_regressor)
    assert model.evaluate(*quantities.windows(80, 40), verbose=0)[1] < 0.25


def test_poles_and_offsets_are_not_decayed():
    """Without gradients, decay alone moves weights; the learning rate begins at 0."""
    model = training.compile_classifier(small_classifier(), steps=10, weight_decay=0.5, jit_compile=False)
    model.set_weights([weight + 0.1 for weight in model.get_weights()])  # biases begin at 0, which does not decay
    before = {weight.path: np.array(weight) for weight in model.trainable_variables}
    model.optimizer.build(model.trainable_variables)
    for _ in range(3):
        model.optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_variables])
    moved = {weight.path for weight in model.trainable_variables if np.any(np.array(weight) != before[weight.path])}
    assert moved == {path for path in before if path.endswith("/kernel")}


def small_classifier():
    keras.utils.set_random_seed(0)
    return models.classifier((20, 6), classes=2, channels=4, states=4, blocks=1, dropout=0.0)


def train(model, steps):
    """The weights after a few steps, by path; eagerly, since so few are not worth a compilation."""
    model.run_eagerly = True
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(4, 20, 6)).astype(np.float32), np.array([0, 1, 0, 1])
    for _ in range(steps):
        model.train_on_batch(inputs, labels)
    return {weight.path: np.array(weight) for weight in model.trainable_variables}


def test_poles_learn_as_fast_as_the_rest_by_default():
    """The numbers of the README were measured with Keras' own optimizer."""
    recipe, plain = small_classifier(), small_classifier()
    training.compile_classifier(recipe, steps=10, jit_compile=False)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 9, alpha=0.01, warmup_target=1e-2, warmup_steps=1)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0)
    poles = ["log_decay", "frequency", "log_time_step"]
    optimizer.exclude_from_weight_decay(var_names=[*poles, "residues", "feedthrough", "gamma", "beta", "bias"])
    plain.compile(optimizer, training.SmoothedCrossentropy(0.1), jit_compile=False)
    expected = train(plain, steps=5)
    for path, weight in train(recipe, steps=5).items():
        np.testing.assert_array_equal(weight, expected[path], err_msg=path)


def test_poles_learn_slowly_when_told():
    before = {weight.path: np.array(weight) for weight in small_classifier().trainable_variables}
    fast, slow = (
        train(training.compile_classifier(small_classifier(), steps=10, jit_compile=False, pole_rate=rate), steps=1)
        for rate in (1.0, 0.1)
    )
    for path, start in before.items():
        rate = 0.1 if path.split("/")[-1] in {"log_decay", "frequency", "log_time_step"} else 1.0
        # Weights near 10 are rounded to 1e-6.
        np.testing.assert_allclose(slow[path] - start, rate * (fast[path] - start), rtol=1e-3, atol=1e-6, err_msg=path)


def test_a_loaded_classifier_decays_what_the_saved_one_does(tmp_path):
    model = training.compile_classifier(small_classifier(), steps=10, weight_decay=0.5, jit_compile=False)
    train(model, steps=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = train(model, steps=2)
    for path, weight in train(loaded, steps=2).items():
        np.testing.assert_array_equal(weight, expected[path], err_msg=path)


def test_smoothed_crossentropy_is_keras_own_on_smoothed_labels():
    random = np.random.default_rng(0)
    predictions = random.dirichlet(np.ones(5), 7).astype("float32")
    labels = random.integers(0, 5, 7)
    expected = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)(np.eye(5)[labels], predictions)
    assert float(training.SmoothedCrossentropy(0.1)(labels, predictions)) == pytest.approx(float(expected), rel=1e-6)


def test_compiled_classifier_is_saved_and_loaded(tmp_path):
    model = models.classifier((20, 6), classes=2, channels=4, states=4, blocks=1)
    training.compile_classifier(model, steps=10)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
