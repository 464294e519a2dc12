"""Further cases of all kinds, written when the others had been mended."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS, LastStep, S4Block
from user_cases.case import Wrong, case, expect_equal, expect_near, expect_refusal

LENGTH = 32
RANDOM = np.random.default_rng(11)
DATA = RANDOM.normal(size=(32, LENGTH, 3)).astype("float32")
LABELS = np.arange(32) % 3


def chain(*layers: keras.layers.Layer, shape: tuple = (LENGTH, 3)) -> keras.Model:
    """A sequential model."""
    keras.utils.set_random_seed(8)
    return keras.Sequential([keras.Input(shape), *layers])


def predicted(model: keras.Model, x: np.ndarray = DATA) -> np.ndarray:
    """Keras' outputs."""
    return model.predict(x, verbose=0)


def near_on_device(model: keras.Model, x: np.ndarray = DATA, least: float = 20.0) -> None:
    """The device against Keras."""
    expect_near(predicted(model, x), keras_s4.tflite.convert(model, x).predict(x), least)


@case("A1", "a Dense layer with LoRA, reduced and converted", may_refuse=True)
def lora() -> None:
    """Its kernel is a sum."""
    model = chain(keras.layers.Dense(12, name="lifted"), DSS(6), LastStep(), keras.layers.Dense(3))
    model.get_layer("lifted").enable_lora(2)
    for weight in model.get_layer("lifted").trainable_weights:
        weight.assign(RANDOM.normal(size=weight.shape) * 0.3)
    expect_equal(predicted(model), predicted(keras_s4.reduce(model, {})))
    near_on_device(model)
    expect_near(predicted(model), predicted(keras_s4.quantize_aware(model, DATA)), 15.0)


@case("A1", "a model that Keras has quantised, reduced", may_refuse=True)
def quantized_by_keras() -> None:
    """int8 kernels and their scales."""
    model = chain(keras.layers.Dense(12), DSS(6), LastStep(), keras.layers.Dense(3))
    model.quantize("int8")
    expect_near(predicted(model), predicted(keras_s4.reduce(model, {})), 30.0)


@case("A1", "a model that Keras has quantised, converted", may_refuse=True)
def quantized_by_keras_converted() -> None:
    """Right or refused."""
    model = chain(keras.layers.Dense(12), DSS(6), LastStep(), keras.layers.Dense(3))
    model.quantize("int8")
    near_on_device(model, least=15.0)


@case("A1", "SpectralNormalization around a Dense layer, reduced", may_refuse=True)
def spectral() -> None:
    """A wrapper with weights of its own."""
    model = chain(keras.layers.SpectralNormalization(keras.layers.Dense(8)), DSS(6), LastStep())
    model.compile("adam", "mse")
    model.fit(DATA, np.zeros((32, 8)), verbose=0)
    expect_equal(predicted(model), predicted(keras_s4.reduce(model, {})))


@case("A1", "IntegerLookup in front of an Embedding, reduced", may_refuse=True)
def lookup() -> None:
    """Its vocabulary is no weight."""
    keras.utils.set_random_seed(8)
    tokens = RANDOM.integers(100, 108, (32, LENGTH))
    layer = keras.layers.IntegerLookup()
    layer.adapt(tokens)
    inputs = keras.Input((LENGTH,), dtype="int64")
    hidden = DSS(6)(keras.layers.Embedding(10, 6)(layer(inputs)))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(hidden))
    expect_equal(predicted(model, tokens), predicted(keras_s4.reduce(model, {}), tokens))


@case("A1", "a copy keeps dtype policies and regularisers")
def policies() -> None:
    """Mixed precision."""
    dense = keras.layers.Dense(8, dtype="mixed_float16", kernel_regularizer="l2", name="dense")
    model = chain(dense, DSS(6), LastStep(), keras.layers.Dense(3))
    copied = keras_s4.reduce(model, {}).get_layer("dense")
    if copied.dtype_policy.name != "mixed_float16" or copied.kernel_regularizer is None:
        raise Wrong(f"{copied.dtype_policy.name}, {copied.kernel_regularizer}")


