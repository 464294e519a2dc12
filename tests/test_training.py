import keras
import numpy as np
import pytest

from keras_s4 import models, training
from keras_s4.augmentation import RandomWindows, ShuffledWindows
from keras_s4.datasets import Recordings
from keras_s4.scoring.heads import Head
from keras_s4.surgery.lengths import at_length


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
    x, y = recordings.windows(80, 40)
    assert np.mean(np.argmax(model(x), axis=-1) == y) > 0.9


def test_regressor_learns_from_shuffled_windows(recordings):
    """The speed of the rotation."""
    keras.utils.set_random_seed(0)
    quantities = Recordings(recordings.signals, recordings.labels - 0.5, recordings.subjects)
    model = models.regressor((80, 6), outputs=1, channels=8, states=4, blocks=1, dropout=0.0)
    windows = ShuffledWindows(quantities, length=80, hop=20, batch_size=10)
    training.fit_windows(model, windows, 30, jit_compile=False, compile_model=training.compile_regressor)
    x, y = quantities.windows(80, 40)
    assert np.sqrt(np.mean((model(x)[:, 0] - y) ** 2)) < 0.25


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


# Outputs of a model of two features at 6 steps, of which the last two of two sequences are padding.
SEQUENCES, STEPS, CLASSES = 4, 6, 3


def outputs_of_steps(activation):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((STEPS, 2)), keras.layers.Masking(0.0), keras.layers.Dense(CLASSES, activation=activation)]
    x = np.random.default_rng(0).normal(size=(SEQUENCES, STEPS, 2)).astype(np.float32)
    x[:2, 4:] = 0.0
    model = keras.Sequential(layers)
    model.run_eagerly = True
    return model, x, np.any(x != 0.0, axis=-1)


