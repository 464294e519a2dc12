"""A2 and B3: padded sequences, at their ends and in front, on the device and streamed."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS, LastStep, S4Block
from user_cases.case import Wrong, case, expect_near, expect_refusal

LENGTH, FEATURES, PADDING = 48, 3, -100.0
Maker = Callable[[keras.KerasTensor], keras.KerasTensor]


def padded(front: bool = False, value: float = PADDING, seed: int = 0) -> np.ndarray:
    """`[40, 48, 3]`: signals of 12 to 48 steps, and padding that is far from them."""
    random = np.random.default_rng(seed)
    x = np.full((40, LENGTH, FEATURES), value, "float32")
    for row in x:
        count = random.integers(12, LENGTH + 1)
        signal = np.cumsum(random.normal(size=(count, FEATURES)), axis=0) / 3 + random.normal(size=FEATURES)
        signal = np.where(np.all(signal == value, axis=1, keepdims=True), 1e-3, signal)
        if front:
            row[-count:] = signal
        else:
            row[:count] = signal
    return x


def tokens(front: bool = False, seed: int = 0) -> np.ndarray:
    """`[40, 48]`: 12 to 48 tokens of 1 .. 9, and zeros."""
    random = np.random.default_rng(seed)
    x = np.zeros((40, LENGTH), "int32")
    for row in x:
        count = random.integers(12, LENGTH + 1)
        row[slice(-count, None) if front else slice(count)] = random.integers(1, 10, count)
    return x


def masked_model(body: Maker, value: float = PADDING) -> keras.Model:
    """A classifier of padded samples."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((LENGTH, FEATURES))
    hidden = body(keras.layers.Masking(value)(inputs))
    return keras.Model(inputs, keras.layers.Dense(5)(hidden))


def token_model(body: Maker) -> keras.Model:
    """A classifier of padded tokens."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = body(keras.layers.Embedding(10, 12, mask_zero=True)(inputs))
    return keras.Model(inputs, keras.layers.Dense(5)(hidden))


def gru(x):
    """Its last state."""
    return keras.layers.GRU(10)(x)


def dss_last(x):
    """A DSS layer's last real step."""
    return LastStep()(DSS(6)(keras.layers.Dense(8)(x)))


def dss_average(x):
    """An average over the real steps."""
    return keras.layers.GlobalAveragePooling1D()(DSS(6)(keras.layers.Dense(8)(x)))


def blocks(x):
    """As the library's own classifier."""
    hidden = S4Block(6)(keras.layers.Dense(8)(x))
    return keras.layers.GlobalAveragePooling1D()(hidden)


def convolution(x):
    """Keras' convolutions see the padding."""
    hidden = keras.layers.Conv1D(8, 5, padding="causal", activation="relu")(x)
    return keras.layers.GRU(10)(hidden)


def maximum(x):
    """Keras' maximum takes padding in."""
    return keras.layers.GlobalMaxPooling1D()(keras.layers.GRU(10, return_sequences=True)(x))


def on_device(model: keras.Model, x: np.ndarray, y: np.ndarray | None = None) -> None:
    """The device against Keras, calibrated on other sequences."""
    firmware = keras_s4.tflite.convert(model, x)
    y = x if y is None else y
    expect_near(model.predict(y, verbose=0), firmware.predict(y), 20.0)


BODIES = {"GRU": gru, "DSS, last step": dss_last, "DSS, average": dss_average, "S4Block, average": blocks}
for title, body in BODIES.items():
    for front in (False, True):
        where = "front" if front else "end"

        @case("A2", f"Masking, {title}, padding at the {where}", may_refuse=front)
        def samples(body=body, front=front):
            """Keras' outputs on the device."""
            on_device(masked_model(body), padded(front), padded(front, seed=1))

        @case("A2", f"tokens, {title}, padding at the {where}", may_refuse=front)
        def numbers(body=body, front=front):
            """Keras' outputs on the device."""
            on_device(token_model(body), tokens(front), tokens(front, seed=1))


@case("A2", "Masking, convolution, GRU, padding at the end", may_refuse=True)
def convolved() -> None:
    """At the end a causal convolution sees no padding."""
    on_device(masked_model(convolution), padded(), padded(seed=1))


@case("A2", "Masking, convolution, GRU, padding in front", may_refuse=True)
def convolved_front() -> None:
    """In front it does."""
    on_device(masked_model(convolution), padded(True), padded(True, seed=1))


@case("A2", "Masking, maximum over time", may_refuse=True)
def maximal() -> None:
    """Whatever Keras computes, or a refusal."""
    on_device(masked_model(maximum), padded(), padded(seed=1))


