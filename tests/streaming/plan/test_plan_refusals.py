"""What no stream allows is refused by the plan, by name, with reason and remedy: in step mode and in export alike."""

import re

import keras
import pytest
from keras import layers, ops

from keras_s4.layers import DSS, LastStep, LowRankGRU, S4Block
from keras_s4.streaming import STEP_MODE, StreamingModel
from keras_s4.streaming.plan import plan_of
from keras_s4.tflite.lowering.registry import EXPORT

CANNOT = {STEP_MODE: "cannot run step by step", EXPORT: "cannot be exported"}

# layers on [B, 12, 4], what the message says
LAYERS = [
    (lambda: layers.Bidirectional(layers.GRU(3)), r"\(Bidirectional\).*from their end.*forward layer alone"),
    (lambda: layers.Bidirectional(LowRankGRU(3, 2, 2), name="both"), r"'both' \(Bidirectional\).*from their end"),
    (
        lambda: layers.Lambda(lambda x: x),
        r"\(Lambda\).*which steps its function looks at.*register what it",
    ),
    (lambda: layers.Permute((2, 1)), r"dims=\(2, 1\) moves the time axis"),
    (lambda: layers.Flatten(), "takes the time axis for features.*LastStep"),
    (lambda: layers.Reshape((6, 8)), r"\(None, 6, 8\) of \(None, 12, 4\), which mixes steps.*Reshape\(\(-1, ...\)\)"),
    (lambda: layers.Reshape((48,)), "mixes steps"),
    (lambda: layers.UpSampling1D(2), "several outputs of one sample"),
    (lambda: layers.GroupNormalization(2), "of a whole sequence.*LayerNormalization"),
    (lambda: layers.LayerNormalization(axis=[1, 2]), "works along the time axis"),
    (lambda: layers.BatchNormalization(axis=1), "works along the time axis"),
    (lambda: layers.UnitNormalization(axis=-2), "works along the time axis"),
    (lambda: layers.Normalization(axis=1, mean=[0.0] * 12, variance=[1.0] * 12), "works along the time axis"),
    (lambda: layers.Softmax(axis=1), "works along the time axis"),
    (lambda: layers.PReLU(), r"slope of its own for each step.*shared_axes=\[1\]"),
    (lambda: layers.Rescaling([[float(t)] for t in range(12)]), r"shape \(12, 1\) differs by step"),
    (lambda: layers.Conv1D(3, 3, padding="same"), "padding='same' looks at steps to come. Use padding='causal'"),
    (lambda: layers.DepthwiseConv1D(3, padding="same"), r"padding='valid' behind ZeroPadding1D\(\(2, 0\)\)"),
    (lambda: layers.SeparableConv1D(3, 4, padding="same"), r"ZeroPadding1D\(\(3, 0\)\)"),
    (lambda: layers.AveragePooling1D(2, padding="same"), "padding='same' looks at steps to come"),
    (lambda: layers.MaxPooling1D(2, data_format="channels_first"), "'channels_first' puts the time axis last"),
    (lambda: layers.Conv1D(3, 2, data_format="channels_first"), "'channels_first' puts the time axis last"),
    (lambda: layers.GlobalAveragePooling1D(keepdims=True), "keepdims=True leaves a time axis"),
    (lambda: layers.GlobalMaxPooling1D(data_format="channels_first"), "'channels_first' puts the time axis last"),
    (lambda: layers.ZeroPadding1D(1), r"adds steps at the end. Use padding=\(2, 0\)"),
    (lambda: layers.ZeroPadding1D((1, 0)), "ends with padding"),
    (lambda: layers.Cropping1D(1), "where a sequence ends"),
    (lambda: layers.GRU(3, go_backwards=True), "go_backwards=True starts at the end"),
    (lambda: DSS(2, bidirectional=True), "depends on future inputs.*Train the model with bidirectional=False"),
    (lambda: S4Block(DSS(2, bidirectional=True)), "depends on future inputs.*bidirectional=False"),
]


def sequential(*parts, shape=(12, 4)):
    return keras.Sequential([keras.Input(shape), *parts])


