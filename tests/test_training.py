import keras
import numpy as np
import pytest

from keras_s4 import models, training
from keras_s4.augmentation import RandomWindows
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


def test_poles_and_offsets_are_not_decayed():
    model = models.classifier((20, 6), classes=2, channels=4, states=4, blocks=1)
    training.compile_classifier(model, steps=10, learning_rate=0.0, weight_decay=0.5, jit_compile=False)
    before = {weight.path: np.array(weight) for weight in model.trainable_variables}
    model.train_on_batch(np.zeros((4, 20, 6), np.float32), np.zeros(4, np.int64))
    decayed = {w.path.split("/")[-1] for w in model.trainable_variables if np.any(np.array(w) != before[w.path])}
    assert decayed <= {"kernel"}


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
