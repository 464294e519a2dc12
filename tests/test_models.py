"""The ready-made models: their shapes and sizes, that padding changes nothing, and that they learn."""

import keras
import numpy as np
import pytest
from small_models import CLASSES, FEATURES, STEPS, slow_or_fast, small

from keras_s4.layers import DiagonalSSM
from keras_s4.models import classifier, forecaster, regressor, sequence_to_sequence
from keras_s4.streaming import StreamingModel

EVERY_STEP = {"return_sequences": True}
RECENT = {"pooling": "recent", "pooling_arguments": {"seconds": 3.0, **EVERY_STEP}}
OUTPUTS = {classifier: "classes", regressor: "outputs", sequence_to_sequence: "outputs", forecaster: "horizon"}


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = classifier((STEPS, FEATURES), CLASSES, channels=8, states=4, blocks=1, dropout=0.1)
    model.compile(
        keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=True
    )
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
    history = model.fit(*slow_or_fast(), batch_size=8, epochs=6, verbose=0).history
    return model, history


@pytest.mark.parametrize(("channels", "states", "blocks"), [(8, 4, 1), (5, 3, 3)])
def test_shapes_and_parameter_count(channels, states, blocks):
    model = classifier((STEPS, FEATURES), 7, channels=channels, states=states, blocks=blocks)
    assert model.input_shape == (None, STEPS, FEATURES)
    assert model.output_shape == (None, 7)
    encoder = FEATURES * channels + channels
    normalization = 4 * channels
    dss = 2 * states + channels + 2 * channels * states + channels
    mixing = 2 * (channels * channels + channels)
    head = channels * 7 + 7
    assert model.count_params() == encoder + blocks * (normalization + dss + mixing) + head
    assert [layer.name for layer in model.layers[2:-2]] == [f"block_{index + 1}" for index in range(blocks)]


def test_arguments_reach_the_blocks():
    model = classifier((None, FEATURES), 2, channels=4, states=3, blocks=2, activation="relu", dropout=0.3, name="net")
    block = model.get_layer("block_2")
    config = block.get_config()
    assert (block.dss.state_size, config["activation"], config["dropout"]) == (3, "relu", 0.3)
    assert model.name == "net"
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize("maker", OUTPUTS)
def test_every_model_has_blocks_of_another_form(maker):
    form = {"normalization": "rms", "post_norm": True, "gate": None}
    block = small(maker, 2, block=form).get_layer("block_1")
    assert form == {name: block.get_config()[name] for name in form}


