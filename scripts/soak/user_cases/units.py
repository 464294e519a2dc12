"""A3 and B5: features of different units, spikes, and signals that calibration never sees."""

from __future__ import annotations

import warnings

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS, LastStep, S4Block
from user_cases.case import Wrong, case, expect_near

LENGTH = 60
# Pressure in Pa, humidity as a part, temperature in degrees Celsius, resistance of a gas sensor in ohms.
MEAN, SPREAD = np.array([1e5, 0.4, 21.0, 1e6]), np.array([300.0, 0.05, 2.0, 2e5])


def weather(seed: int = 0) -> np.ndarray:
    """`[256, 60, 4]`: slow random walks in their units; of fewer windows, calibration would not see how far they go."""
    random = np.random.default_rng(seed)
    steps, starts = random.normal(size=(256, LENGTH, 4)), random.normal(size=(256, 1, 4))
    walks = np.cumsum(steps, axis=1) / np.sqrt(LENGTH) + starts
    return (MEAN + SPREAD * walks).astype("float32")


def normalization() -> keras.layers.Layer:
    """Adapted."""
    layer = keras.layers.Normalization()
    layer.adapt(weather())
    return layer


def batch_normalization() -> keras.layers.Layer:
    """With the moving statistics of a training."""
    layer = keras.layers.BatchNormalization()
    layer.build((None, LENGTH, 4))
    layer.set_weights([np.full(4, 1.2), np.full(4, 0.1), MEAN, SPREAD**2])
    return layer


def rescaling() -> keras.layers.Layer:
    """By a scale and an offset for each feature."""
    return keras.layers.Rescaling(list(1 / SPREAD), list(-MEAN / SPREAD))


FRONTS = {"Normalization": normalization, "BatchNormalization": batch_normalization, "Rescaling": rescaling}
READERS = {
    "Dense": lambda: [keras.layers.Dense(10, activation="tanh"), keras.layers.GRU(8)],
    "causal Conv1D": lambda: [keras.layers.Conv1D(8, 5, padding="causal", activation="relu"), LastStep()],
    "valid Conv1D": lambda: [keras.layers.Conv1D(8, 5, activation="relu"), keras.layers.GlobalAveragePooling1D()],
    "GRU": lambda: [keras.layers.GRU(8)],
    "LSTM": lambda: [keras.layers.LSTM(8)],
    "DSS": lambda: [DSS(6), LastStep()],
    "S4Block": lambda: [S4Block(6), keras.layers.GlobalAveragePooling1D()],
}


