import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import LastStep
from keras_s4.scoring.heads import Head
from keras_s4.scoring.outputs import check_training_targets, heads_of, outputs_by_name

B, L, C = 12, 6, 3
CLASSES = np.arange(B) % C
TRUTH = np.arange(B) % 2
SEVERAL = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1]] * 3)
QUANTITIES = np.random.default_rng(0).normal(size=(B, C))
ONE_HOT = np.eye(C)[CLASSES]


def model(*stack, loss=None):
    built = keras.Sequential([keras.Input((L, 2)), LastStep(), *stack])
    if loss is not None:
        built.compile("sgd", loss)
    return built


def logits(units, loss=None):
    return model(layers.Dense(units), loss=loss)


@pytest.mark.parametrize(
    ("built", "y", "task", "threshold"),
    [
        (lambda: model(layers.Dense(1, "sigmoid")), TRUTH, "binary", 0.5),
        (lambda: model(layers.Dense(1), layers.Activation("sigmoid")), None, "binary", 0.5),
        (lambda: logits(1, keras.losses.BinaryCrossentropy(from_logits=True)), TRUTH, "binary", 0.0),
        (lambda: logits(1, "binary_crossentropy"), TRUTH, "binary", 0.5),
        (lambda: logits(1), TRUTH, "binary", 0.0),
        (lambda: logits(1), TRUTH.astype(bool), "binary", 0.0),
        (lambda: logits(1, "mse"), TRUTH, "regression", None),
        (lambda: logits(1), QUANTITIES[:, 0], "regression", None),
        (lambda: logits(1), np.arange(B) * 10.0, "regression", None),
        (lambda: logits(1), None, "regression", None),
        (lambda: model(layers.Dense(1, "sigmoid"), loss="mse"), QUANTITIES[:, :1], "regression", None),
        (lambda: model(layers.Dense(C, "softmax")), CLASSES, "classes", None),
        (lambda: model(layers.Dense(C), layers.Softmax(), layers.Reshape((C,))), None, "classes", None),
        (lambda: model(keras.Sequential([keras.Input((2,)), layers.Dense(C, "softmax")])), None, "classes", None),
        (lambda: logits(C, keras.losses.SparseCategoricalCrossentropy(from_logits=True)), CLASSES, "classes", None),
        (lambda: logits(C), CLASSES, "classes", None),
        (lambda: logits(C), CLASSES[:, None], "classes", None),
        (lambda: logits(C), ONE_HOT, "classes", None),
        (lambda: logits(C), SEVERAL, "multi_label", 0.0),
        (lambda: logits(C), QUANTITIES, "regression", None),
        (lambda: logits(C, keras.losses.Huber()), CLASSES, "regression", None),
        (lambda: logits(C, keras.losses.BinaryCrossentropy(from_logits=True)), SEVERAL, "multi_label", 0.0),
        (lambda: model(layers.Dense(C, "sigmoid")), SEVERAL, "multi_label", 0.5),
        (lambda: model(layers.Dense(C, "sigmoid")), CLASSES, "classes", None),
    ],
)
def test_what_an_output_means(built, y, task, threshold):
    (head,) = heads_of(built(), y).values()
    assert head.task == task
    if threshold is not None:
        assert head.threshold == threshold


def test_the_user_has_the_last_word():
    binary = model(layers.Dense(1, "sigmoid"))
    assert [head.task for head in heads_of(binary, TRUTH, "regression").values()] == ["regression"]
    assert [*heads_of(logits(1), QUANTITIES[:, 0], "binary").values()] == [Head("binary", 0.0)]
    assert [*heads_of(binary, TRUTH, Head("binary", 0.8)).values()] == [Head("binary", 0.8)]
    with pytest.raises(ValueError, match="task='classifier'; expected one of 'classes', 'binary'"):
        heads_of(binary, TRUTH, "classifier")


def test_several_outputs_each_by_its_own():
    """Keras sorts `model.outputs` of a dict by name, and gives predictions in the order in which they were written."""
    inputs = keras.Input((L, 2))
    last = LastStep()(inputs)
    softmax, estimate = layers.Dense(C, "softmax", name="s")(last), layers.Dense(2, name="e")(inputs)
    named = keras.Model(inputs, {"z": softmax, "a": estimate})
    listed = keras.Model(inputs, [softmax, estimate])
    targets = CLASSES, np.random.default_rng(0).normal(size=(B, L, 2))
    expected = ["classes", "regression"]
    for built, names in ((named, ["z", "a"]), (listed, ["s", "e"])):
        for y in (dict(zip(names, targets, strict=True)), list(targets), CLASSES, None):
            heads = heads_of(built, y)
            assert list(heads) == names
            assert [head.task for head in heads.values()] == expected
        built.compile("sgd", {names[1]: "mse", names[0]: "sparse_categorical_crossentropy"})
        assert [head.task for head in heads_of(built).values()] == expected
        outputs = outputs_by_name(built.predict(np.zeros((2, L, 2)), verbose=0), names)
        assert [values.shape for values in outputs.values()] == [(2, C), (2, L, 2)]
        assert heads_of(built, None, {names[1]: "classes"})[names[1]].task == "classes"
    with pytest.raises(ValueError, match=r"Received y for outputs \['q'\]; the model has \['z', 'a'\]"):
        heads_of(named, {"q": CLASSES})
    with pytest.raises(ValueError, match="Received 3 of y; the model has 2 outputs"):
        heads_of(listed, [CLASSES] * 3)


