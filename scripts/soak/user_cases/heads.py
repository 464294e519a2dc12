"""A4 and A9: verification, metrics and predictions of every kind of head."""

from __future__ import annotations

import warnings

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS
from user_cases.case import Wrong, case, expect_equal, expect_near, expect_refusal

LENGTH = 40


def signals(seed: int = 0, count: int = 48) -> np.ndarray:
    """`[B, 40, 2]`."""
    random = np.random.default_rng(seed)
    slow = np.cumsum(random.normal(size=(count, LENGTH, 2)), axis=1) / 6
    return (slow + random.normal(size=(count, 1, 2))).astype("float32")


def model_with(*head: keras.layers.Layer, sequence: bool = False) -> keras.Model:
    """A DSS model with this head."""
    keras.utils.set_random_seed(4)
    pooling = [] if sequence else [keras.layers.GlobalAveragePooling1D()]
    return keras.Sequential([keras.Input((LENGTH, 2)), keras.layers.Dense(8), DSS(6), *pooling, *head])


def both(model: keras.Model) -> tuple[np.ndarray, keras_s4.tflite.Converted]:
    """Keras' outputs, and the firmware."""
    return model.predict(signals(), verbose=0), keras_s4.tflite.convert(model, signals(1))


def accuracies(model: keras.Model, y: np.ndarray, least: float = 0.9) -> None:
    """Demands that `verify` finds labels that are Keras' own."""
    _, firmware = both(model)
    found = firmware.verify(model, signals(), y)
    low = {stage: value for stage, value in found.accuracy.items() if not least <= value <= 1.0}
    if low or not found.bit_exact:
        raise Wrong(f"accuracy {found.accuracy}, {found.first_difference}")
    str(found)


@case("A4", "Dense(1, sigmoid): labels that are Keras' own")
def binary() -> None:
    """Column and flat."""
    model = model_with(keras.layers.Dense(1, activation="sigmoid"))
    wanted = both(model)[0]
    accuracies(model, (wanted[:, 0] > 0.5).astype(int))
    accuracies(model, (wanted > 0.5).astype(int))


@case("A4", "Dense(1, sigmoid): a device that inverts is seen")
def inverted() -> None:
    """Against another model, agreement falls."""
    model = model_with(keras.layers.Dense(1, activation="sigmoid"))
    wanted, firmware = both(model)
    weights = model.layers[-1].get_weights()
    model.layers[-1].set_weights([-weights[0], -weights[1]])
    found = firmware.verify(model, signals(), (wanted[:, 0] > 0.5).astype(int))
    if found.agreement["tflm"] > 0.5:
        raise Wrong(f"equal labels {found.agreement['tflm']:.0%} with the opposite model")


for form in ("integers", "column", "one-hot", "floats"):

    @case("A4", f"softmax, labels as {form}")
    def softmax(form=form):
        """The four ways that Keras takes."""
        model = model_with(keras.layers.Dense(4, activation="softmax"))
        labels = both(model)[0].argmax(axis=1)
        forms = {"column": labels[:, None], "one-hot": np.eye(4)[labels], "floats": labels.astype("float32")}
        accuracies(model, forms.get(form, labels))


@case("A4", "several labels at once (sigmoids)")
def multi_label() -> None:
    """0 or 1 for each."""
    model = model_with(keras.layers.Dense(3, activation="sigmoid"))
    accuracies(model, (both(model)[0] > 0.5).astype(int), 0.8)


@case("A4", "a class at every step")
def sequence_labels() -> None:
    """`[B, L]` and `[B, L, 1]`."""
    model = model_with(keras.layers.Dense(3, activation="softmax"), sequence=True)
    labels = both(model)[0].argmax(axis=-1)
    accuracies(model, labels, 0.85)
    accuracies(model, labels[..., None], 0.85)


@case("A4", "regression: a right device is near, in dB")
def regression() -> None:
    """No accuracy of classes."""
    model = model_with(keras.layers.Dense(2))
    wanted, firmware = both(model)
    text = str(firmware.verify(model, signals(), wanted))
    if "dB" not in text.split("layer")[0]:
        raise Wrong(f"no signal-to-noise ratio of the output: {text[:200]}")