@case("A2", "padding at both ends", may_refuse=True)
def both_ends() -> None:
    """A GRU skips both."""
    x = DATA.copy()
    x[:, :4], x[:, 25:] = -9.0, -9.0
    near_on_device(chain(keras.layers.Masking(-9.0), keras.layers.GRU(8), keras.layers.Dense(3)), x)


@case("A2", "Normalization in front of Masking", may_refuse=True)
def normalised_padding() -> None:
    """The mask is of normalised values."""
    x = DATA * 5 + 3
    x[:, 20:] = 3.0
    front = keras.layers.Normalization(mean=[3.0] * 3, variance=[25.0] * 3)
    near_on_device(chain(front, keras.layers.Masking(0.0), keras.layers.GRU(8), keras.layers.Dense(3)), x)


@case("A2", "two masked GRUs in a row")
def stacked() -> None:
    """The mask goes on."""
    x = DATA.copy()
    for row, count in zip(x, RANDOM.integers(8, LENGTH + 1, 32), strict=True):
        row[count:] = -9.0
    layers = [keras.layers.GRU(8, return_sequences=True), keras.layers.Dropout(0.2), keras.layers.LSTM(6)]
    near_on_device(chain(keras.layers.Masking(-9.0), *layers, keras.layers.Dense(3)), x)


@case("A2", "two inputs, one of them padded and masked", may_refuse=True)
def one_padded() -> None:
    """Lengths differ."""
    keras.utils.set_random_seed(8)
    a, b = keras.Input((LENGTH, 2)), keras.Input((LENGTH, 1))
    joined = keras.layers.Concatenate()([keras.layers.Masking(-9.0)(a), b])
    model = keras.Model([a, b], keras.layers.Dense(3)(keras.layers.GRU(6)(joined)))
    x = [DATA[..., :2].copy(), DATA[..., 2:]]
    x[0][:, 20:] = -9.0
    expect_near(predicted(model, x), keras_s4.tflite.convert(model, x).predict(x), 20.0)


@case("A2", "masked LayerNormalization and residuals, averaged")
def residual() -> None:
    """As users write transformers' bodies."""
    keras.utils.set_random_seed(8)
    inputs = keras.Input((LENGTH, 3))
    hidden = keras.layers.Dense(8)(keras.layers.Masking(-9.0)(inputs))
    hidden = keras.layers.Add()([hidden, DSS(4)(keras.layers.LayerNormalization()(hidden))])
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))
    x = DATA.copy()
    for row, count in zip(x, RANDOM.integers(8, LENGTH + 1, 32), strict=True):
        row[count:] = -9.0
    near_on_device(model, x)


for axis in (None, (1, 2)):

    @case("A3", f"Normalization(axis={axis})", may_refuse=axis is not None)
    def other_axis(axis=axis):
        """One mean for all, or one for each step."""
        layer = keras.layers.Normalization(axis=axis)
        x = DATA * 40 + 1000
        layer.adapt(x)
        near_on_device(chain(layer, keras.layers.GRU(8), keras.layers.Dense(3)), x)


@case("A3", "raw 16-bit counts of a sensor")
def counts() -> None:
    """0 to 65,535, rescaled inside of the model."""
    x = np.clip(32768 + 9000 * DATA, 0, 65535).astype("uint16")
    layer = keras.layers.Rescaling(1 / 32768, -1.0)
    near_on_device(chain(layer, keras.layers.Dense(8, activation="relu"), DSS(6), LastStep()), x)


@case("A3", "BatchNormalization behind a convolution of raw units")
def convolved_units() -> None:
    """Trained on them."""
    x = DATA * np.array([1000.0, 1.0, 0.01], "float32") + np.array([5000.0, 0.0, 0.3], "float32")
    model = chain(
        keras.layers.BatchNormalization(momentum=0.1),
        keras.layers.Conv1D(8, 3, padding="causal"),
        keras.layers.BatchNormalization(momentum=0.1),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(3, activation="softmax"),
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, LABELS, epochs=15, verbose=0)
    near_on_device(model, x, 15.0)


