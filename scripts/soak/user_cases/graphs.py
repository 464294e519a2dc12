"""B1, B2, B4, B7, B8: models as users write them."""

from __future__ import annotations

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS, LastStep, S4Block
from user_cases.case import Wrong, case, expect_equal, expect_near, expect_refusal

LENGTH = 32
RANDOM = np.random.default_rng(0)
DATA = RANDOM.normal(size=(24, LENGTH, 3)).astype("float32")
LABELS = np.arange(24) % 4


class Subclassed(keras.Model):
    """As Keras' guide writes it."""

    def __init__(self, first: keras.layers.Layer):
        super().__init__()
        self.encoder = keras.layers.Dense(8)
        self.first = first
        self.pool = keras.layers.GlobalAveragePooling1D()
        self.head = keras.layers.Dense(4, activation="softmax")

    def call(self, inputs, training=None):
        """Logits."""
        return self.head(self.pool(self.first(self.encoder(inputs), training=training)))


class Residual(keras.layers.Layer):
    """A user's layer around one of ours, built when it is called."""

    def __init__(self, inner: keras.layers.Layer):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        """Adds."""
        return inputs + self.inner(inputs)


OURS = {
    "DSS": lambda: DSS(6),
    "DSS, softmax kernel": lambda: DSS(6, kernel="softmax"),
    "DSS, random poles": lambda: DSS(6, pole_initializer="random", per_channel_poles=True),
    "bidirectional DSS": lambda: DSS(6, bidirectional=True),
    "S4Block": lambda: S4Block(6),
    "a layer around S4Block": lambda: Residual(S4Block(6)),
    "LowRankDense": lambda: keras_s4.layers.LowRankDense(8, 2),
    "LowRankGRU": lambda: keras_s4.layers.LowRankGRU(8, 2, 2, return_sequences=True),
}
WAYS = {"eager": {"run_eagerly": True}, "graph": {"jit_compile": False}, "XLA": {"jit_compile": True}}
for title, layer in OURS.items():
    for way, options in WAYS.items():

        @case("B1", f"{title} in a subclassed model, {way}")
        def subclassed(layer=layer, options=options):
            """Trains, and eager equals compiled."""
            keras.utils.set_random_seed(6)
            model = Subclassed(layer())
            model.compile("adam", "sparse_categorical_crossentropy", **options)
            losses = model.fit(DATA, LABELS, epochs=3, verbose=0, batch_size=24).history["loss"]
            if not losses[-1] < losses[0]:
                raise Wrong(f"losses {losses}")
            expect_equal(model(DATA), model.predict(DATA, verbose=0), 1e-4)


@case("B1", "poles and decays of a lazily built layer come from one draw")
def one_draw() -> None:
    """Random poles: each weight of the same numbers."""
    keras.utils.set_random_seed(6)
    seen = []

    class Recording(keras.initializers.Initializer):
        """Counts its draws."""

        def __call__(self, shape, dtype=None):
            """Other numbers each time."""
            seen.append(len(seen) + 1)
            pairs = np.stack([np.full(shape[:-1], -float(len(seen))), np.full(shape[:-1], float(len(seen)))], axis=-1)
            return keras.ops.convert_to_tensor(pairs, dtype=dtype or "float32")

        def get_config(self):
            """None."""
            return {}

    layer = DSS(4, pole_initializer=Recording())
    model = Subclassed(layer)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=True)
    model.predict(DATA, verbose=0)
    decay, frequency = np.exp(np.asarray(layer.log_decay)), np.asarray(layer.frequency)
    expect_equal(decay, frequency, 1e-4)


@case("B2", "three unnamed inputs, a list")
def unnamed() -> None:
    """Convert, quantize_aware, measure."""
    keras.utils.set_random_seed(6)
    inputs = [keras.Input((LENGTH, 1)) for _ in range(3)]
    hidden = keras.layers.Dense(8)(keras.layers.Concatenate()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GRU(6)(hidden)))
    arrays = [DATA[..., i : i + 1] for i in range(3)]
    firmware = keras_s4.tflite.convert(model, arrays)
    wanted = model.predict(arrays, verbose=0)
    expect_near(wanted, firmware.predict(arrays), 20.0)
    aware = keras_s4.quantize_aware(model, arrays)
    expect_near(aware.predict(arrays, verbose=0), keras_s4.tflite.convert(aware, arrays).predict(arrays), 15.0)
    keras_s4.tflite.measure(model, arrays)