STEPS = np.arange(B * L).reshape(B, L) % C


@pytest.mark.parametrize(
    ("task", "shape", "y", "expected"),
    [
        ("classes", (B, C), CLASSES, CLASSES),
        ("classes", (B, C), CLASSES.astype(float)[:, None], CLASSES),
        ("classes", (B, C), ONE_HOT, CLASSES),
        ("classes", (B, C), 0.9 * ONE_HOT + 0.1 / C, CLASSES),
        ("classes", (B, L, C), STEPS, STEPS),
        ("classes", (B, L, C), STEPS[..., None], STEPS),
        ("classes", (B, L, C), np.eye(C)[STEPS], STEPS),
        ("binary", (B, 1), TRUTH, TRUTH),
        ("binary", (B, 1), TRUTH[:, None].astype(bool), TRUTH),
        ("binary", (B,), TRUTH, TRUTH),
        ("binary", (B, L, 1), STEPS % 2, STEPS % 2),
        ("multi_label", (B, C), SEVERAL, SEVERAL),
        ("regression", (B, 1), QUANTITIES[:, 0], QUANTITIES[:, :1]),
        ("regression", (B, C), QUANTITIES, QUANTITIES),
        ("regression", (B, L, 1), STEPS * 0.5, STEPS[..., None] * 0.5),
    ],
)
def test_targets_of_every_form_become_one(task, shape, y, expected):
    found = Head(task).targets(y, shape, "test")
    np.testing.assert_array_equal(found, expected)
    assert Head(task).decide(np.zeros(shape)).shape == found.shape


@pytest.mark.parametrize(
    ("task", "shape", "y", "error", "message"),
    [
        ("classes", (B, C), CLASSES + 1, ValueError, "classes from 1 to 3; the model knows 3, from 0 to 2"),
        ("classes", (B, C), CLASSES - 1, ValueError, "classes from -1 to 1"),
        ("classes", (B, C), CLASSES + 0.5, ValueError, "no whole numbers, such as 0.5"),
        ("classes", (B, C), [str(c) for c in CLASSES], TypeError, "Number the classes from 0"),
        ("classes", (B, C), CLASSES.astype(object), TypeError, "targets of type object"),
        ("classes", (B, C), np.where(CLASSES > 1, np.nan, 0.0), ValueError, "4 NaN or infinite values"),
        ("classes", (B, C), np.zeros((B, B)), ValueError, r"shape \[12, 12\] for outputs of shape \[12, 3\]"),
        ("classes", (B, C), np.ones((B, C)), ValueError, "sum to 3 to 3; expected a one and zeros"),
        ("classes", (B, L, C), CLASSES, ValueError, r"expected \[12, 6\] or \[12, 6, 1\] or \[12, 6, 3\]"),
        ("binary", (B, 1), 2 * TRUTH - 1, ValueError, "labels from -1 to 1; the model knows 2, from 0 to 1"),
        ("binary", (B, 1), 2 * TRUTH, ValueError, "labels from 0 to 2"),
        ("multi_label", (B, C), CLASSES, ValueError, r"expected \[12, 3\]"),
        ("multi_label", (B, C), QUANTITIES, ValueError, "no whole numbers"),
        ("regression", (B, C), QUANTITIES[:, 0], ValueError, r"expected \[12, 3\]"),
        ("regression", (B, C), QUANTITIES * 1j, TypeError, "targets of type complex128"),
        ("regression", (B, 1), np.full(B, np.inf), ValueError, "12 NaN or infinite values"),
    ],
)
def test_targets_that_do_not_fit_are_refused(task, shape, y, error, message):
    with pytest.raises(error, match=message):
        Head(task).targets(y, shape, "test")


@pytest.mark.parametrize(
    ("built", "y", "message"),
    [
        (lambda: logits(C, "mse"), QUANTITIES[:, :1], r"shape \[12, 1\] for outputs of shape \[12, 3\]"),
        (lambda: model(layers.Dense(C, "softmax"), loss="sparse_categorical_crossentropy"), CLASSES + 1, "from 1 to 3"),
        (lambda: model(layers.Dense(1, "sigmoid"), loss="bce"), TRUTH * 2, "labels from 0 to 2"),
        (lambda: model(layers.Dense(1, "sigmoid"), loss="bce"), TRUTH * 2.0, "labels from 0 to 2"),
        (lambda: model(layers.Dense(C, "softmax"), loss="categorical_crossentropy"), 2 * ONE_HOT, "sum to 2"),
    ],
)
def test_targets_that_a_loss_would_take_for_something_else(built, y, message):
    with pytest.raises(ValueError, match=message):
        check_training_targets(built(), y, "test")


def test_soft_targets_and_losses_of_ones_own_may_train():
    check_training_targets(model(layers.Dense(1, "sigmoid"), loss="bce"), TRUTH * 0.9 + 0.05, "test")
    check_training_targets(model(layers.Dense(C, "sigmoid"), loss="bce"), SEVERAL * 0.9, "test")
    check_training_targets(model(layers.Dense(C, "softmax"), loss="kld"), 0.9 * ONE_HOT + 0.1 / C, "test")
    check_training_targets(logits(C, lambda y, p: 0.0), np.zeros((B, 17)), "test")
    check_training_targets(logits(1, "mse"), QUANTITIES[:, 0], "test")