@case("A4", "regression calibrated a thousand times too small is seen")
def calibrated_small() -> None:
    """Clipped everywhere, and not called equal."""
    model = model_with(keras.layers.Dense(1))
    wanted = model.predict(signals(), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        firmware = keras_s4.tflite.convert(model, signals(1) / 1000)
        text = str(firmware.verify(model, signals(), wanted))
    if "clip" not in text.lower() or "100.00%    100.00%" in text:
        raise Wrong(f"the table does not show it: {text[:300]}")


@case("A4", "the library's forecaster verifies")
def forecaster() -> None:
    """`[B, horizon, features]`."""
    keras.utils.set_random_seed(4)
    model = keras_s4.models.forecaster((LENGTH, 2), 5, channels=8, states=4)
    wanted, firmware = both(model)
    str(firmware.verify(model, signals(), wanted))
    expect_near(wanted, firmware.predict(signals()), 15.0)


@case("A4", "the library's sequence_to_sequence verifies")
def every_step() -> None:
    """`[B, L, C]`."""
    keras.utils.set_random_seed(4)
    model = keras_s4.models.sequence_to_sequence((LENGTH, 2), 3, channels=8, states=4)
    wanted, firmware = both(model)
    str(firmware.verify(model, signals(), wanted))


@case("A4", "two heads, classes and a number")
def two_heads() -> None:
    """A dict of outputs."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((LENGTH, 2))
    hidden = keras.layers.GRU(8)(inputs)
    heads = {"kind": keras.layers.Dense(3, activation="softmax")(hidden), "size": keras.layers.Dense(1)(hidden)}
    model = keras.Model(inputs, heads)
    firmware = keras_s4.tflite.convert(model, signals(1))
    wanted = model.predict(signals(), verbose=0)
    y = {"kind": wanted["kind"].argmax(axis=1), "size": wanted["size"]}
    str(firmware.verify(model, signals(), y))
    received = firmware.predict(signals())
    expect_near(wanted["size"], received["size"], 15.0)


BAD_LABELS = {
    "a class that there is not": lambda y: np.where(np.arange(len(y)) == 7, 4, y),
    "a negative class": lambda y: np.where(np.arange(len(y)) == 7, -1, y),
    "words": lambda y: np.array(["walk"] * len(y)),
    "halves": lambda y: y + 0.5,
    "NaN": lambda y: np.where(np.arange(len(y)) == 7, np.nan, y),
    "one too few": lambda y: y[:-1],
    "None": lambda y: np.array([None] * len(y)),
}
for title, spoil in BAD_LABELS.items():

    @case("A4", f"verify refuses labels: {title}")
    def bad_labels(spoil=spoil):
        """At the start."""
        model = model_with(keras.layers.Dense(4, activation="softmax"))
        wanted, firmware = both(model)
        expect_refusal(lambda: firmware.verify(model, signals(), spoil(wanted.argmax(axis=1))), "")

    @case("A4", f"accuracy_on and rank_tuning refuse labels: {title}")
    def bad_metric(spoil=spoil):
        """Rank 1 with accuracy 0 is no success."""
        model = model_with(keras.layers.Dense(4, activation="softmax"))
        y = spoil(np.zeros(48, int))

        def tune():
            return keras_s4.rank_tuning(
                model, keras_s4.compression.accuracy_on(signals(), y), relative_loss=0.1, progress=False
            )

        expect_refusal(tune, "")


@case("A4", "NaN in x is refused by verify, predict and quantize")
def nan_inputs() -> None:
    """A lost sample."""
    model = model_with(keras.layers.Dense(4, activation="softmax"))
    _, firmware = both(model)
    x = signals()
    x[3, 4, 1] = np.nan
    for act in (firmware.predict, firmware.quantize, lambda x: firmware.verify(model, x, np.zeros(48, int))):
        expect_refusal(lambda act=act: act(x), "nan")


SEQUENCES = {
    "Dense at every step": lambda: [keras.layers.Dense(3)],
    "strided convolution": lambda: [keras.layers.Conv1D(4, 4, strides=2, padding="causal")],
    "valid convolution": lambda: [keras.layers.Conv1D(4, 5)],
    "average pooling by 4": lambda: [keras.layers.AveragePooling1D(4), keras.layers.Dense(3)],
    "GRU with sequences": lambda: [keras.layers.GRU(5, return_sequences=True)],
    "GRU without": lambda: [keras.layers.GRU(5)],
    "softmax at every step": lambda: [keras.layers.Dense(3, activation="softmax")],
}
for title, layers in SEQUENCES.items():

    @case("A9", f"predict gives what Keras gives: {title}")
    def predicted(layers=layers):
        """Shape and values."""
        model = model_with(*layers(), sequence=True)
        wanted, firmware = both(model)
        expect_near(wanted, firmware.predict(signals()), 15.0)


@case("A9", "predict in C gives what predict on TFLM gives")
def engines() -> None:
    """Bit for bit."""
    model = model_with(keras.layers.Dense(3), sequence=True)
    _, firmware = both(model)
    expect_equal(firmware.predict(signals()), firmware.predict(signals(), engine="c"), 0.0)