def device_is_near(layers: list[keras.layers.Layer], least: float = 25.0) -> None:
    """The device against Keras on other weather."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((LENGTH, 4)), *layers, keras.layers.Dense(3)])
    firmware = keras_s4.tflite.convert(model, weather())
    expect_near(model.predict(weather(1), verbose=0), firmware.predict(weather(1)), least)


for front, make_front in FRONTS.items():
    for reader, make_reader in READERS.items():
        if front == "Normalization" or reader in ("Dense", "DSS"):

            @case("A3", f"{front}, then {reader}")
            def normalised(make_front=make_front, make_reader=make_reader):
                """At least 25 dB."""
                device_is_near([make_front(), *make_reader()])


@case("A3", "Normalization in a nested model")
def nested() -> None:
    """Not the first layer by name, but the first that computes."""
    front = keras.Sequential([keras.Input((LENGTH, 4)), normalization()], name="front")
    device_is_near([front, keras.layers.GRU(8)])


@case("A3", "Normalization and BatchNormalization in a row, Dropout between")
def chain() -> None:
    """Affine maps in a row are one."""
    second = keras.layers.BatchNormalization()
    device_is_near([normalization(), keras.layers.Dropout(0.1), second, keras.layers.GRU(8)])


def balanced_dense() -> keras.layers.Layer:
    """A Dense layer that has learned to take raw features."""
    layer = keras.layers.Dense(10, activation="tanh")
    layer.build((None, LENGTH, 4))
    kernel = np.random.default_rng(0).normal(size=(4, 10)) / 2
    layer.set_weights([kernel / SPREAD[:, None], -(MEAN / SPREAD) @ kernel])
    return layer


@case("A3", "raw features into a Dense layer that learned their units")
def learned() -> None:
    """No normalisation in the model."""
    device_is_near([balanced_dense(), keras.layers.GRU(8)])


@case("A3", "each feature on an input of its own")
def inputs_apart() -> None:
    """Four inputs, normalised and joined."""
    keras.utils.set_random_seed(2)
    inputs = [keras.Input((LENGTH, 1), name=name) for name in ("pressure", "humidity", "temperature", "gas")]
    scaled = [keras.layers.Rescaling(1 / s, -m / s)(i) for i, m, s in zip(inputs, MEAN, SPREAD, strict=True)]
    hidden = keras.layers.GRU(8)(keras.layers.Concatenate()(scaled))
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    split = {x: list(np.split(weather(x), 4, axis=-1)) for x in (0, 1)}
    firmware = keras_s4.tflite.convert(model, split[0])
    expect_near(model.predict(split[1], verbose=0), firmware.predict(split[1]), 25.0)


@case("A3", "one spike in calibration")
def spike() -> None:
    """2,000 degrees a second once; the rest keeps its bits."""
    keras.utils.set_random_seed(2)
    random = np.random.default_rng(0)
    x = random.normal(size=(64, LENGTH, 3)).astype("float32")
    hit = x.copy()
    hit[5, 30, 1] = 2000.0
    for layers in ([keras.layers.Dense(10, activation="gelu"), keras.layers.GRU(8)], [DSS(6), LastStep()]):
        model = keras.Sequential([keras.Input((LENGTH, 3)), *layers, keras.layers.Dense(3)])
        expect_near(model.predict(x, verbose=0), keras_s4.tflite.convert(model, hit).predict(x), 20.0)


@case("A3", "pulses that are the signal are not clipped")
def pulses() -> None:
    """A peak in every window, 30 times the rest."""
    keras.utils.set_random_seed(2)
    random = np.random.default_rng(0)

    def beats():
        x = random.normal(size=(64, LENGTH, 1)) * 0.05
        x[np.arange(64), random.integers(5, LENGTH - 5, 64)] += random.uniform(0.5, 1.5, (64, 1))
        return x.astype("float32")

    model = keras.Sequential(
        [keras.Input((LENGTH, 1)), keras.layers.Dense(8), DSS(6), LastStep(), keras.layers.Dense(3)]
    )
    data, test = beats(), beats()
    expect_near(model.predict(test, verbose=0), keras_s4.tflite.convert(model, data).predict(test), 20.0)


@case("A3", "a constant feature")
def constant() -> None:
    """A channel that is not connected."""
    x = weather()
    x[..., 2] = 7.0
    keras.utils.set_random_seed(2)
    layer = keras.layers.Normalization(mean=MEAN, variance=SPREAD**2)
    model = keras.Sequential([keras.Input((LENGTH, 4)), layer, keras.layers.GRU(8), keras.layers.Dense(3)])
    expect_near(model.predict(x, verbose=0), keras_s4.tflite.convert(model, x).predict(x), 20.0)


@case("A3", "a feature with few levels is told")
def few_levels() -> None:
    """Two features on a layer that joins them at one scale: one keeps a handful of integers."""
    random = np.random.default_rng(0)
    x = random.normal(size=(16, LENGTH, 2)) * [1e5, 1.0]
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((LENGTH, 2)), keras.layers.LayerNormalization(), keras.layers.GRU(4)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        firmware = keras_s4.tflite.convert(model, x)
    levels = len(np.unique(firmware.quantize(x)[..., 1]))
    if levels < 64 and not any("level" in str(warning.message) for warning in caught):
        raise Wrong(f"feature 1 has {levels} levels, and no warning says so")


@case("A3", "analyse does not blame coefficients for the input's rounding")
def blamed() -> None:
    """The stage of the rounding is named."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((LENGTH, 4)), normalization(), keras.layers.Dense(8), DSS(6), LastStep()])
    found = keras_s4.tflite.analyse(keras_s4.tflite.convert(model, weather()), weather(1), model)
    if found.measured is None or found.measured < 25.0:
        raise Wrong(f"measured {found.measured} dB")


def one_step_seen(x: np.ndarray) -> None:
    """Converts a DSS model on data that hardly shows its states."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((x.shape[1], 2)), DSS(6), LastStep(), keras.layers.Dense(3)])
    firmware = keras_s4.tflite.convert(model, x)
    firmware.predict(x)


@case("B5", "calibration with one step", may_refuse=True)
def one_step() -> None:
    """States are read before they change."""
    one_step_seen(np.random.default_rng(0).normal(size=(8, 1, 2)).astype("float32"))


@case("B5", "calibration where only the last step is not zero", may_refuse=True)
def last_step() -> None:
    """The same."""
    x = np.zeros((8, 20, 2), "float32")
    x[:, -1] = 1.0
    one_step_seen(x)


@case("B5", "calibration with zeros alone", may_refuse=True)
def zeros() -> None:
    """Nothing to choose a scale from."""
    one_step_seen(np.zeros((8, 20, 2), "float32"))