@case("A2", "Masking with value 0, zeros inside of the signal too", may_refuse=True)
def gaps() -> None:
    """Masked steps in the middle."""
    x = padded(value=0.0)
    x[:, 5:8] = 0.0
    on_device(masked_model(gru, 0.0), x)


@case("A2", "the padding does not set the input's scale")
def scale() -> None:
    """The same integers with any padding value."""
    model = masked_model(gru)
    far, near = padded(), padded()
    firmware = keras_s4.tflite.convert(model, far)
    near_model = masked_model(gru, 1.5)
    near = np.where(near == PADDING, 1.5, near).astype("float32")
    if firmware.program.inputs[0].scale > 2 * keras_s4.tflite.convert(near_model, near).program.inputs[0].scale:
        raise Wrong("padding of -100 makes the input's scale coarser")


@case("A2", "verify counts the classes of padded sequences")
def verified() -> None:
    """All stages agree with Keras."""
    model = masked_model(dss_average)
    x = padded()
    labels = model.predict(x, verbose=0).argmax(axis=1)
    found = keras_s4.tflite.convert(model, x).verify(model, x, labels)
    worst = min(found.accuracy.values())
    if worst < 0.9 or not found.bit_exact:
        raise Wrong(f"accuracy {found.accuracy}, {found.first_difference}")


@case("A2", "a sequence that is padding from end to end", may_refuse=True)
def nothing() -> None:
    """No real step at all."""
    x = padded()
    x[3] = PADDING
    firmware = keras_s4.tflite.convert(masked_model(gru), x)
    firmware.predict(x)


@case("A2", "Masking inside a nested model")
def nested() -> None:
    """The mask leaves the inner model beside its output."""
    keras.utils.set_random_seed(3)
    inner_inputs = keras.Input((LENGTH, FEATURES))
    inner = keras.Model(inner_inputs, keras.layers.Dense(8)(keras.layers.Masking(PADDING)(inner_inputs)), name="inner")
    inputs = keras.Input((LENGTH, FEATURES))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GRU(8)(inner(inputs))))
    on_device(model, padded(), padded(seed=1))


@case("A2", "masked average, then quantisation-aware")
def aware() -> None:
    """The twins keep the mask."""
    model = masked_model(dss_average)
    copy = keras_s4.quantize_aware(model, padded())
    expect_near(model.predict(padded(seed=1), verbose=0), copy.predict(padded(seed=1), verbose=0), 15.0)
    on_device(copy, padded(), padded(seed=1))


@case("A2", "Bidirectional GRU over padding is refused")
def both_ways() -> None:
    """It cannot stream."""
    model = masked_model(lambda x: keras.layers.Bidirectional(keras.layers.GRU(6))(x))
    expect_refusal(lambda: keras_s4.tflite.convert(model, padded()), "bidirectional")


@case("B3", "classifier(mask_value=) streams")
def own_samples() -> None:
    """Each sequence at its last real step."""
    keras.utils.set_random_seed(0)
    model = keras_s4.models.classifier((LENGTH, FEATURES), 4, channels=8, states=4, mask_value=PADDING)
    x = padded()
    streamed(model, x, np.array([np.sum(np.any(row != PADDING, axis=1)) for row in x]))


@case("B3", "classifier(vocabulary=) streams")
def own_tokens() -> None:
    """The same of tokens."""
    keras.utils.set_random_seed(0)
    model = keras_s4.models.classifier((LENGTH,), 4, channels=8, states=4, vocabulary=10)
    x = tokens()
    streamed(model, x, np.count_nonzero(x, axis=1))


@case("B3", "classifier(vocabulary=) converts, verifies")
def own_converts() -> None:
    """All stages agree."""
    keras.utils.set_random_seed(0)
    model = keras_s4.models.classifier((LENGTH,), 4, channels=8, states=4, vocabulary=10)
    x = tokens()
    labels = model.predict(x, verbose=0).argmax(axis=1)
    found = keras_s4.tflite.convert(model, x).verify(model, x, labels)
    if min(found.accuracy.values()) < 0.9 or not found.bit_exact:
        raise Wrong(f"accuracy {found.accuracy}, {found.first_difference}")


def streamed(model: keras.Model, x: np.ndarray, lengths: np.ndarray) -> None:
    """Demands the model's outputs of streams that end where the sequences do."""
    stream = keras_s4.streaming.StreamingModel(model)
    for row, count in list(zip(x, lengths, strict=True))[:6]:
        states = stream.initial_state(1)
        outputs, _ = stream.chunk(row[None, :count], states)
        expect_near(model.predict(row[None], verbose=0)[0], np.asarray(outputs)[0, -1], 60.0)