@case("B2", "inputs whose order is not that of their use")
def other_order() -> None:
    """The second is read first."""
    keras.utils.set_random_seed(6)
    a, b = keras.Input((LENGTH, 1)), keras.Input((LENGTH, 2))
    hidden = keras.layers.Concatenate()([keras.layers.Dense(4)(b), keras.layers.Dense(2)(a)])
    model = keras.Model([a, b], keras.layers.GRU(6)(hidden))
    arrays = [DATA[..., :1], DATA[..., 1:]]
    firmware = keras_s4.tflite.convert(model, arrays)
    expect_near(model.predict(arrays, verbose=0), firmware.predict(arrays), 20.0)


@case("B2", "an input that no layer reads", may_refuse=True)
def unread() -> None:
    """Left out or refused."""
    keras.utils.set_random_seed(6)
    a, b = keras.Input((LENGTH, 3), name="a"), keras.Input((LENGTH, 2), name="b")
    model = keras.Model([a, b], keras.layers.GRU(6)(a))
    arrays = [DATA, DATA[..., :2]]
    expect_near(model.predict(arrays, verbose=0), keras_s4.tflite.convert(model, arrays).predict(arrays), 20.0)


@case("B2", "an input that is an output as well", may_refuse=True)
def passed_on() -> None:
    """The samples come out again."""
    keras.utils.set_random_seed(6)
    a = keras.Input((LENGTH, 3))
    model = keras.Model(a, [keras.layers.GRU(6, return_sequences=True)(a), a])
    wanted, received = model.predict(DATA, verbose=0), keras_s4.tflite.convert(model, DATA).predict(DATA)
    expect_near(wanted[0], received[0], 20.0)
    expect_near(wanted[1], received[1], 20.0)


@case("B2", "tokens that an Embedding in a nested model reads")
def nested_tokens() -> None:
    """Whole numbers on the device too."""
    keras.utils.set_random_seed(6)
    inner = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), keras.layers.Embedding(10, 6)], name="inner")
    inputs = keras.Input((LENGTH,), dtype="int32")
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GRU(6)(inner(inputs))))
    tokens = RANDOM.integers(0, 10, (24, LENGTH))
    expect_near(model.predict(tokens, verbose=0), keras_s4.tflite.convert(model, tokens).predict(tokens), 20.0)


def with_state(kind: str) -> keras.Model:
    """Models that use states of recurrent layers."""
    keras.utils.set_random_seed(6)
    inputs = keras.Input((LENGTH, 3))
    if kind == "state as an output":
        outputs, state = keras.layers.GRU(6, return_sequences=True, return_state=True)(inputs)
        return keras.Model(inputs, [keras.layers.Dense(3)(outputs), state])
    if kind == "state of a DSS layer as an output":
        outputs, state = DSS(4, return_state=True)(inputs)
        return keras.Model(inputs, [LastStep()(outputs), state])
    if kind == "state into a Dense layer":
        _, h, c = keras.layers.LSTM(6, return_state=True)(inputs)
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()([h, c])))
    if kind == "state that nobody reads":
        outputs, _ = keras.layers.GRU(6, return_state=True)(inputs)
        return keras.Model(inputs, keras.layers.Dense(3)(outputs))
    _, state = keras.layers.GRU(6, return_state=True)(inputs)
    decoded = keras.layers.GRU(6)(inputs, initial_state=state)
    return keras.Model(inputs, keras.layers.Dense(3)(decoded))


KINDS = ("state as an output", "state of a DSS layer as an output", "state into a Dense layer",
         "state that nobody reads", "encoder and decoder")  # fmt: skip
