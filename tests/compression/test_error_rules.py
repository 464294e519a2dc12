"""Bounds behind every layer that has a rule, against measured errors; what has none is named before the work."""

import keras
import numpy as np
import pytest
from conformance import shake

import keras_s4
from keras_s4.compression.parts import KINDS, parts_of
from keras_s4.layers import DSS, GLU, LastStep, RecentAverage, S4Block, SlidingAverage

LENGTH, FEATURES = 16, 4
DATA = np.random.default_rng(0).normal(1.0, 2.0, size=(12, LENGTH, FEATURES)).astype("float32")
L = keras.layers


def adapted():
    layer = L.Normalization()
    layer.adapt(DATA + 5.0)
    return layer


def nested():
    inner = keras.Input((LENGTH, FEATURES))
    deep = keras.Sequential([keras.Input((LENGTH, FEATURES)), DSS(4), L.Dense(FEATURES, "tanh")], name="deep")
    return keras.Model(inner, L.Add()([inner, deep(inner)]), name="nested")


LAYERS = {
    "adapted Normalization": adapted,
    "inverse Normalization": lambda: L.Normalization(
        mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0, 1.0, 9.0, 0.25], invert=True
    ),
    "Rescaling": lambda: L.Rescaling(-0.25, 1.0),
    "Rescaling of channels": lambda: L.Rescaling([1.0, -2.0, 3.0, 4.0], [0.5] * 4),
    "what only training feels": lambda: [
        L.Dropout(0.5),
        L.SpatialDropout1D(0.5),
        L.GaussianNoise(1.0),
        L.GaussianDropout(0.5),
        L.AlphaDropout(0.5),
        L.Identity(),
    ],
    "Masking": lambda: L.Masking(-99.0),
    "ReLU": lambda: L.ReLU(max_value=2.0, negative_slope=1.5),
    "LeakyReLU": lambda: L.LeakyReLU(0.3),
    "PReLU": lambda: L.PReLU(),
    "ELU": lambda: L.ELU(2.0),
    "Softmax": lambda: L.Softmax(),
    "Activation": lambda: L.Activation("gelu"),
    "BatchNormalization": lambda: L.BatchNormalization(),
    "LayerNormalization": lambda: L.LayerNormalization(),
    "LayerNormalization without scale": lambda: L.LayerNormalization(scale=False),
    "RMSNormalization": lambda: L.RMSNormalization(),
    "UnitNormalization": lambda: L.UnitNormalization(),
    "causal Conv1D": lambda: L.Conv1D(5, 3, padding="causal", activation="relu"),
    "strided Conv1D": lambda: L.Conv1D(5, 3, strides=2, padding="same", use_bias=False),
    "MaxPooling1D": lambda: L.MaxPooling1D(3, strides=2),
    "AveragePooling1D": lambda: L.AveragePooling1D(2, padding="same"),
    "Cropping1D": lambda: L.Cropping1D((2, 1)),
    "ZeroPadding1D": lambda: L.ZeroPadding1D((2, 1)),
    "Reshape": lambda: L.Reshape((LENGTH, FEATURES)),
    "Permute": lambda: L.Permute((1, 2)),
    "TimeDistributed(Dense)": lambda: L.TimeDistributed(L.Dense(6, "tanh")),
    "nested model": nested,
    "GLU": lambda: GLU(),
    "S4Block": lambda: S4Block(4),
    "RecentAverage": lambda: RecentAverage([0.5, 2.0, 9.0, 30.0], 1.0, per_channel=True, return_sequences=True),
    "SlidingAverage": lambda: SlidingAverage(12, 4, return_sequences=True),
}


