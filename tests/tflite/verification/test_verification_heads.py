"""`verify` by what the outputs mean."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4 import models
from keras_s4.scoring.heads import Head
from keras_s4.tflite import convert

B, L, F = 40, 16, 3
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(B, L, F)).astype("float32")
DEVICE = ("emulator", "tflm", "c")
SMALL = {"channels": 6, "states": 4, "blocks": 1}


def chain(*stack):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((L, F)), *stack])


def found(model, y, calibration=X, **options):
    return convert(model, calibration).verify(model, X, y, **options)


@pytest.fixture(scope="module")
def binary():
    model = chain(layers.GRU(5), layers.Dense(1, "sigmoid"))
    return model, convert(model, X), model.predict(X, verbose=0)[:, 0] > 0.5


@pytest.mark.parametrize("form", [lambda y: y.astype(int), lambda y: y[:, None], lambda y: y.astype("float32")])
def test_yes_or_no(binary, form):
    model, converted, y = binary
    wrong = np.arange(B) < 10
    verification = converted.verify(model, X, form(y ^ wrong))
    assert verification.accuracy["keras"] == 0.75
    assert verification.agreement["tflm"] > 0.9
    assert verification.accuracy["tflm"] == np.mean(verification.labels == y ^ wrong)
    decided = converted.predict(X, engine="emulator")[:, 0] > 0.5
    np.testing.assert_array_equal(verification.labels, decided)


def test_a_device_that_says_the_opposite_shows(binary):
    """Of one output the largest is always the first: labels were equal whatever the device did."""
    model, _, y = binary
    inverted = keras.models.clone_model(model)
    inverted.set_weights([*model.get_weights()[:-2], *(-weight for weight in model.get_weights()[-2:])])
    verification = convert(inverted, X).verify(model, X, y)
    assert verification.agreement["tflm"] < 0.1
    assert verification.verdict == "WRONG"
    assert "device against Keras: WRONG, equal labels" in str(verification)


def test_logits_are_decided_at_zero():
    model = chain(layers.GRU(5), layers.Dense(1))
    converted, truth = convert(model, X), model.predict(X, verbose=0)[:, 0] > 0
    assert converted.verify(model, X, truth.astype(int)).accuracy["keras"] == 1.0
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    assert converted.verify(model, X, truth.astype("float32")).accuracy["keras"] == 1.0
    assert set(converted.verify(model, X, truth.astype(int), task="regression").snr) >= set(DEVICE)
    far = converted.verify(model, X, truth.astype(int), task=Head("binary", 1e3))
    assert far.accuracy["keras"] == np.mean(~truth)


def test_several_labels():
    model = chain(layers.GRU(5), layers.Dense(4, "sigmoid"))
    y = (model.predict(X, verbose=0) > 0.5).astype(int)
    y[: B // 2, 0] ^= 1
    stages = found(model, y).outputs[0].stages
    assert stages["keras"]["accuracy"] == 7 / 8
    assert stages["keras"]["exact"] == 0.5
    assert {"accuracy", "exact", "agreement", "exact_agreement"} <= set(stages["tflm"])


def test_all_steps_of_a_sequence_count():
    model = models.sequence_to_sequence((L, F), 3, output_activation="softmax", **SMALL)
    y = model.predict(X, verbose=0).argmax(axis=-1)
    y[:, -1] = (y[:, -1] + 1) % 3
    converted = convert(model, X)
    for form in (y, y[..., None], np.eye(3)[y]):
        verification = converted.verify(model, X, form)
        assert verification.accuracy["keras"] == verification.accuracy["streamed"] == (L - 1) / L
        assert verification.agreement["tflm"] > 0.95


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda: models.sequence_to_sequence((L, F), 2, **SMALL), (B, L, 2)),
        (lambda: models.forecaster((L, F), 4, **SMALL), (B, 4, F)),
        (lambda: models.forecaster((L, F), 4, every_step=True, **SMALL), (B, L, 4, F)),
        (lambda: chain(layers.Conv1D(4, 3), layers.Conv1D(4, 4, strides=2, activation="relu")), (B, 6, 4)),
    ],
)
def test_quantities(model, shape):
    model, y = model(), RANDOM.normal(size=shape)
    verification = found(model, y)
    assert not verification.accuracy
    assert not verification.agreement
    assert "equal labels" not in str(verification)
    whole = model.predict(X, verbose=0)
    figures = verification.outputs[0].stages["keras"]
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean((whole - y) ** 2)), rel=1e-5)
    assert figures["mae"] == pytest.approx(np.mean(np.abs(whole - y)), rel=1e-5)
    assert verification.snr["streamed"] > 100
    assert min(verification.snr[stage] for stage in DEVICE) > 30
    assert verification.verdict == "good"
    assert json.loads(json.dumps(verification.figures()))["verdict"] == "good"


def test_calibration_a_thousand_times_too_small_shows():
    model = models.sequence_to_sequence((L, F), 2, **SMALL)
    verification = found(model, model.predict(X, verbose=0), calibration=X / 1000)
    assert verification.bit_exact
    assert verification.snr["tflm"] < 3
    assert verification.verdict == "WRONG"
    assert "device against Keras: WRONG, SNR in dB" in str(verification)
    assert min(verification.clipped["input"]) > 0.9
    assert "clipped samples of input: feature 0 9" in str(verification)


def test_each_output_by_its_own_head():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((L, F))
    last = layers.GRU(5)(inputs)
    ends = {"z": layers.Dense(3, "softmax")(last), "a": layers.Dense(1)(inputs)}
    model = keras.Model(inputs, ends)
    whole = model.predict(X, verbose=0)
    y = {"z": whole["z"].argmax(axis=1), "a": whole["a"][..., 0] + 0.25}
    converted = convert(model, X)
    for given in (y, [y["z"], y["a"]]):
        verification = converted.verify(model, X, given)
        label, quantity = verification.outputs
        assert (label.name, label.head.task, quantity.name, quantity.head.task) == ("z", "classes", "a", "regression")
        assert label.stages["keras"]["accuracy"] == 1.0
        assert quantity.stages["keras"]["mae"] == pytest.approx(0.25, abs=1e-6)
        assert quantity.stages["tflm"]["snr"] > 30
    assert "output z:" in str(verification)
    assert "accuracy" not in converted.verify(model, X, {"a": y["a"]}).outputs[0].stages["keras"]
    assert "mae" not in converted.verify(model, X, y["z"]).outputs[1].stages["keras"]


def test_without_targets_the_device_is_compared_with_keras():
    verification = found(chain(layers.GRU(5), layers.Dense(3, "softmax")), None)
    assert not verification.accuracy
    assert set(verification.agreement) == {"keras", "streamed", "emulator", "tflm", "c", "tensorflow"}


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.arange(B) % 3 + 1, ValueError, "from 1 to 3; the model knows 3, from 0 to 2"),
        (np.zeros((B, B)), ValueError, r"shape \[40, 40\] for outputs of shape \[40, 3\]"),
        (np.zeros(B - 1), ValueError, "got 40 of x, 39 of y"),
        (["a"] * B, TypeError, "Number the classes from 0"),
        (np.full(B, np.nan), ValueError, "40 NaN"),
        (np.full(B, 0.5), ValueError, "no whole numbers"),
    ],
)
def test_labels_are_refused_before_anything_runs(y, error, message, monkeypatch):
    model = chain(layers.GRU(5), layers.Dense(3, "softmax"))
    converted = convert(model, X)
    monkeypatch.setattr("keras_s4.tflite.verification.stages.compare_engines", lambda *arguments: pytest.fail("it ran"))
    with pytest.raises(error, match=message):
        converted.verify(model, X, y)


def test_lists_are_taken_as_well():
    model = chain(layers.GRU(5), layers.Dense(3, "softmax"))
    converted, y = convert(model, X), model.predict(X, verbose=0).argmax(axis=1)
    for x, labels in ((X.tolist(), y.tolist()), (list(X), list(y)), ([X], [y]), ({"x": X}, list(np.eye(3)[y]))):
        assert converted.verify(model, x, labels).accuracy["keras"] == 1.0


def test_windows_of_another_length_are_refused():
    """Keras itself averages over whatever comes."""
    model = chain(layers.Dense(4, "relu"), layers.GlobalAveragePooling1D(), layers.Dense(3, "softmax"))
    converted = convert(model, X)
    with pytest.raises(ValueError, match="sequences of 10 steps; it averages over windows of 16"):
        converted.verify(model, X[:, :10], np.zeros(B))


def test_a_model_that_is_broken_is_named():
    model = chain(layers.GRU(5), layers.Dense(3, "softmax"))
    converted = convert(model, X)
    model.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match="is NaN or infinite on x"):
        converted.verify(model, X, np.zeros(B))


def test_another_model_is_refused():
    converted = convert(chain(layers.GRU(5), layers.Dense(3, "softmax")), X)
    others = [
        chain(layers.GRU(5), layers.Dense(4, "softmax")),
        keras.Sequential([keras.Input((L, F + 1)), layers.GRU(5), layers.Dense(3, "softmax")]),
    ]
    for other in others:
        with pytest.raises(ValueError, match="give verify the model that was converted"):
            converted.verify(other, X, np.zeros(B))


def test_tokens_outside_the_vocabulary_are_refused_before_keras_sees_them():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((L,)), layers.Embedding(9, 4), layers.GRU(5), layers.Dense(3, "softmax")])
    tokens = RANDOM.integers(0, 9, (B, L))
    converted = convert(model, tokens)
    assert converted.verify(model, tokens, np.zeros(B, int)).agreement["tflm"] > 0.9
    for wrong, message in ((tokens + 1, "from 1 to 9; the vocabulary has 9"), (tokens + 0.5, "no whole numbers")):
        for method in (converted.predict, lambda x: converted.verify(model, x, np.zeros(B))):
            with pytest.raises(ValueError, match=message):
                method(wrong)