def logarithms(model, x):
    logits = x.astype(np.float64) @ np.asarray(model.layers[-1].kernel, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("activation", ["softmax", "linear"])
@pytest.mark.parametrize("weighted", ["no", "sequences", "steps"])
def test_steps_without_a_label_and_padded_ones_count_for_nothing(activation, weighted):
    """In loss and accuracy, for probabilities and logits; a weight is of a sequence or of a step."""
    model, x, real = outputs_of_steps(activation)
    random = np.random.default_rng(1)
    y = random.integers(-1, CLASSES, (SEQUENCES, STEPS))
    weights = {"no": None, "sequences": np.arange(4) + 0.5, "steps": random.random((SEQUENCES, STEPS))}[weighted]
    training.compile_classifier(model, 10, jit_compile=False)
    model.run_eagerly = True
    loss, accuracy = model.evaluate(x, y, sample_weight=weights, batch_size=SEQUENCES, verbose=0)
    logs, known = logarithms(model, x), real & (y >= 0)
    smoothed = 0.9 * np.eye(CLASSES)[np.maximum(y, 0)] + 0.1 / CLASSES
    losses = -(smoothed * logs).sum(axis=-1)
    scale = np.ones((4, 1)) if weights is None else weights.reshape(SEQUENCES, -1)
    assert loss == pytest.approx((losses * scale)[known].sum() / known.sum(), rel=1e-5)
    assert accuracy == pytest.approx((logs.argmax(axis=-1) == y)[known].mean(), rel=1e-5)


def test_labels_as_rows_are_those_as_numbers():
    random = np.random.default_rng(0)
    predictions = random.dirichlet(np.ones(5), 7).astype("float32")
    labels = random.integers(0, 5, 7)
    loss = training.SmoothedCrossentropy(0.1)
    rows = np.eye(5)[labels]
    assert float(loss(rows, predictions)) == pytest.approx(float(loss(labels, predictions)), rel=1e-6)
    mixed = 0.3 * rows + 0.7 * rows[::-1]
    expected = 0.3 * float(loss(labels, predictions)) + 0.7 * float(loss(labels[::-1], predictions))
    assert float(loss(mixed, predictions)) == pytest.approx(expected, rel=1e-6)
    rows[2] = -1.0
    labels[2] = -1
    assert float(loss(rows, predictions)) == pytest.approx(float(loss(labels, predictions)), rel=1e-6)
    metric = training.LabelAccuracy()
    assert float(metric(rows, predictions)) == float(training.LabelAccuracy()(labels, predictions))


@pytest.mark.parametrize("label", [5, -2])
def test_labels_that_the_model_does_not_have_are_heard_of(label):
    predictions = np.full((3, 5), 0.2, np.float32)
    assert np.isnan(float(training.SmoothedCrossentropy()(np.array([0, label, 1]), predictions)))
    yes = np.full((3, 2), 0.2, np.float32)
    assert np.isnan(float(training.BinarySmoothedCrossentropy()(np.array([[0, 1], [label, 1], [1, 1]]), yes)))


@pytest.mark.parametrize("loss", [training.SmoothedCrossentropy(), training.BinarySmoothedCrossentropy()])
def test_a_batch_without_any_label_has_no_loss(loss):
    labels = np.full((3, 2), -1.0)
    assert float(loss(labels, np.full((3, 2), 0.5, np.float32))) == 0.0


def test_several_labels_are_keras_own_where_all_are_known():
    random = np.random.default_rng(0)
    predictions, labels = random.uniform(0.05, 0.95, (7, 4)).astype("float32"), random.integers(0, 2, (7, 4))
    expected = keras.losses.BinaryCrossentropy(label_smoothing=0.2)(labels, predictions)
    assert float(training.BinarySmoothedCrossentropy(0.2)(labels, predictions)) == pytest.approx(
        float(expected), rel=1e-6
    )
    unknown = np.where(random.random((7, 4)) < 0.4, -1, labels)
    unknown[0] = -1
    smoothed = unknown * 0.8 + 0.1
    losses = -(smoothed * np.log(predictions) + (1 - smoothed) * np.log(1 - predictions))
    means = [loss[row >= 0].mean() for loss, row in zip(losses, unknown, strict=True) if (row >= 0).any()]
    assert float(training.BinarySmoothedCrossentropy(0.2)(unknown, predictions)) == pytest.approx(
        np.mean(means), rel=1e-5
    )
    right = ((predictions > 0.5) == unknown)[unknown >= 0].mean()
    assert float(training.LabelAccuracy(0.5)(unknown, predictions)) == pytest.approx(right, rel=1e-6)


def test_quantities_count_in_units_of_their_own():
    random = np.random.default_rng(0)
    targets, found = random.normal(size=(2, 6, 2)).astype("float32") * [1e5, 0.4]
    loss = training.MeanSquaredErrorInUnits([1e5, 0.4])
    expected = np.mean(np.square((targets - found) / [1e5, 0.4]))
    assert float(loss(targets, found.astype("float32"))) == pytest.approx(expected, rel=1e-5)
    plain = float(keras.losses.MeanSquaredError()(targets, found))
    assert float(training.MeanSquaredErrorInUnits()(targets, found)) == pytest.approx(plain, rel=1e-5)
    rmse = training.RootMeanSquaredError()
    assert float(rmse(targets, found)) == pytest.approx(np.sqrt(np.mean((targets - found) ** 2)), rel=1e-5)
    with pytest.raises(ValueError, match="expected equal shapes"):
        loss(targets[:, :1], found)


HEADS = {
    "classes": (lambda: models.classifier((8, 2), 3, 4, 2, 1), np.array([0, 1, 2, -1])),
    "binary": (lambda: models.classifier((8, 2), 1, 4, 2, 1), np.array([0, 1, 1, -1])),
    "multi_label": (
        lambda: models.classifier((8, 2), 2, 4, 2, 1, multi_label=True),
        np.array([[0, 1], [1, 1], [0, -1], [1, 0]]),
    ),
    "regression": (lambda: models.regressor((8, 2), 2, 4, 2, 1), np.ones((4, 2))),
    "forecast": (lambda: models.forecaster((8, 2), 3, channels=4, states=2, blocks=1), np.ones((4, 3, 2))),
}


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_compiled_by_its_name(head, tmp_path):
    make, y = HEADS[head]
    model = training.compile_for(head, make(), steps=10, jit_compile=False)
    model.run_eagerly = True
    x = np.random.default_rng(0).normal(size=(4, 8, 2)).astype(np.float32)
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(found) == {"loss", "rmse" if head in ("regression", "forecast") else "accuracy"}
    assert np.all(np.isfinite(list(found.values())))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(found, rel=1e-5)


def test_tasks_say_how_they_are_compiled():
    class Wanted:
        head, horizon = Head("classes"), 0

    compiled = training.compile_for(Wanted(), models.classifier((8, 2), 3, 4, 2, 1), 10, label_smoothing=0.3)
    assert compiled.loss.label_smoothing == 0.3
    # One output is enough for a task of two classes.
    compiled = training.compile_for(Head("classes"), models.classifier((8, 2), 1, 4, 2, 1), 10)
    assert isinstance(compiled.loss, training.BinarySmoothedCrossentropy)
    Wanted.horizon = 3
    series = models.forecaster((8, 2), 3, channels=4, states=2, blocks=1)
    assert isinstance(training.compile_for(Wanted(), series, 10).loss, training.MeanSquaredErrorInUnits)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: training.compile_classifier(HEADS["binary"][0](), 9), ValueError, "use compile_binary"),
        (lambda: training.compile_classifier(HEADS["multi_label"][0](), 9), ValueError, "use compile_multi_label"),
        (lambda: training.compile_multi_label(HEADS["classes"][0](), 9), ValueError, "exclude each other"),
        (lambda: training.compile_binary(HEADS["classes"][0](), 9), ValueError, "with 3 outputs; expected one"),
        (lambda: training.compile_for("ranking", HEADS["classes"][0](), 9), ValueError, "task='ranking'"),
        (lambda: training.compile_classifier(HEADS["classes"][0](), 0), ValueError, "steps=0"),
        (
            lambda: training.compile_classifier(HEADS["classes"][0](), 9, jit_compile="yes"),
            ValueError,
            "jit_compile='yes'",
        ),
        (
            lambda: training.compile_classifier(HEADS["classes"][0](), 9, label_smoothing=2),
            ValueError,
            "label_smoothing=2",
        ),
        (lambda: training.compile_regressor("model.keras", 9), TypeError, "Load it first"),
    ],
)
def test_refused_compilations(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX always compiles")
@pytest.mark.parametrize(
    ("length", "steps", "pays"),
    [(500, 40, False), (500, 60, True), (20, 1000, False), (20, 1300, True), (None, 10**6, False)],
)
def test_compiling_pays_by_length_and_steps(length, steps, pays):
    model = models.classifier((length, 2), 3, 4, 2, 1)
    assert training.pays_to_compile(model, steps) == pays
    if length is not None:  # what counts are the steps behind a front
        model = models.classifier((length * 4, 2), 3, 4, 2, 1, front=(8, 4), mask_value=-1.0)
        assert training.pays_to_compile(model, steps) == training.pays_to_compile(at_length(model, length * 4), steps)
        assert training.pays_to_compile(model, steps) == pays


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX always compiles")
@pytest.mark.parametrize("layer", [keras.layers.GRU(3), keras.layers.Conv1D(3, 2)])
def test_compiling_does_not_pay_for_other_layers(layer):
    model = keras.Sequential([keras.Input((500, 2)), layer, keras.layers.Dense(3, activation="softmax")])
    assert not training.pays_to_compile(model, 10**6)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"labels of shape \(4, 6\)"):
        training.SmoothedCrossentropy()(np.zeros((4, 6)), np.full((4, 3), 1 / 3, np.float32))


def test_compiled_classifier_is_saved_and_loaded(tmp_path):
    model = models.classifier((20, 6), classes=2, channels=4, states=4, blocks=1)
    training.compile_classifier(model, steps=10)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