def test_the_classifier_learns_compiled(trained):
    _, history = trained
    assert history["accuracy"][-1] > 0.9
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_probabilities(trained):
    model, _ = trained
    probabilities = np.asarray(model(slow_or_fast(count=5)[0]))
    assert np.all(probabilities > 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_a_saved_model_gives_equal_outputs(trained, tmp_path):
    model, _ = trained
    inputs, _ = slow_or_fast(count=4, seed=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.optimizer.iterations == model.optimizer.iterations


@pytest.mark.parametrize("length", [STEPS, None])
@pytest.mark.parametrize(
    ("maker", "arguments", "output_shape"),
    [
        (classifier, {"classes": 2, "pooling": "max"}, (2,)),
        (classifier, {"classes": 2, "pooling": "last"}, (2,)),
        (classifier, {"classes": 2, "pooling": "recent", "pooling_arguments": {"seconds": 3.0}}, (2,)),
        (
            classifier,
            {"classes": 2, "pooling": "recent", "pooling_arguments": {"seconds": 3.0, **EVERY_STEP}},
            ("L", 2),
        ),
        (regressor, {"outputs": 2, "pooling": "sliding", "pooling_arguments": {"window": 4, "hop": 2}}, (2,)),
        (sequence_to_sequence, {"outputs": 5}, ("L", 5)),
        (regressor, {"outputs": 3}, (3,)),
        (regressor, {"outputs": 1, "pooling": "last"}, (1,)),
        (forecaster, {"horizon": 4}, (4, FEATURES)),
        (forecaster, {"horizon": 4, "features": 2}, (4, 2)),
        (forecaster, {"horizon": 4, "every_step": True}, ("L", 4, FEATURES)),
    ],
)
def test_output_shapes(maker, arguments, output_shape, length):
    model = maker((length, FEATURES), channels=4, states=2, **arguments)
    assert model.input_shape == (None, length, FEATURES)
    assert model.output_shape == (None, *(length if size == "L" else size for size in output_shape))
    outputs = model(np.zeros((2, STEPS, FEATURES), "float32"))
    assert tuple(outputs.shape) == (2, *(STEPS if size == "L" else size for size in output_shape))
    assert model.name == maker.__name__


@pytest.mark.parametrize(
    ("maker", "arguments", "head"),
    [
        (sequence_to_sequence, {"outputs": 5}, 5),
        (regressor, {"outputs": 5}, 5),
        (forecaster, {"horizon": 4, "features": 2}, 8),
    ],
)
def test_parameter_counts(maker, arguments, head):
    expected = classifier((STEPS, FEATURES), head, channels=4, states=2)
    model = maker((STEPS, FEATURES), channels=4, states=2, **arguments)
    assert [weight.path for weight in model.weights] == [weight.path for weight in expected.weights]
    assert [weight.shape for weight in model.weights] == [weight.shape for weight in expected.weights]


@pytest.mark.parametrize(("maker", "size"), [(classifier, 2), (sequence_to_sequence, 2)])
def test_models_of_tokens(maker, size):
    model = maker((STEPS,), size, vocabulary=11, channels=4, states=2)
    assert model.input_shape == (None, STEPS)
    assert model.inputs[0].dtype == "int32"
    assert model.get_layer("encoder").embeddings.shape == (11, 4)
    assert model.get_layer("encoder").mask_zero
    assert not maker((STEPS,), size, vocabulary=11, mask_zero=False).get_layer("encoder").mask_zero


@pytest.mark.parametrize(
    ("maker", "size"), [(classifier, 2), (regressor, 2), (sequence_to_sequence, 2), (forecaster, 2)]
)
def test_arguments_reach_every_dss_layer(maker, size):
    dss = {"kernel": "softmax", "bidirectional": True, "residue_initializer": keras.initializers.RandomNormal()}
    model = maker((STEPS, FEATURES), size, channels=4, states=2, activation="tanh", dropout=0.3, dss=dss)
    layers = [model.get_layer(f"block_{index}") for index in (1, 2)]
    for block in layers:
        config = block.dss.get_config()
        assert (config["state_size"], config["kernel"], config["bidirectional"]) == (2, "softmax", True)
        assert (block.get_config()["activation"], block.dropout_rate) == ("tanh", 0.3)
    first, second = (np.array(block.dss.residues) for block in layers)
    assert np.all(first != second), "the blocks start with equal weights"


@pytest.mark.parametrize("maker", OUTPUTS)
def test_channels_share_the_modes_of_a_block(maker):
    model = small(maker, 2, shared_modes=True, dss={"feedthrough": "diagonal"})
    layer = model.get_layer("block_1").dss
    assert isinstance(layer, DiagonalSSM)
    assert (layer.state_size, layer.feedthrough_type, layer.units) == (3, "diagonal", None)
    assert model(slow_or_fast(count=2)[0]).shape[0] == 2


def test_output_activation():
    model = small(sequence_to_sequence, 3, output_activation="softmax")
    probabilities = np.asarray(model(slow_or_fast(count=2)[0]))
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-6)


def test_the_forecast_is_the_last_of_those_from_every_step():
    inputs, _ = slow_or_fast(count=2)
    model, every_step = small(forecaster, 4), small(forecaster, 4, every_step=True)
    every_step.set_weights(model.get_weights())
    np.testing.assert_allclose(every_step(inputs)[:, -1], model(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("average", lambda x: x.mean(axis=1)), ("max", lambda x: x.max(axis=1)), ("last", lambda x: x[:, -1])],
)
def test_poolings(pooling, expected):
    model = small(classifier, 2, pooling=pooling)
    parts = keras.Model(model.input, [model.get_layer("block_2").output, model.get_layer("pooling").output])
    hidden, pooled = parts(slow_or_fast(count=2)[0])
    np.testing.assert_allclose(pooled, expected(np.asarray(hidden)), rtol=1e-5, atol=1e-6)


def test_poolings_for_streams():
    recent = small(classifier, 2, pooling="recent", pooling_arguments={"seconds": 0.5, "rate": 10.0})
    assert recent.get_layer("pooling").time_constants() == 5.0
    sliding = small(classifier, 2, pooling="sliding", pooling_arguments={"window": 6, "hop": 3, **EVERY_STEP})
    parts = keras.Model(sliding.input, [sliding.get_layer("block_2").output, sliding.get_layer("pooling").output])
    hidden, pooled = parts(slow_or_fast(count=2)[0])
    np.testing.assert_allclose(pooled[:, 1], np.asarray(hidden)[:, :6].mean(axis=1), rtol=1e-5, atol=1e-6)


PADDED_MODELS = {
    "average": (classifier, {"pooling": "average"}),
    "last": (classifier, {"pooling": "last"}),
    "recent": (classifier, {"pooling": "recent", "pooling_arguments": {"seconds": 3.0}}),
    "average, both directions": (classifier, {"pooling": "average", "dss": {"bidirectional": True}}),
    "every step": (sequence_to_sequence, {}),
    "forecast": (forecaster, {}),
}


@pytest.mark.parametrize("side", ["behind", "in front"])
@pytest.mark.parametrize("case", PADDED_MODELS)
def test_padding_of_samples_changes_nothing(case, side):
    maker, arguments = PADDED_MODELS[case]
    model = small(maker, 2, mask_value=-7.0, **arguments)
    sequences = [signal[:length] for signal, length in zip(slow_or_fast(count=3)[0], (STEPS, 9, 1), strict=True)]
    padded = keras.utils.pad_sequences(
        sequences, STEPS + 5, "float32", padding="post" if side == "behind" else "pre", value=-7.0
    )
    outputs = np.asarray(model(padded))
    for sequence, output in zip(sequences, outputs, strict=True):
        if case == "every step":
            length = len(sequence)
            output = output[:length] if side == "behind" else output[-length:]
        # Longer sequences have longer FFTs, which round differently.
        np.testing.assert_allclose(output, model(sequence[None])[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", ["average", "last", "average, both directions", "every step"])
def test_padding_of_tokens_changes_nothing(case):
    maker, arguments = PADDED_MODELS[case]
    model = small(maker, 2, input_shape=(None,), vocabulary=9, **arguments)
    tokens = np.random.default_rng(0).integers(1, 9, (3, 12))
    expected = np.asarray(model(tokens))
    for padding in (1, 20):
        outputs = np.asarray(model(np.pad(tokens, [(0, 0), (0, padding)])))
        outputs = outputs[:, :12] if case == "every step" else outputs
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-5)
    unmasked = small(maker, 2, input_shape=(None,), vocabulary=9, mask_zero=False, **arguments)
    outputs = np.asarray(unmasked(np.pad(tokens, [(0, 0), (0, 20)])))
    assert case == "every step" or np.abs(outputs - expected).max() > 1e-3


def test_padded_steps_do_not_count_in_the_loss():
    model = small(sequence_to_sequence, 1, mask_value=0.0)
    model.compile(loss="mse")
    inputs, _ = slow_or_fast(count=4)
    inputs[:, 20:] = 0.0
    targets = np.asarray(model(inputs)) + 1.0
    targets[:, 20:] = 1e6
    assert model.evaluate(inputs, targets, verbose=0) == pytest.approx(1.0, rel=1e-4)


def test_a_sequence_model_learns_a_moving_sum():
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(128, STEPS, 1)).astype("float32")
    targets = sum(np.pad(inputs, [(0, 0), (delay, 0), (0, 0)])[:, :STEPS] for delay in range(3))
    model = sequence_to_sequence((STEPS, 1), 1, channels=8, states=4, blocks=1, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
    model.fit(inputs, targets, batch_size=16, epochs=12, verbose=0)
    assert model.evaluate(inputs, targets, verbose=0) < 0.2 * np.var(targets)


def test_a_forecaster_learns_sines(tmp_path):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    phases, frequencies = random.uniform(0, 6, (128, 1, 1)), random.uniform(0.3, 0.6, (128, 1, 1))
    series = np.sin(frequencies * np.arange(STEPS + 4)[:, None] + phases).astype("float32")
    inputs, targets = series[:, :STEPS], series[:, STEPS:]
    model = forecaster((STEPS, 1), 4, channels=8, states=4, blocks=1, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
    model.fit(inputs, targets, batch_size=16, epochs=12, verbose=0)
    assert np.mean(np.square(targets - inputs[:, -1:])) > np.var(targets), "repeating the last step is a good forecast"
    assert model.evaluate(inputs, targets, verbose=0) < 0.2 * np.var(targets)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(inputs), model(inputs))


def test_models_of_padded_tokens_are_saved(tmp_path):
    model = small(classifier, 2, input_shape=(None,), vocabulary=9, pooling="last", dss={"kernel": "clip"})
    tokens = np.pad(np.random.default_rng(0).integers(1, 9, (3, 12)), [(0, 0), (0, 4)])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(tokens), model(tokens))


@pytest.mark.parametrize(
    ("maker", "arguments"),
    [
        (classifier, {"pooling": "last"}),
        (sequence_to_sequence, {}),
        (forecaster, {}),
        (forecaster, {"every_step": True}),
    ],
)
def test_models_stream(maker, arguments):
    model = small(maker, 2, input_shape=(STEPS, FEATURES), **arguments)
    inputs, _ = slow_or_fast(count=2)
    streamed = StreamingModel(model).predict(inputs, verbose=0)
    expected = model.predict(inputs, verbose=0)
    at_every_step = maker is sequence_to_sequence or "every_step" in arguments
    np.testing.assert_allclose(streamed if at_every_step else streamed[:, -1], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("maker", "argument"),
    [
        *((classifier, name) for name in ("classes", "channels", "states", "blocks")),
        (sequence_to_sequence, "outputs"),
        (sequence_to_sequence, "channels"),
        (forecaster, "horizon"),
        (forecaster, "blocks"),
    ],
)
@pytest.mark.parametrize("value", [0, -3, 1.5, None])
def test_refused_sizes(maker, argument, value):
    message = f"{maker.__name__} got {argument}={value}; expected a whole number of at least 1"
    with pytest.raises(ValueError, match=message):
        maker((STEPS, FEATURES), **{OUTPUTS[maker]: 2, argument: value})


@pytest.mark.parametrize("maker", [classifier, sequence_to_sequence, forecaster])
@pytest.mark.parametrize("shape", [(STEPS,), (2, STEPS, FEATURES), (STEPS, None)])
def test_refused_input_shape(maker, shape):
    with pytest.raises(ValueError, match=rf"{maker.__name__} got input_shape=.*expected \(steps, features\)"):
        maker(shape, 2)


@pytest.mark.parametrize(
    ("maker", "arguments", "message"),
    [
        (
            classifier,
            {"pooling": "sum"},
            "pooling='sum'; expected one of 'average', 'max', 'last', 'recent', 'sliding'",
        ),
        (classifier, {"pooling": "max", "mask_value": 0.0}, "pooling='max' and padded sequences"),
        (classifier, {"pooling": "max", "vocabulary": 5, "input_shape": (STEPS,)}, "pooling='max' and padded"),
        (
            classifier,
            {"pooling": "recent"},
            "pooling='recent' and pooling_arguments=None; RecentA.*seconds",
        ),
        (classifier, {"pooling_arguments": {"name": "x"}}, "expected a dict of arguments of GlobalAveragePooling1D"),
        (regressor, {"pooling": "sliding", "pooling_arguments": 5}, "expected a dict of arguments of SlidingAverage"),
        (classifier, {"vocabulary": 5}, r"input_shape=.* and vocabulary=5; expected \(steps,\)"),
        (classifier, {"vocabulary": 0, "input_shape": (STEPS,)}, "vocabulary=0; expected a whole number"),
        (
            sequence_to_sequence,
            {"vocabulary": 5, "mask_value": 0.0, "input_shape": (STEPS,)},
            "vocabulary=5 and mask_value=0.0; the padding of tokens is token 0",
        ),
        (classifier, {"dss": {"state_size": 3}}, "expected a dict of arguments of DSS other than state_size"),
        (classifier, {"dss": "softmax"}, "dss='softmax'; expected a dict of arguments of DSS"),
        (
            classifier,
            {"dss": {"units": 3}, "shared_modes": True},
            "arguments of DiagonalSSM other than state_size and units",
        ),
        (regressor, {"shared_modes": "yes"}, "shared_modes='yes'; expected True or False"),
        (classifier, {"block": {"dropout": 0.1}}, "expected a dict of arguments of S4Block other than"),
        (forecaster, {"features": 0}, "features=0; expected a whole number"),
        (forecaster, {"every_step": True, "mask_value": 0.0}, "forecasts from padded steps would count"),
    ],
)
def test_refused_combinations(maker, arguments, message):
    with pytest.raises(ValueError, match=f"{maker.__name__} got .*{message}"):
        maker(**{"input_shape": (STEPS, FEATURES), "blocks": 1, **arguments}, **{OUTPUTS[maker]: 2})


def test_yes_or_no_and_several_labels_are_sigmoids():
    assert classifier((STEPS, FEATURES), 1).get_layer("head").activation is keras.activations.sigmoid
    several = classifier((STEPS, FEATURES), 3, multi_label=True)
    assert several.get_layer("head").activation is keras.activations.sigmoid
    assert several.output_shape == (None, 3)