def refusals(model, **options):
    """What the plans for both purposes say behind "cannot ..."; they say the same."""
    said = []
    for purpose, cannot in CANNOT.items():
        with pytest.raises(purpose.error) as raised:
            plan_of(model, purpose, **options)
        before, _, reason = str(raised.value).partition(f"{cannot}: ")
        said.append(f"{before}{reason}")
    assert said[0] == said[1]
    return said[0]


def assert_refused(model, message):
    assert re.search(message, refusals(model)), refusals(model)


@pytest.mark.parametrize(("make", "message"), LAYERS, ids=[message for _, message in LAYERS])
def test_layers(make, message):
    inputs = keras.Input((12, 4))
    layer = make()
    outputs = layer(inputs)
    if isinstance(outputs, (list, tuple)):
        outputs = outputs[0]
    model = keras.Model(inputs, outputs)
    assert_refused(model, message)
    assert repr(model.name if "ends with padding" in message else layer.name) in refusals(model)


@pytest.mark.parametrize(
    "make", [lambda: layers.Attention(), lambda: layers.MultiHeadAttention(1, 2), lambda: layers.AdditiveAttention()]
)
def test_attention(make):
    inputs = keras.Input((12, 4))
    layer = make()
    outputs = layer(inputs, inputs) if isinstance(layer, layers.MultiHeadAttention) else layer([inputs, inputs])
    assert_refused(keras.Model(inputs, outputs), f"'{layer.name}'.*attention looks at all steps.*DSS")


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dense(2),
        lambda: layers.Softmax(),
        lambda: layers.Activation("softmax"),
        lambda: layers.LayerNormalization(),
        lambda: layers.BatchNormalization(),
    ],
)
def test_features_that_are_time(make):
    """With inputs [B, L] the last axis is time."""
    message = r"shape \(None, 12\) it works along the time axis.*Reshape\(\(-1, 1\)\)"
    assert_refused(sequential(make(), shape=(12,)), message)


def test_repeating_a_sequence_as_features():
    assert_refused(sequential(layers.RepeatVector(2), shape=(12,)), "takes the time axis for features")


class TestPadding:
    def test_in_front_of_anything_but_a_convolution(self):
        message = r"'pool'.*padding in front of it.*directly in front of a convolution"
        assert_refused(sequential(layers.ZeroPadding1D((1, 0)), layers.MaxPooling1D(2, name="pool")), message)

    def test_more_than_the_convolution_reaches(self):
        message = r"'conv'.*the 3 zeros.*before the first sample. It takes at most 2, with ZeroPadding1D\(\(2, 0\)\)"
        assert_refused(sequential(layers.ZeroPadding1D((3, 0)), layers.Conv1D(2, 3, name="conv")), message)

    def test_of_a_causal_convolution(self):
        model = sequential(layers.ZeroPadding1D((1, 0)), layers.Conv1D(2, 3, padding="causal"))
        assert_refused(model, "the 1 zeros")


