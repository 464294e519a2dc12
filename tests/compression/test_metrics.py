import keras
import numpy as np
import pytest

from keras_s4.compression.metrics import accuracy_on, error_on, metric_on, score_on


@pytest.fixture(scope="module")
def task():
    """A model and data for it, with the classes that it finds itself."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((16, 4)), keras.layers.Flatten(), keras.layers.Dense(5, activation="softmax")]
    )
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    x = np.random.default_rng(0).normal(size=(200, 16, 4)).astype("float32")
    return model, x, keras.ops.convert_to_numpy(model(x)).argmax(axis=1)


def test_accuracy_of_classes_of_rows_and_of_steps():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(11, 5, 3)).astype("float32")
    steps = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(4)])
    labels = generator.integers(4, size=(11, 5))
    expected = np.mean(keras.ops.convert_to_numpy(steps(x)).argmax(-1) == labels)
    assert accuracy_on(x, labels, batch_size=4)(steps) == expected
    assert accuracy_on(x, np.eye(4)[labels])(steps) == expected
    single = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    found = keras.ops.convert_to_numpy(single(x))[:, 0] > 0.5
    assert accuracy_on(x, found.astype(int))(single) == accuracy_on(x, found[:, None])(single) == 1.0
    assert accuracy_on(x, ~found)(single) == 0.0


def test_metric_on_reads_a_compiled_metric(task):
    model, x, y = task
    loss, accuracy = model.evaluate(x, y, verbose=0, batch_size=256)
    assert metric_on(x, y)(model) == accuracy
    assert metric_on(x, y, "loss", lower_is_better=True)(model) == -loss
    with pytest.raises(ValueError, match=r"found no metric 'f1'; the model has accuracy, loss"):
        metric_on(x, y, "f1")(model)
    with pytest.raises(ValueError, match="is not compiled"):
        metric_on(x, y)(keras.Sequential([keras.Input((16, 4)), keras.layers.GRU(5)]))


def test_one_yes_or_no_is_a_probability_or_a_logit():
    x = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
    logit = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    truth = keras.ops.convert_to_numpy(logit(x))[:, 0] > 0
    assert accuracy_on(x, truth.astype(int))(logit) == 1.0
    logit.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    assert accuracy_on(x, truth.astype("float32")[:, None])(logit) == 1.0


def test_several_labels_steps_and_outputs():
    x = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
    inputs = keras.Input((5, 3))
    several = keras.layers.Dense(4, "sigmoid")(keras.layers.Flatten()(inputs))
    steps = keras.layers.Dense(3, "softmax")(inputs)
    model = keras.Model(inputs, {"steps": steps, "several": several})
    found = {name: keras.ops.convert_to_numpy(values) for name, values in model(x).items()}
    y = {"steps": found["steps"].argmax(-1)[..., None], "several": (found["several"] > 0.5).astype(int)}
    assert accuracy_on(x, y, batch_size=7)(model) == accuracy_on(x, [y["steps"], y["several"]])(model) == 1.0
    y["several"][:, 0] ^= 1
    assert accuracy_on(x, y)(model) == pytest.approx((1.0 + 3 / 4) / 2)
    assert accuracy_on(x, {"several": y["several"]})(model) == 3 / 4


def test_error_of_quantities():
    x = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    outputs = keras.ops.convert_to_numpy(model(x))
    y = outputs[:, 0] + np.where(np.arange(30) % 2, 0.5, -0.5)
    assert error_on(x, y, batch_size=8)(model) == pytest.approx(-0.5, abs=1e-6)
    assert score_on(x, y)(model) == error_on(x, y)(model) == error_on(x, y[:, None])(model)
    with pytest.raises(ValueError, match=r"accuracy_on got a model whose output .* means regression; use error_on"):
        accuracy_on(x, y)(model)
    with pytest.raises(ValueError, match=r"error_on got a model whose output .* means binary; use accuracy_on"):
        error_on(x, (y > 0).astype(int))(model)
    assert error_on(x, (y > 0).astype(int), task="regression")(model) < 0


def test_subclassed_models_are_scored_as_well():
    """Of them only what they give is known."""

    class Subclassed(keras.Model):
        def __init__(self, *units):
            super().__init__()
            self.heads = [keras.layers.Dense(size) for size in units]

        def call(self, inputs):
            given = [head(inputs[:, -1]) for head in self.heads]
            return given[0] if len(given) == 1 else given

    x = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
    for model, units in ((Subclassed(4), [4]), (Subclassed(4, 2), [4, 2])):
        found = keras.tree.flatten(model(x))
        y = [keras.ops.convert_to_numpy(values).argmax(axis=1) for values in found]
        assert len(y) == len(units)
        assert accuracy_on(x, y if len(y) > 1 else y[0], batch_size=7)(model) == 1.0


def test_outputs_of_nan_have_no_score(task):
    model, x, y = task
    broken = keras.models.clone_model(model)
    broken.layers[-1].bias.assign(np.full(5, np.nan))
    assert np.isnan(accuracy_on(x, y)(broken))


def test_what_the_outputs_mean_is_known_from_the_model_that_is_copied():
    """Copies are not compiled; the loss says here that the outputs are probabilities already."""
    x = np.random.default_rng(0).normal(size=(30, 5, 3)).astype("float32")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    model.compile(loss="binary_crossentropy")
    truth = (keras.ops.convert_to_numpy(model(x))[:, 0] > 0.5).astype(int)
    assert accuracy_on(x, truth).for_model(model)(copy) == 1.0 > accuracy_on(x, truth)(copy)


def test_accuracy_refuses_data_that_does_not_fit(task):
    model, x, y = task
    with pytest.raises(ValueError, match="accuracy_on got 200 of x, 199 of y; expected as many"):
        accuracy_on(x, y[1:])
    with pytest.raises(ValueError, match="accuracy_on got x with 1 NaN or infinite values"):
        accuracy_on(np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x), y)
    with pytest.raises(TypeError, match="accuracy_on got x of type complex64"):
        accuracy_on(x * 1j, y)
    for labels, message in [
        (np.zeros((200, 2)), r"targets of shape \[200, 2\] for outputs of shape \[200, 5\]"),
        (y + 1, "classes from 1 to 5; the model knows 5, from 0 to 4"),
        (y - 1, "classes from -1 to 3"),
        (np.zeros((200, 200)), r"shape \[200, 200\]"),
        (np.where(y == 1, np.nan, y), "NaN"),
        (y + 0.5, "no whole numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            accuracy_on(x, labels)(model)
    with pytest.raises(TypeError, match="Number the classes from 0"):
        accuracy_on(x, y.astype(str))(model)


def padded_tagger():
    """A class at every step of tokens, 0 of which is padding; compiled, with Keras' own masked accuracy."""
    keras.utils.set_random_seed(2)
    embedding = keras.layers.Embedding(7, 6, mask_zero=True)
    model = keras.Sequential([keras.Input((8,), dtype="int32"), embedding, keras.layers.Dense(3, "softmax")])
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    tokens = np.random.default_rng(0).integers(1, 7, (20, 8))
    tokens[np.arange(8) >= np.random.default_rng(1).integers(2, 9, (20, 1))] = 0
    return model, tokens, np.random.default_rng(2).integers(0, 3, (20, 8))


