"""A copy of a model computes what the model computes, whatever its layers hold beside weights."""

import keras
import numpy as np
import pytest

import keras_s4
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.parts import parts_of
from keras_s4.layers import DSS, DSSCell, S4Block
from keras_s4.resampling import at_rate
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.layer_inputs import Moment, measure
from keras_s4.surgery.layer_state import layers_inside

L = keras.layers
register = keras.saving.register_keras_serializable(package="layer_state")
DATA = np.random.default_rng(0).normal(5.0, 3.0, size=(16, 20, 3)).astype("float32")
NUMBERS = np.random.default_rng(1).integers(0, 5, size=(4, 6)) * 10


@register
class FromWeights(L.Layer):
    """Computes with what `finalize_state` makes of its weight."""

    def build(self, input_shape):
        self.logarithm = self.add_weight(shape=(input_shape[-1],), name="logarithm")
        self.finalize_state()

    def compute_output_shape(self, input_shape):
        return input_shape

    def finalize_state(self):
        self.gain = keras.ops.exp(self.logarithm)

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self.finalize_state()

    def call(self, inputs):
        return inputs * self.gain


@register
class SavedByItself(L.Layer):
    """Holds an array that is no weight, but saved."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.gain = np.ones(3, "float32")

    def save_own_variables(self, store):
        store["gain"] = self.gain

    def load_own_variables(self, store):
        self.gain = np.array(store["gain"])

    def call(self, inputs):
        return inputs * self.gain


class Adapted(L.Layer):
    """Holds what it found in data in plain attributes, of which Keras knows nothing, and is not registered."""

    def __init__(self):
        super().__init__()
        self.is_adapted, self.limits, self.order = False, {"gain": [1.0]}, 1

    def adapt(self, data):
        self.mean = data.mean((0, 1))
        self.is_adapted, self.limits, self.order = True, {"gain": [2.0, 3.0]}, 3

    def call(self, inputs):
        if not self.is_adapted:
            return inputs
        return (inputs - self.mean) * self.limits["gain"][1] ** self.order


def normalization(data=DATA, **arguments):
    layer = L.Normalization(**arguments)
    layer.adapt(data)
    return layer


def sequence(*layers):
    return keras.Sequential([keras.Input(DATA.shape[1:]), *layers])


def adapted():
    layer = Adapted()
    layer.adapt(DATA)
    return sequence(layer, DSS(3))


def derived(wrap=lambda layer: layer):
    layer = FromWeights()
    model = sequence(wrap(layer), DSS(3))
    layer.logarithm.assign([0.1, 0.2, 0.3])
    layer.finalize_state()
    return model


def saved_by_itself():
    layer = SavedByItself()
    layer.gain = np.array([2.0, 3.0, 4.0], "float32")
    return sequence(layer, DSS(3))


def nested(sequential):
    inputs = keras.Input(DATA.shape[1:])
    if sequential:
        inner = keras.Sequential([normalization(), L.Dense(4, name="same")], name="inner")
    else:
        inner = keras.Model(inputs, L.Dense(4, name="same")(normalization()(inputs)), name="inner")
    return keras.Model(inputs, L.Dense(2, name="same")(DSS(4)(inner(inputs))))


def twice_nested():
    inputs = keras.Input(DATA.shape[1:])
    middle = keras.Sequential([nested(True), L.BatchNormalization()])
    return keras.Model(inputs, middle(inputs))


def not_updated():
    """Weights were set, but the layer goes on with what it made of the old ones."""
    layer = normalization()
    model = sequence(layer, DSS(3))
    layer.set_weights([weight + 1 for weight in layer.get_weights()])
    return model


def stateful():
    model = keras.Sequential([keras.Input(batch_shape=DATA.shape), L.GRU(3, stateful=True, return_sequences=True)])
    model(DATA)
    return model


def with_lora():
    model = sequence(L.Dense(4), L.Dense(2))
    model.layers[0].enable_lora(1)
    model.layers[0].lora_kernel_b.assign([[1.0, 2.0, 3.0, 4.0]])
    return model


def in_integers():
    model = sequence(L.Dense(4), L.Dense(2))
    model.quantize("int8")
    return model


def block_with_lora():
    model = sequence(L.Dense(4), S4Block(3))
    model.layers[1].value.enable_lora(1)
    model.layers[1].value.lora_kernel_b.assign([[1.0, 2.0, 3.0, 4.0]])
    return model


def block_in_integers():
    model = sequence(L.Dense(4), S4Block(3))
    model.quantize("int8")
    return model


def binned():
    layer = L.Discretization(num_bins=4)
    layer.adapt(DATA[..., :1])
    return sequence(layer, L.Dense(3))


def looked_up():
    layer = L.IntegerLookup()
    layer.adapt(NUMBERS)
    return keras.Sequential([keras.Input((None,), dtype="int64"), layer, L.Embedding(9, 3), DSS(2)])


def called_on_data():
    model = keras.Sequential([normalization(), DSS(4), L.Dense(2)])
    model(DATA)
    return model


MODELS = {
    "Normalization": lambda: sequence(normalization(), DSS(4)),
    "Normalization axis None": lambda: sequence(normalization(axis=None), DSS(4)),
    "Normalization inverted": lambda: sequence(normalization(invert=True), DSS(4)),
    "Normalization given numbers": lambda: sequence(
        L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]), DSS(4)
    ),
    "Normalization, weights set": not_updated,
    "Normalization in TimeDistributed": lambda: sequence(L.TimeDistributed(normalization(DATA[0])), DSS(4)),
    "nested Sequential": lambda: nested(True),
    "nested functional": lambda: nested(False),
    "nested twice": twice_nested,
    "finalize_state": derived,
    "finalize_state in TimeDistributed": lambda: derived(L.TimeDistributed),
    "save_own_variables": saved_by_itself,
    "adapt into attributes": adapted,
    "stacked cells": lambda: sequence(normalization(), L.RNN([L.GRUCell(3), L.LSTMCell(3)])),
    "DSSCell": lambda: sequence(normalization(), L.RNN(DSSCell(DSS(3), 3), return_sequences=True)),
    "Bidirectional": lambda: sequence(L.Bidirectional(L.LSTM(3))),
    "S4Block": lambda: sequence(normalization(), S4Block(4), L.GlobalAveragePooling1D()),
    "stateful": stateful,
    "lora": with_lora,
    "int8": in_integers,
    "lora in a block": block_with_lora,
    "int8 in a block": block_in_integers,
    "Discretization": binned,
    "IntegerLookup": looked_up,
    "Lambda": lambda: sequence(L.Lambda(lambda x: x * 2), DSS(3)),
    "SpectralNormalization": lambda: sequence(L.SpectralNormalization(L.Dense(3))),
    "policies": lambda: sequence(L.Dense(4, dtype="mixed_float16"), DSS(3), L.Dense(2, dtype="bfloat16")),
    "without Input": called_on_data,
}


# What these hold, Keras does not save, or cannot load.
NOT_SAVED = {"adapt into attributes", "Lambda", "stateful", "lora in a block", "int8 in a block"}


def data_of(model):
    return NUMBERS if "int" in model.inputs[0].dtype else DATA


def outputs_of(model):
    return keras.ops.convert_to_numpy(model(data_of(model)))


def shaken(model):
    """With weights away from their initial values: moving averages and biases, which are ones and zeros."""
    random = np.random.default_rng(2)
    for layer in layers_inside(model):
        if isinstance(layer, (L.BatchNormalization, L.LSTM, L.Dense, S4Block)) and not isinstance(layer, keras.Model):
            for weight in layer.weights:
                if "float" in weight.dtype:
                    value = keras.ops.convert_to_numpy(weight)
                    weight.assign(np.abs(value + 0.1 * random.normal(size=value.shape)))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_copy_computes_what_the_model_computes(name):
    model = shaken(MODELS[name]())
    copy = clone(model, {})
    np.testing.assert_array_equal(outputs_of(copy), outputs_of(model))


@pytest.mark.parametrize("name", sorted(set(MODELS) - NOT_SAVED))
def test_a_saved_copy_computes_what_the_saved_model_computes(name, tmp_path):
    model = shaken(MODELS[name]())
    clone(model, {}).save(tmp_path / "copy.keras")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs_of(keras.saving.load_model(tmp_path / "copy.keras")), outputs_of(loaded))


def test_the_table_shows_what_a_copy_without_state_loses():
    """`clone_model` with weights, as Keras offers it, is another model for many of the table."""
    lost = set()
    names = ("Normalization", "nested functional", "finalize_state", "save_own_variables")
    for name in names:
        model = MODELS[name]()
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        if not np.array_equal(outputs_of(copy), outputs_of(model)):
            lost.add(name)
    assert lost == set(names)


def test_names_policies_and_flags_are_kept():
    model = sequence(normalization(), S4Block(4), Adapted(), L.Dense(2, dtype="mixed_float16"))
    block = model.layers[1]
    block.normalization.trainable = False
    block.dss.log_decay.trainable = False
    model.layers[3].trainable = False
    copy = clone(model, {})
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    assert [layer.dtype_policy for layer in copy.layers] == [layer.dtype_policy for layer in model.layers]
    assert [layer.trainable for layer in layers_inside(copy)] == [layer.trainable for layer in layers_inside(model)]
    assert [w.path for w in copy.trainable_weights] == [w.path for w in model.trainable_weights]
    assert 0 < len(copy.trainable_weights) < len(model.weights)


def test_a_compiled_copy_trains_what_the_model_trains():
    model = sequence(S4Block(4), L.Dense(2))
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    copy = clone(model, {})
    before = copy.get_weights()
    copy.fit(DATA, DATA[..., :2], verbose=0)
    changed = [not np.array_equal(*pair) for pair in zip(before, copy.get_weights(), strict=True)]
    assert changed == [False] * len(model.layers[0].weights) + [True, True]


def test_random_generators_go_on_where_the_models_are():
    model = sequence(L.Dropout(0.5))
    model(DATA, training=True)
    copy = clone(model, {})
    np.testing.assert_array_equal(copy(DATA, training=True), model(DATA, training=True))


def test_changes_reach_no_nested_layer_of_the_same_name():
    model = nested(True)
    copy = clone(model, {"same": {"units": 5}})
    assert copy.output_shape[-1] == 5 and copy.get_layer("inner").get_layer("same").units == 4
    inner = [model.get_layer("inner").get_layer("same") for model in (model, copy)]
    np.testing.assert_array_equal(inner[1].kernel, inner[0].kernel)


def test_shared_layers_stay_shared():
    shared, inputs = L.Dense(3), keras.Input(DATA.shape[1:])
    inner = keras.Model(inputs, shared(inputs))
    model = keras.Model(inputs, inner(shared(inputs)))
    assert len(clone(model, {}).weights) == len(model.weights) == 2


def test_subclassed_model_is_refused():
    class Own(keras.Model):
        def build(self, input_shape):
            self.dense = L.Dense(2)
            self.dense.build(input_shape)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own(name="own")
    model(DATA)
    with pytest.raises(ValueError, match=r"'own' is a Own written by subclassing.*functional API"):
        clone(model, {})


def classifier(*in_front, length=20):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((length, 3)),
            *in_front,
            DSS(6, per_channel_poles=True, name="dss"),
            L.Dense(8, activation="tanh", name="hidden"),
            L.GlobalAveragePooling1D(),
            L.Dense(3, activation="softmax"),
        ]
    )


def with_normalization_in_a_model():
    return classifier(keras.Sequential([normalization()], name="inner"))


IN_FRONT = pytest.mark.parametrize("make", [lambda: classifier(normalization()), with_normalization_in_a_model])


@IN_FRONT
def test_reduced_model_keeps_the_normalization(make, tmp_path):
    model = make()
    whole = keras_s4.reduce(model, {"dss": 6})
    np.testing.assert_allclose(outputs_of(whole), outputs_of(model), atol=1e-6)
    reduced = keras_s4.reduce(model, {"dss": 4, "hidden/kernel": 1})
    reduced.save(tmp_path / "reduced.keras")
    loaded = keras.saving.load_model(tmp_path / "reduced.keras")
    np.testing.assert_array_equal(outputs_of(loaded), outputs_of(reduced))


@IN_FRONT
def test_padded_model_keeps_the_normalization(make):
    model = make()
    parts = parts_of(model)
    padded = PaddedModel(model, parts).at({name: part.max_rank for name, part in parts.items()})
    np.testing.assert_allclose(outputs_of(padded), outputs_of(model), atol=1e-6)


@IN_FRONT
def test_statistics_are_those_of_normalized_data(make):
    model = make()
    meter, direct = Moment(), Moment()
    measure(model, {"dss": meter}, DATA)
    rows = (DATA - DATA.mean((0, 1))) / DATA.std((0, 1))
    direct.add(rows)
    np.testing.assert_allclose(meter.values["kernel"], direct.values["kernel"], rtol=1e-3, atol=1e-3)


def test_model_at_another_rate_keeps_the_normalization():
    model = keras.Sequential(
        [keras.Input((20, 3)), normalization(), DSS(6, training_length=20), L.GlobalAveragePooling1D(), L.Dense(3)]
    )
    np.testing.assert_allclose(outputs_of(at_rate(model, 1.0)), outputs_of(model), rtol=1e-5, atol=1e-5)


def test_quantisation_aware_model_keeps_the_normalization():
    model = classifier(normalization())
    aware = keras_s4.quantize_aware(model, DATA)
    np.testing.assert_allclose(outputs_of(aware), outputs_of(model), atol=0.1)
    plain = classifier(L.Normalization())
    plain.set_weights(model.get_weights())
    assert np.abs(outputs_of(plain) - outputs_of(model)).max() > 0.2  # what a lost normalisation would do