@case("A3", "the saved firmware's sensor_scale folds the Normalization", may_refuse=True)
def folded() -> None:
    """What `quantize` gives follows the units."""
    layer = keras.layers.Normalization(mean=[1e5, 0.4, 20.0], variance=[1e4, 0.01, 4.0])
    x = (DATA * [100.0, 0.1, 2.0] + [1e5, 0.4, 20.0]).astype("float32")
    firmware = keras_s4.tflite.convert(chain(layer, keras.layers.GRU(8)), x)
    levels = [len(np.unique(firmware.quantize(x)[..., i])) for i in range(3)]
    if min(levels) < 500:
        raise Wrong(f"levels {levels}")


@case("A4", "labels as lists, booleans and pandas-like columns")
def label_types() -> None:
    """What Keras takes."""
    model = chain(DSS(6), LastStep(), keras.layers.Dense(1, activation="sigmoid"))
    firmware = keras_s4.tflite.convert(model, DATA)
    wanted = predicted(model)[:, 0] > 0.5
    for labels in (wanted.tolist(), wanted, wanted.astype("int8")[:, None]):
        found = firmware.verify(model, DATA, labels)
        if min(found.accuracy.values()) < 0.85:
            raise Wrong(f"{type(labels).__name__}: {found.accuracy}")


@case("A4", "logits of a model compiled with from_logits=True")
def logits() -> None:
    """Yes above 0, not above 0.5."""
    model = chain(DSS(6), LastStep(), keras.layers.Dense(1))
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    labels = (predicted(model)[:, 0] > 0).astype(int)
    found = keras_s4.tflite.convert(model, DATA).verify(model, DATA, labels)
    if not found.accuracy or min(found.accuracy.values()) < 0.85:
        raise Wrong(f"{found.accuracy}")


@case("A4", "a firmware of another model is seen by verify")
def other_model() -> None:
    """A regression whose weights have changed since."""
    model = chain(DSS(6), LastStep(), keras.layers.Dense(2))
    firmware = keras_s4.tflite.convert(model, DATA)
    model.layers[-1].set_weights([w + RANDOM.normal(size=w.shape) for w in model.layers[-1].get_weights()])
    text = str(firmware.verify(model, DATA, predicted(model)))
    numbers = [word for word in text.replace("dB", " dB").split() if word.replace(".", "").replace("-", "").isdigit()]
    if "100.00%" in text or not any(float(number) < 15 for number in numbers):
        raise Wrong(text[:300])


PARTS = {
    "Bidirectional(RNN(GRUCell))": lambda: keras.layers.Bidirectional(
        keras.layers.RNN(keras.layers.GRUCell(16)), name="hidden"
    ),
    "TimeDistributed(a model)": lambda: keras.layers.TimeDistributed(
        keras.Sequential([keras.Input((16,)), keras.layers.Dense(24), keras.layers.Dense(16)]), name="hidden"
    ),
    "EinsumDense": lambda: keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 24), name="hidden"),
    "MultiHeadAttention": lambda: SelfAttention(name="hidden"),
    "a user's layer with a Dense inside": lambda: Wrapper(name="hidden"),
}


class Wrapper(keras.layers.Layer):
    """A user's layer."""

    def build(self, shape):
        """Makes the inner layer."""
        self.inner = keras.layers.Dense(24)
        self.inner.build(shape)

    def call(self, x):
        """Applies it."""
        return self.inner(x)


class SelfAttention(keras.layers.Layer):
    """Attention of a sequence to itself."""

    def build(self, shape):
        """Makes the inner layer."""
        self.attention = keras.layers.MultiHeadAttention(2, 8)
        self.attention.build(shape, shape)

    def call(self, x):
        """Applies it."""
        return self.attention(x, x)