def test_padded_steps_do_not_count_as_in_keras():
    model, tokens, labels = padded_tagger()
    _, expected = model.evaluate(tokens, labels, batch_size=20, verbose=0)
    hits = keras.ops.convert_to_numpy(model(tokens)).argmax(axis=-1) == labels
    assert np.mean(hits[tokens > 0]) == pytest.approx(expected) != np.mean(hits)
    assert accuracy_on(tokens, labels, batch_size=6)(model) == pytest.approx(expected)
    assert accuracy_on(tokens, np.eye(3)[labels])(model) == pytest.approx(expected)
    for filler in (-1, 99):  # as padded targets are
        marked = np.where(tokens > 0, labels, filler)
        assert accuracy_on(tokens, marked)(model) == accuracy_on(tokens, marked[..., None])(model)
        assert accuracy_on(tokens, marked)(model) == pytest.approx(expected)
    with pytest.raises(ValueError, match="from 0 to 99; the model knows 3"):
        accuracy_on(tokens, np.where(tokens > 0, np.where(tokens == 3, 99, labels), 0))(model)
    with pytest.raises(ValueError, match="padding throughout"):
        accuracy_on(np.zeros_like(tokens), labels)(model)


def test_padded_steps_do_not_count_in_errors_and_behind_other_outputs():
    inputs = keras.Input((8, 2))
    hidden = keras.layers.Masking()(inputs)
    steps, last = keras.layers.Dense(2, name="steps")(hidden), keras.layers.GRU(3, name="last")(hidden)
    model = keras.Model(inputs, {"steps": steps, "last": last})
    x = np.random.default_rng(0).normal(size=(12, 8, 2)).astype("float32")
    x[:5, 3:] = 0.0
    found = model.predict(x, verbose=0)
    assert error_on(x, {"last": found["last"] + 0.5})(model) == pytest.approx(-0.5, rel=1e-5)
    real = np.any(x != 0, axis=-1)[..., None]
    assert error_on(x, {"steps": np.where(real, found["steps"] + 0.25, 1e6)})(model) == pytest.approx(-0.25, rel=1e-5)