class TestMeeting:
    def test_branches_of_different_strides(self):
        inputs = keras.Input((None, 4))
        branches = [layers.MaxPooling1D(2)(inputs), layers.MaxPooling1D(3)(inputs)]
        model = keras.Model(inputs, layers.Add(name="sum")(branches))
        assert_refused(model, r"'sum'.*period 2 from step 1, period 3 from step 2")

    def test_branches_more_than_a_period_apart(self):
        inputs = keras.Input((None, 4))
        branches = [layers.MaxPooling1D(2)(inputs), layers.Conv1D(4, 4, strides=2)(inputs)]
        model = keras.Model(inputs, layers.Add()(branches))
        assert_refused(model, r"period 2 from step 1, period 2 from step 3.*Cropping1D")

    def test_a_sequence_and_what_comes_behind_a_pooling(self):
        inputs = keras.Input((12, 4))
        model = keras.Model(inputs, layers.Multiply()([inputs, layers.GlobalMaxPooling1D()(inputs)]))
        assert_refused(model, r"some of its inputs are sequences, others are not: \(None, 12, 4\), \(None, 4\)")

    def test_sequences_of_vectors_and_of_matrices(self):
        inputs = keras.Input((12, 12))
        model = keras.Model(inputs, layers.Add()([layers.Reshape((-1, 12, 1))(inputs), inputs]))
        assert_refused(model, r"aligns the steps of one with features of another. Put Reshape\(\(-1, 1, ...\)\)")

    def test_a_second_input_of_a_layer_that_takes_one(self):
        inputs = keras.Input((12, 4))
        outputs = layers.GRU(4)(inputs, initial_state=layers.GlobalMaxPooling1D()(inputs))
        with pytest.raises(ValueError, match=r"\(GRU\) with a state to start from.* keeps its state to itself"):
            StreamingModel(keras.Model(inputs, outputs))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: x[:, -1], r"get_item.*keras_s4.layers.LastStep"),
        (lambda x: x + layers.Dense(4)(x), r"computes add.*keras.layers.Add"),
        (lambda x: 2.0 * x, r"multiply.*Rescaling"),
        (lambda x: ops.cumsum(x, axis=1), r"computes cumsum.*use layers for that"),
    ],
)
def test_operations(operation, message):
    inputs = keras.Input((12, 4))
    with pytest.raises(ValueError, match=message):
        StreamingModel(keras.Model(inputs, operation(inputs)))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.GlobalMaxPooling1D(),
        lambda: layers.GRU(3),
        lambda: layers.Conv1D(2, 2),
        lambda: LastStep(),
    ],
)
def test_layers_along_time_behind_a_pooling(layer):
    """Step mode calls them as they are; a program would run them along the stream."""
    model = sequential(LastStep(), layers.Dense(6), layers.Reshape((3, 2)), layer())
    plan_of(model, STEP_MODE)
    with pytest.raises(NotImplementedError, match=r"along the steps of a sequence, .* \(None, 3, 2\) has no time axis"):
        plan_of(model, EXPORT)


def test_an_average_over_an_open_length():
    model = sequential(layers.GlobalAveragePooling1D(), shape=(None, 4))
    for purpose, call in ((STEP_MODE, "StreamingModel"), (EXPORT, "convert")):
        with pytest.raises(ValueError, match=f"averages over time.*open; say how many steps a window has: {call}"):
            plan_of(model, purpose)
    assert plan_of(model, STEP_MODE, counted=True).calls[0].window is None


def test_a_window_too_short_for_its_average():
    model = sequential(layers.MaxPooling1D(5), layers.GlobalAveragePooling1D(name="mean"))
    for purpose in CANNOT:
        with pytest.raises(ValueError, match="'mean' averages over time, but within a window no value has reached it"):
            plan_of(model, purpose, length=4)


def test_an_unbuilt_model():
    with pytest.raises(ValueError, match="not built yet"):
        StreamingModel(keras.Sequential([DSS(2)]))


def test_a_subclassed_model():
    class Custom(keras.Model):
        def __init__(self, size):
            super().__init__()
            self.dense = layers.Dense(size)

        def call(self, inputs):
            return self.dense(inputs)

    model = Custom(2)
    model(ops.ones((1, 3, 2)))
    with pytest.raises(ValueError, match="written by subclassing"):
        StreamingModel(model)


def test_inputs_of_different_lengths():
    a, b = keras.Input((6, 2)), keras.Input((4, 2))
    model = keras.Model([a, b], [layers.Dense(1)(a), layers.Dense(2)(b)])
    with pytest.raises(ValueError, match="inputs of 4 and 6 steps; expected sequences of one length"):
        StreamingModel(model)


def test_inputs_without_a_time_axis():
    with pytest.raises(ValueError, match=r"shape \(None,\).*expected inputs \[B, L\] or \[B, L, ...\]"):
        StreamingModel(keras.Sequential([keras.Input(()), layers.ReLU()]))


@pytest.mark.parametrize("length", [0, -1, 2.5, "12"])
def test_lengths(length):
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        StreamingModel(sequential(DSS(2)), length=length)
