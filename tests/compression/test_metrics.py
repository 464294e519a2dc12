import keras
import numpy as np
import pytest

from keras_s4.compression.metrics import accuracy_on, metric_on


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


def test_accuracy_refuses_data_that_does_not_fit(task):
    model, x, y = task
    with pytest.raises(ValueError, match=r"inputs for \[200\] examples and 199 labels"):
        accuracy_on(x, y[1:])
    with pytest.raises(ValueError, match=r"labels of shape \(200, 2\) for outputs of shape \(200, 5\)"):
        accuracy_on(x, np.zeros((200, 2)))(model)
