"""A1: state of layers that is not a weight, in copies of a model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS, S4Block
from user_cases.case import Wrong, case, expect_equal, expect_near

SHAPE = (40, 3)


def recordings(seed: int = 0) -> np.ndarray:
    """`[32, 40, 3]`, far from mean 0 and variance 1."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(32, *SHAPE)) * [3.0, 0.02, 50.0] + [20.0, 0.4, -300.0]).astype("float32")


def adapted() -> keras.layers.Normalization:
    """A Normalization that knows the recordings."""
    layer = keras.layers.Normalization(name="normalize")
    layer.adapt(recordings())
    return layer


def around(*first: keras.layers.Layer) -> keras.Model:
    """A classifier behind these layers."""
    keras.utils.set_random_seed(1)
    inputs = hidden = keras.Input(SHAPE)
    for layer in first:
        hidden = layer(hidden)
    hidden = keras.layers.Dense(12, name="encoder")(hidden)
    hidden = S4Block(8, name="block")(hidden)
    hidden = keras.layers.GlobalAveragePooling1D()(hidden)
    return keras.Model(inputs, keras.layers.Dense(4, activation="softmax", name="head")(hidden))


def outputs(model: keras.Model) -> np.ndarray:
    """Of the recordings."""
    return model.predict(recordings(1), verbose=0)


def whole(model: keras.Model) -> keras.Model:
    """A copy by `reduce` that leaves every rank as it is."""
    return keras_s4.reduce(model, {})


def saved_and_loaded(model: keras.Model) -> keras.Model:
    """The model from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return keras.saving.load_model(path)


@case("A1", "reduce behind an adapted Normalization")
def reduce_normalized() -> None:
    """The copy computes what the model does."""
    model = around(adapted())
    expect_equal(outputs(model), outputs(whole(model)))


@case("A1", "reduce behind an adapted Normalization, saved and loaded")
def reduce_save_load() -> None:
    """So does the file."""
    model = around(adapted())
    expect_equal(outputs(model), outputs(saved_and_loaded(whole(model))))


@case("A1", "Normalization in a nested Sequential, reduced")
def nested_sequential() -> None:
    """Nested once."""
    model = around(keras.Sequential([keras.Input(SHAPE), adapted()], name="front"))
    expect_equal(outputs(model), outputs(saved_and_loaded(whole(model))))


@case("A1", "Normalization nested twice, reduced")
def nested_twice() -> None:
    """Functional in Sequential in functional."""
    inputs = keras.Input(SHAPE)
    inner = keras.Model(inputs, adapted()(inputs), name="inner")
    model = around(keras.Sequential([keras.Input(SHAPE), inner], name="outer"))
    expect_equal(outputs(model), outputs(saved_and_loaded(whole(model))))


@case("A1", "TimeDistributed(Normalization), reduced", may_refuse=True)
def distributed() -> None:
    """A wrapper holds it."""
    layer = keras.layers.Normalization()
    layer.adapt(recordings().reshape(-1, SHAPE[-1]))
    model = around(keras.layers.TimeDistributed(layer))
    expect_equal(outputs(model), outputs(saved_and_loaded(whole(model))))


@case("A1", "at_rate(model, 1.0) behind a Normalization")
def rate() -> None:
    """The same model."""
    inputs = keras.Input(SHAPE)
    hidden = DSS(8)(keras.layers.Dense(8)(adapted()(inputs)))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(hidden))
    expect_equal(outputs(model), outputs(keras_s4.at_rate(model, 1.0)))


@case("A1", "quantize_aware behind a Normalization, and converted")
def aware() -> None:
    """Rounded, not changed."""
    model = around(adapted())
    copy = keras_s4.quantize_aware(model, recordings())
    expect_near(outputs(model), outputs(copy), 15.0)
    expect_near(outputs(copy), keras_s4.tflite.convert(copy, recordings()).predict(recordings(1)), 15.0)


@case("A1", "analyse behind a Normalization")
def analysed() -> None:
    """What the device computes is near, and the analysis says so."""
    model = around(adapted())
    firmware = keras_s4.tflite.convert(model, recordings())
    expect_near(outputs(model), firmware.predict(recordings(1)), 20.0)
    measured = keras_s4.tflite.analyse(firmware, recordings(1), model).measured
    if measured is None or measured < 20.0:
        raise Wrong(f"analyse measures {measured} dB")


@case("A1", "data= statistics behind a Normalization")
def data_aware() -> None:
    """States follow the power of normalised inputs: hardly anything is lost with one mode less."""
    model = around(adapted())
    states = keras_s4.compression.parts_of(model, "states", data=recordings())
    ranks = {name: part.max_rank - 1 for name, part in states.items()}
    expect_near(outputs(model), outputs(keras_s4.reduce(model, ranks, "input_weighted", data=recordings())), 15.0)


@keras.saving.register_keras_serializable(package="user_cases")
class Centre(keras.layers.Layer):
    """A user's layer that keeps a constant beside its weight."""

    def build(self, shape):
        """Makes the weight."""
        self.mean = self.add_weight(shape=(shape[-1],), trainable=False, name="mean")
        self.factor = None

    def adapt(self, x):
        """Sets both."""
        self.mean.assign(np.asarray(x).mean(axis=(0, 1)))
        self.finalize_state()

    def finalize_state(self):
        """Derives the factor from the weight, as Keras does after loading."""
        self.factor = 1.0 / (1.0 + np.abs(np.asarray(self.mean)))

    def load_own_variables(self, store):
        """As Normalization does."""
        super().load_own_variables(store)
        self.finalize_state()

    def call(self, inputs):
        """Centred."""
        centred = inputs - self.mean
        return centred if self.factor is None else centred * self.factor


@case("A1", "a user's layer with derived state, reduced")
def users_layer() -> None:
    """As Keras' own loading would restore it."""
    layer = Centre()
    layer.build((None, *SHAPE))
    layer.adapt(recordings())
    model = around(layer)
    expect_equal(outputs(model), outputs(whole(model)))


@case("A1", "Discretization in front of an Embedding, reduced", may_refuse=True)
def discretization() -> None:
    """Its boundaries are learned."""
    keras.utils.set_random_seed(1)
    bins = keras.layers.Discretization(num_bins=6)
    bins.adapt(recordings()[..., 0])
    inputs = keras.Input(SHAPE[:1])
    hidden = keras.layers.Embedding(8, 8)(bins(inputs))
    hidden = DSS(8)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))
    data = recordings(1)[..., 0]
    copy = saved_and_loaded(whole(model))
    expect_equal(model.predict(data, verbose=0), copy.predict(data, verbose=0))


@case("A1", "frozen layers stay frozen in a copy")
def frozen() -> None:
    """`trainable` is no weight either."""
    model = around(adapted())
    model.get_layer("encoder").trainable = False
    if whole(model).get_layer("encoder").trainable:
        raise Wrong("the encoder of the copy is trainable")


@case("A1", "learned BatchNormalization in a nested model, reduced")
def moving_statistics() -> None:
    """Moving mean and variance."""
    front = keras.Sequential([keras.Input(SHAPE), keras.layers.BatchNormalization(momentum=0.5)], name="front")
    model = around(front)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(recordings(), np.arange(32) % 4, epochs=3, verbose=0)
    expect_equal(outputs(model), outputs(whole(model)))