@pytest.mark.parametrize("wrong", [7, -1, 2.5])
def test_tokens_that_no_embedding_has_are_refused(wrong):
    model, tokens, labels = padded_tagger()
    inner = keras.Model(model.inputs, model.outputs, name="inner")
    inputs = keras.Input((8,), dtype="int32" if wrong != 2.5 else "float32")
    for tagger in (model, keras.Model(inputs, inner(inputs))):
        with pytest.raises(ValueError, match="tokens"):
            accuracy_on(np.where(tokens == 3, wrong, tokens), labels)(tagger)


def test_the_score_of_a_single_answer(task):
    model, x, y = task
    assert accuracy_on(x, y).for_model(model).blind == np.bincount(y).max() / len(y)
    binary = keras.Sequential([keras.Input((16, 4)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    assert accuracy_on(x, np.arange(200) % 4 == 0).for_model(binary).blind == 0.75
    several = keras.Sequential([keras.Input((16, 4)), keras.layers.Flatten(), keras.layers.Dense(2, "sigmoid")])
    labels = np.stack([np.arange(200) % 4 == 0, np.arange(200) % 10 > 0], axis=1)
    assert accuracy_on(x, labels, task="multi_label").for_model(several).blind == pytest.approx((0.75 + 0.9) / 2)
    quantities = np.random.default_rng(0).normal(size=(200, 2)) * [3.0, 4.0] + 10.0
    several.compile(loss="mse")
    blind = error_on(x, quantities, task="regression").for_model(several).blind
    assert blind == pytest.approx(-np.sqrt(np.mean((quantities - quantities.mean(axis=0)) ** 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": -1}, "batch_size=-1; expected a whole number"),
        ({"batch_size": 2.5}, "batch_size=2.5; expected a whole number"),
        ({"x": {}}, "expected an array for each input"),
        ({"x": np.float32(3)}, "a single number"),
        ({"y": {}}, "got no targets"),
    ],
)
def test_arguments_that_no_metric_has_are_refused(task, arguments, message):
    model, x, y = task
    with pytest.raises(ValueError, match=message):
        accuracy_on(**{"x": x, "y": y, **arguments})(model)
    with pytest.raises(TypeError, match=r"received 'm\.keras' as its model; expected a Keras model"):
        accuracy_on(x, y)("m.keras")