for title, layer in PARTS.items():

    @case("A5", f"{title} is in the spectrum, or named as staying")
    def listed(layer=layer):
        """By its name."""
        model = chain(keras.layers.Dense(16), layer(), keras.layers.Dense(4))
        text = str(keras_s4.spectrum(model, ("states", "matrix")))
        if "hidden" not in text:
            raise Wrong("the layer is not named")


@case("A8", "arrays in other orders of memory, and read-only ones")
def memory() -> None:
    """The numbers count."""
    model = chain(DSS(6), LastStep(), keras.layers.Dense(2))
    firmware = keras_s4.tflite.convert(model, DATA)
    backwards = np.asfortranarray(DATA)[:, ::-1][:, ::-1]
    backwards.flags.writeable = False
    for engine in ("tflm", "c"):
        expect_equal(firmware.predict(DATA, engine=engine), firmware.predict(backwards, engine=engine), 0.0)


@case("A8", "infinite samples are refused")
def infinite() -> None:
    """Not clipped in silence."""
    model = chain(DSS(6), LastStep(), keras.layers.Dense(2))
    firmware = keras_s4.tflite.convert(model, DATA)
    x = DATA.copy()
    x[0, 0, 0] = np.inf
    expect_refusal(lambda: firmware.predict(x), "inf")


@case("A9", "forecasts from every step")
def every_step() -> None:
    """`[B, L, horizon, features]`."""
    keras.utils.set_random_seed(8)
    near_on_device(keras_s4.models.forecaster((LENGTH, 3), 4, channels=8, states=4, every_step=True), least=15.0)


@case("A9", "a list of outputs, a sequence and a class")
def mixed_outputs() -> None:
    """As Keras gives them."""
    keras.utils.set_random_seed(8)
    inputs = keras.Input((LENGTH, 3))
    hidden = DSS(6)(keras.layers.Dense(8)(inputs))
    heads = [keras.layers.Dense(2)(hidden), keras.layers.Dense(3, activation="softmax")(LastStep()(hidden))]
    model = keras.Model(inputs, heads)
    for wanted, received in zip(predicted(model), keras_s4.tflite.convert(model, DATA).predict(DATA), strict=True):
        expect_near(wanted, received, 15.0)


@keras.saving.register_keras_serializable(package="user_cases")
class Saved(keras.Model):
    """A subclassed model with a configuration."""

    def __init__(self, channels: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.encoder, self.block = keras.layers.Dense(channels), S4Block(6)
        self.head = keras.layers.Dense(3, activation="softmax")

    def call(self, x, training=None):
        """Classes."""
        return self.head(keras.ops.mean(self.block(self.encoder(x), training=training), axis=1))

    def get_config(self):
        """Its argument."""
        return {**super().get_config(), "channels": self.channels}


@case("B1", "a subclassed model is saved, loaded and copied")
def save_subclassed() -> None:
    """All weights return."""
    keras.utils.set_random_seed(8)
    model = Saved()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(DATA, LABELS, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "m.keras")
        expect_equal(predicted(model), predicted(keras.saving.load_model(Path(folder) / "m.keras")))
    expect_equal(predicted(model), predicted(copy.deepcopy(model)))


@case("B1", "a loop of one's own under tf.function")
def own_loop() -> None:
    """GradientTape."""
    import tensorflow

    keras.utils.set_random_seed(8)
    model, optimizer = Saved(), keras.optimizers.Adam(1e-2)

    @tensorflow.function
    def step(x, y):
        with tensorflow.GradientTape() as tape:
            loss = tensorflow.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    losses = []
    model(DATA)
    optimizer.build(model.trainable_variables)
    for _ in range(10):
        losses.append(float(step(DATA, LABELS)))
    if not losses[-1] < losses[0]:
        raise Wrong(f"losses {losses}")


@case("B1", "Sequential without an Input, fitted; mixed precision")
def deferred() -> None:
    """Built by its first batch."""
    keras.utils.set_random_seed(8)
    layers = [keras.layers.Dense(8), S4Block(6), LastStep(), keras.layers.Dense(3, activation="softmax")]
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            model = keras.Sequential(
                [type(layer).from_config(layer.get_config() | {"dtype": policy}) for layer in layers]
            )
            model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
            losses = model.fit(DATA, LABELS, epochs=4, verbose=0).history["loss"]
        finally:
            keras.config.set_dtype_policy("float32")
        if not losses[-1] < losses[0]:
            raise Wrong(f"{policy}: losses {losses}")


@case("B2", "inputs in a dict, not named as its keys")
def dict_inputs() -> None:
    """Keras knows them by the keys."""
    keras.utils.set_random_seed(8)
    inputs = {"left": keras.Input((LENGTH, 1)), "right": keras.Input((LENGTH, 2))}
    hidden = keras.layers.Concatenate()([inputs["right"], inputs["left"]])
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GRU(6)(hidden)))
    x = {"left": DATA[..., :1], "right": DATA[..., 1:]}
    expect_near(predicted(model, x), keras_s4.tflite.convert(model, x).predict(x), 20.0)


