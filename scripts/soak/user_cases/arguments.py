"""A8 and E: arguments of another kind than expected."""

from __future__ import annotations

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS
from user_cases.case import Wrong, case, expect_equal, expect_near, expect_refusal

DATA = np.random.default_rng(0).normal(size=(16, 24, 2)).astype("float32")


def model() -> keras.Model:
    """A small one."""
    keras.utils.set_random_seed(1)
    pooling = keras.layers.GlobalAveragePooling1D()
    return keras.Sequential([keras.Input((24, 2)), keras.layers.Dense(8), DSS(6), pooling, keras.layers.Dense(3)])


REFUSED_CONVERSIONS = {
    "a path": (lambda: ("model.keras", DATA), ""),
    "swapped arguments": (lambda: (DATA, model()), ""),
    "length=0": (lambda: (model(), DATA, 0), "length"),
    "length=-3": (lambda: (model(), DATA, -3), "length"),
    "length='24'": (lambda: (model(), DATA, "24"), "length"),
    "length=NaN": (lambda: (model(), DATA, float("nan")), "length"),
    "steps=True": (lambda: (model(), DATA, None, "inputs", "int8", True), "steps"),
    "steps='4'": (lambda: (model(), DATA, None, "inputs", "int8", "4"), "steps"),
    "no data": (lambda: (model(), None), ""),
    "an empty list": (lambda: (model(), []), ""),
    "time and features swapped": (lambda: (model(), DATA.transpose(0, 2, 1)), "24"),
    "a path as data": (lambda: (model(), "data.npz"), ""),
    "words as data": (lambda: (model(), DATA.astype(str)), ""),
}
for title, (arguments, about) in REFUSED_CONVERSIONS.items():

    @case("E", f"convert refuses {title}")
    def conversion(arguments=arguments, about=about):
        """One message."""
        expect_refusal(lambda: keras_s4.tflite.convert(*arguments()), about)


@case("E", "tf.data and generators as representative data", may_refuse=True)
def datasets() -> None:
    """As TensorFlow's converter takes them."""
    import tensorflow

    m = model()
    expected = keras_s4.tflite.convert(m, DATA).predict(DATA)
    dataset = tensorflow.data.Dataset.from_tensor_slices(DATA).batch(4)
    expect_near(expected, keras_s4.tflite.convert(m, dataset).predict(DATA), 25.0)
    expect_near(expected, keras_s4.tflite.convert(m, (DATA[i : i + 4] for i in range(0, 16, 4))).predict(DATA), 25.0)


@case("E", "integers and half precision as data")
def number_types() -> None:
    """The numbers count, not their type."""
    m = model()
    whole = np.rint(DATA * 20).astype("int8")
    expected = keras_s4.tflite.convert(m, whole.astype("float32"))
    expect_equal(expected.predict(whole.astype("float32")), keras_s4.tflite.convert(m, whole).predict(whole), 0.0)


@case("E", "numpy integers as ranks and lengths")
def numpy_integers() -> None:
    """`np.int64(4)` is 4."""
    m = model()
    expect_equal(
        keras_s4.reduce(m, 4).predict(DATA, verbose=0), keras_s4.reduce(m, np.int64(4)).predict(DATA, verbose=0)
    )
    keras_s4.tflite.convert(m, DATA, length=np.int64(24))


REFUSED_RANKS = {
    "0": 0, "-1": -1, "True": True, "'4'": "4", "2.5": 2.5, "NaN": float("nan"), "above": 99,
    "an unknown part": {"nothing": 2}, "None in a dict": {"dss": None},
}  # fmt: skip
for title, ranks in REFUSED_RANKS.items():

    @case("E", f"reduce refuses ranks: {title}")
    def bad_rank(ranks=ranks):
        """One message."""
        expect_refusal(lambda: keras_s4.reduce(model(), ranks), "")


for name in ("flash", "ram", "multiply_accumulates"):
    for value in (float("nan"), -1, True, "many"):

        @case("A8", f"ranks.budget refuses {name}={value!r}")
        def bad_budget(name=name, value=value):
            """One message."""
            expect_refusal(lambda: keras_s4.ranks.budget(model(), **{name: value}), "")


@case("E", "GRU(stateful=True) is refused, or works", may_refuse=True)
def stateful() -> None:
    """Keras' own carry over batches has no place in a stream."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(batch_shape=(8, 24, 2))
    m = keras.Model(inputs, keras.layers.GRU(6, stateful=True)(inputs))
    wanted = m.predict(DATA[:8], batch_size=8, verbose=0)
    expect_near(wanted, keras_s4.tflite.convert(m, DATA[:8]).predict(DATA[:8]), 20.0)


@case("E", "Dense(activation='glu') is refused, naming layers.GLU")
def broken_glu() -> None:
    """It is broken in Keras."""

    def build():
        inputs = keras.Input((24, 2))
        return keras_s4.tflite.convert(keras.Model(inputs, keras.layers.Dense(8, activation="glu")(inputs)), DATA)

    expect_refusal(build, "layers.GLU")


@case("E", "layers.GLU trains, streams and converts")
def glu() -> None:
    """Value times sigmoid of the gate."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((24, 2))
    hidden = keras.layers.Dense(12)(inputs)
    m = keras.Model(inputs, [keras_s4.layers.GLU()(hidden), hidden])
    gated, raw = m.predict(DATA, verbose=0)
    expect_equal(raw[..., :6] / (1 + np.exp(-raw[..., 6:])), gated, 1e-5)
    m = keras.Sequential([inputs, keras.layers.Dense(12), keras_s4.layers.GLU(), keras.layers.GRU(4)])
    expect_near(m.predict(DATA, verbose=0), keras_s4.tflite.convert(m, DATA).predict(DATA), 20.0)


@case("E", "Converted prints a few lines")
def printed() -> None:
    """Not all its arrays."""
    text = repr(keras_s4.tflite.convert(model(), DATA))
    if len(text) > 1500:
        raise Wrong(f"{len(text)} characters")


@case("E", "inputs beyond the calibration are counted")
def clipped() -> None:
    """`verify` says so."""
    m = model()
    found = keras_s4.tflite.convert(m, DATA / 10).verify(m, DATA, m.predict(DATA, verbose=0).argmax(axis=1))
    if "clip" not in str(found).lower():
        raise Wrong("nothing says that inputs were clipped")