for kind in KINDS:

    @case("B4", f"return_state: {kind}", may_refuse=True)
    def stateful(kind=kind):
        """Right, or refused by name."""
        model = with_state(kind)
        wanted = keras.tree.flatten(model.predict(DATA, verbose=0))
        received = keras.tree.flatten(keras_s4.tflite.convert(model, DATA).predict(DATA))
        for a, b in zip(wanted, received, strict=True):
            expect_near(a, b, 20.0)

    @case("B4", f"reduce a model with return_state: {kind}", may_refuse=True)
    def reduced(kind=kind):
        """The copy computes the same."""
        model = with_state(kind)
        wanted = keras.tree.flatten(model.predict(DATA, verbose=0))
        received = keras.tree.flatten(keras_s4.reduce(model, {}).predict(DATA, verbose=0))
        for a, b in zip(wanted, received, strict=True):
            expect_equal(a, b)


@case("B4", "initial states as inputs of the model", may_refuse=True)
def explicit_states() -> None:
    """A stream by hand."""
    keras.utils.set_random_seed(6)
    inputs, state = keras.Input((LENGTH, 3)), keras.Input((6,))
    outputs, after = keras.layers.GRU(6, return_sequences=True, return_state=True)(inputs, initial_state=state)
    model = keras.Model([inputs, state], [outputs, after])
    keras_s4.tflite.convert(model, [DATA, np.zeros((24, 6), "float32")])


@case("B4", "a subclassed model is refused with what to do")
def unreadable() -> None:
    """Its graph cannot be read."""
    model = Subclassed(DSS(4))
    model(DATA)
    expect_refusal(lambda: keras_s4.tflite.convert(model, DATA), "functional")
    expect_refusal(lambda: keras_s4.spectrum(model), "")


for length in (30, 31, 33):

    @case("B7", f"strides 2 x 2 and a window of {length}, averaged", may_refuse=True)
    def strided(length=length):
        """Right, or refused with a remedy that works."""
        keras.utils.set_random_seed(6)
        model = keras.Sequential(
            [
                keras.Input((length, 3)),
                keras.layers.Conv1D(8, 3, strides=2, padding="causal"),
                keras.layers.Conv1D(8, 3, strides=2, padding="causal"),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(3),
            ]
        )
        x = RANDOM.normal(size=(24, length, 3)).astype("float32")
        expect_near(model.predict(x, verbose=0), keras_s4.tflite.convert(model, x).predict(x), 20.0)


RULES = {
    "Normalization": lambda: keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]),
    "Rescaling": lambda: keras.layers.Rescaling(0.25, 1.0),
    "Dropout": lambda: keras.layers.Dropout(0.1),
    "Masking": lambda: keras.layers.Masking(-9.0),
    "BatchNormalization": lambda: keras.layers.BatchNormalization(),
    "LeakyReLU": lambda: keras.layers.LeakyReLU(),
    "a nested model": lambda: keras.Sequential([keras.Input((LENGTH, 3)), keras.layers.Dense(3)]),
    "LayerNormalization": lambda: keras.layers.LayerNormalization(),
    "GRU": lambda: keras.layers.GRU(3, return_sequences=True),
}
for title, layer in RULES.items():

    @case("B8", f"error_bound with {title}", may_refuse=True)
    def bounded(layer=layer):
        """The bound holds, or is refused by name."""
        keras.utils.set_random_seed(6)
        parts = [layer(), keras.layers.Dense(6), DSS(6), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)]
        model = keras.Sequential([keras.Input((LENGTH, 3)), *parts])
        ranks = {name: 4 for name in keras_s4.compression.parts_of(model, "states")}
        small = keras_s4.reduce(model, ranks)
        bound = keras_s4.error_bound(model, small, DATA)
        error = np.abs(model.predict(DATA, verbose=0) - small.predict(DATA, verbose=0))
        if np.any(error > bound.bound * (1 + 1e-4) + 1e-6):
            raise Wrong(f"errors up to {error.max():.3g} above bounds up to {bound.bound.max():.3g}")