def check(model, data=DATA):
    """Every part at a low rank; the bound holds in both forms, and is not without any use."""
    parts = parts_of(model, KINDS)
    reduced = keras_s4.reduce(model, {name: part.choices[len(part.choices) // 2 - 1] for name, part in parts.items()})
    for local in ("gain", "data"):
        found = keras_s4.error_bound(model, reduced, data, local)
        assert found.measured.max() > 1e-4, "the reduction must be felt"
        assert np.all(found.measured <= found.bound * (1 + 1e-5) + 1e-5), local
        assert np.all(np.isfinite(found.bound))
    assert set(found.layers) <= {name.removesuffix("/kernel") for name in parts}
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_one_input(name):
    keras.utils.set_random_seed(1)
    tested = LAYERS[name]()
    tested = tested if isinstance(tested, list) else [tested]
    layers = [DSS(6), *tested, L.Dense(5), L.GlobalAveragePooling1D(), L.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), *layers])
    check(model if "Normalization" in name and "Batch" not in name else shake(model))


@pytest.mark.parametrize(
    "pooling", [lambda: RecentAverage(5.0), lambda: SlidingAverage(8, 4), lambda: SlidingAverage(24, 4)]
)
def test_poolings_of_streams(pooling):
    keras.utils.set_random_seed(1)
    layers = [DSS(6), L.Dense(5), pooling(), L.Dense(3, "softmax")]
    check(shake(keras.Sequential([keras.Input((LENGTH, FEATURES)), *layers])))


@pytest.mark.parametrize(
    "layer",
    [L.Add, L.Average, L.Subtract, L.Multiply, L.Maximum, L.Minimum, L.Concatenate],
    ids=lambda kind: kind.__name__,
)
def test_layers_of_two_inputs(layer):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((LENGTH, FEATURES))
    joined = layer()([DSS(6)(inputs), L.Dense(FEATURES)(DSS(5)(inputs))])
    check(shake(keras.Model(inputs, L.Dense(2)(LastStep()(joined)))))


@pytest.mark.parametrize("end", [L.Flatten, L.GlobalMaxPooling1D, LastStep])
def test_ends(end):
    keras.utils.set_random_seed(1)
    check(shake(keras.Sequential([keras.Input((LENGTH, FEATURES)), DSS(6), end(), L.Dense(6), L.ReLU(), L.Dense(5)])))


def test_tokens():
    keras.utils.set_random_seed(1)
    layers = [L.Embedding(9, 4), DSS(6), L.GlobalAveragePooling1D(), L.Dense(5)]
    model = shake(keras.Sequential([keras.Input((LENGTH,), dtype="int32"), *layers]))
    check(model, np.random.default_rng(0).integers(0, 9, (12, LENGTH)))


def test_parts_inside_are_named_by_their_paths():
    keras.utils.set_random_seed(1)
    model = shake(keras.Sequential([keras.Input((LENGTH, FEATURES)), nested(), LastStep(), L.Dense(2)]))
    found = keras_s4.error_bound(model, keras_s4.reduce(model, 1), DATA)
    assert [name.rpartition("/")[0] for name in found.layers] == ["nested/deep"]


def refuse_to_run(*arguments, **options):
    raise AssertionError("work before the check")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [L.GRU(4, return_sequences=True, name="gru"), L.LSTM(3, name="lstm")],
            "no rule for GRU 'gru', LSTM 'lstm'; it knows",
        ),
        ([L.Activation("exponential", name="steep")], "how steep the activation 'exponential' of layer 'steep' is"),
        ([L.Dense(3, "selu", name="steep")], "how steep the activation 'selu' of layer 'steep' is"),
        (
            [keras.Sequential([keras.Input((LENGTH, FEATURES)), L.GRU(4, name="gru")], name="inner")],
            "no rule for GRU 'inner/gru'",
        ),
    ],
)
def test_what_has_no_rule_is_named_before_the_work(layers, message, monkeypatch):
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), DSS(4), *layers])
    monkeypatch.setattr(DSS, "system", refuse_to_run)
    with pytest.raises(ValueError, match=message):
        keras_s4.error_bound(model, model, DATA)


def test_integers_of_keras_are_refused():
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), S4Block(4), L.Dense(3)])
    model.layers[0].value.quantize("int8")
    with pytest.raises(ValueError, match=r"Dense 'value' .* Keras has quantised its weights \(int8\)"):
        keras_s4.error_bound(model, model, DATA)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (L.ReLU(threshold=0.5), "it jumps at its threshold"),
        (L.Masking(0.0), "padded steps"),
        (L.Reshape((LENGTH // 2, 2 * FEATURES)), "between time and channels"),
        (L.Permute((2, 1)), "between time and channels"),
        (L.LayerNormalization(axis=[1, 2]), "does not work along the features"),
        (L.Conv1D(4, 3, groups=2), "in groups"),
    ],
)
def test_configurations_without_a_bound_are_refused(layer, message):
    data = DATA.copy()
    data[:, -3:] = 0.0
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), layer, L.Dense(4), L.GlobalMaxPooling1D()])
    with pytest.raises(ValueError, match=f"error_bound cannot bound what .* does: .*{message}"):
        keras_s4.error_bound(model, model, data)