@case("B2", "an input read by three layers")
def shared_input() -> None:
    """One input on the device."""
    keras.utils.set_random_seed(8)
    inputs = keras.Input((LENGTH, 3))
    branches = [keras.layers.Dense(4)(inputs), keras.layers.GRU(4, return_sequences=True)(inputs), inputs]
    model = keras.Model(inputs, keras.layers.Dense(2)(LastStep()(keras.layers.Concatenate()(branches))))
    near_on_device(model)


IDIOMS = {
    "hidden[:, -1]": lambda x: x[:, -1],
    "ops.mean over time": lambda x: keras.ops.mean(x, axis=1),
    "hidden + hidden": lambda x: keras.layers.GRU(4)(x + x),
    "ops.split": lambda x: keras.layers.GRU(4)(keras.ops.split(x, 2, axis=-1)[0]),
    "Lambda": lambda x: keras.layers.Lambda(lambda t: t[:, -1])(x),
    "Flatten": lambda x: keras.layers.Flatten()(x),
}
for title, idiom in IDIOMS.items():

    @case("B4", f"{title} in a functional model", may_refuse=True)
    def between(idiom=idiom):
        """Right, or refused with what to use."""
        keras.utils.set_random_seed(8)
        inputs = keras.Input((LENGTH, 3))
        hidden = idiom(DSS(4)(keras.layers.Dense(8)(inputs)))
        near_on_device(keras.Model(inputs, keras.layers.Dense(2)(hidden)))

    @case("B4", f"{title} in a functional model, reduced", may_refuse=True)
    def between_reduced(idiom=idiom):
        """The copy computes the same."""
        keras.utils.set_random_seed(8)
        inputs = keras.Input((LENGTH, 3))
        hidden = idiom(DSS(4)(keras.layers.Dense(8)(inputs)))
        model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
        expect_equal(predicted(model), predicted(keras_s4.reduce(model, {})))


@case("B5", "calibration that is tiny, or huge", may_refuse=True)
def extremes() -> None:
    """1e-20 and 1e12."""
    model = chain(DSS(6), LastStep(), keras.layers.Dense(2))
    near_on_device(model, (DATA * 1e12).astype("float32"))
    near_on_device(model, (DATA * 1e-20).astype("float32"))


@case("B9", "keras-s4's step mode on data of another type")
def streamed_types() -> None:
    """float64 and integers into a float32 stream."""
    model = chain(keras.layers.Dense(4), DSS(4))
    stream = keras_s4.streaming.StreamingModel(model)
    whole = np.rint(DATA * 10)
    for x in (whole, whole.astype("int32"), whole.astype("float64")):
        expect_near(predicted(model, whole), stream.predict(x, verbose=0), 80.0)
