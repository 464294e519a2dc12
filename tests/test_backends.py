"""What TensorFlow's AutoGraph does with our code in a user's own `tf.function`: nothing."""

import keras
import numpy as np
import pytest

from keras_s4.dss import convolution
from keras_s4.dss.discretization import ZeroOrderHold
from keras_s4.layers import DSS, DiagonalSSM
from keras_s4.streaming import StreamingModel

SAMPLES = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")


@pytest.fixture
def tensorflow():
    return pytest.importorskip("tensorflow")


def network():
    return keras.Sequential([keras.Input((12, 3)), DSS(2), DiagonalSSM(3, 2), keras.layers.Dense(1)])


@pytest.fixture
def model():
    return network()


def watch(monkeypatch, tensorflow, owner, name):
    """Notes whether AutoGraph is at work where a function of ours is called."""
    found, function = [], getattr(owner, name)

    def watched(*arguments, **named):
        found.append(tensorflow.__internal__.autograph.control_status_ctx().status.name)
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, watched)
    return found


def entries(model):
    """What users call of ours outside of Keras' calls of layers."""
    streaming, (layer, bank, _) = StreamingModel(model), model.layers
    return {
        "StreamingModel.step": lambda x: streaming.step(x[:, 0], streaming.initial_state(2))[0],
        "StreamingModel.chunk": lambda x: streaming.chunk(x, streaming.initial_state(2))[0],
        "StreamingModel.steps": lambda x: streaming.steps(x, streaming.initial_state(2))[0],
        "DSS.step": lambda x: layer.step(x[:, 0], layer.initial_state(2))[0],
        "DSS.chunk": lambda x: layer.chunk(x, layer.initial_state(2))[0],
        "DSS.kernel": lambda x: layer.kernel(12),
        "DSS.modes": lambda x: layer.modes().weights[0],
        "DiagonalSSM.step": lambda x: bank.step(x[:, 0], bank.initial_state(2))[0],
        "DiagonalSSM.modes": lambda x: bank.modes().log_poles[0],
    }


@pytest.mark.parametrize("name", entries(network()))
def test_calls_in_a_function_of_the_user(name, tensorflow, model, monkeypatch):
    entry = entries(model)[name]
    expected = entry(SAMPLES)
    found = watch(monkeypatch, tensorflow, ZeroOrderHold, "log_poles")
    np.testing.assert_allclose(tensorflow.function(entry)(SAMPLES), expected, rtol=1e-5, atol=1e-6)
    assert found and set(found) == {"DISABLED"}


def test_a_compiled_step(tensorflow, model, monkeypatch):
    streaming = StreamingModel(model)
    found = watch(monkeypatch, tensorflow, ZeroOrderHold, "log_poles")
    streaming.compiled_step()(SAMPLES[:, 0], streaming.initial_state(2))
    assert found and set(found) == {"DISABLED"}


def test_gradients_in_a_function_of_the_user(tensorflow, model, monkeypatch):
    found = watch(monkeypatch, tensorflow, convolution, "_sum_over_first")

    @tensorflow.function
    def gradients(inputs):
        with tensorflow.GradientTape() as tape:
            loss = tensorflow.reduce_sum(model(inputs) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    assert len(gradients(SAMPLES)) == len(model.trainable_variables)
    assert found and set(found) == {"DISABLED"}


def test_a_function_of_the_user_is_still_rewritten(tensorflow):
    """The watch tells the difference."""
    watched = []

    @tensorflow.function
    def function(x):
        watched.append(tensorflow.__internal__.autograph.control_status_ctx().status.name)
        return x

    function(SAMPLES)
    assert watched == ["ENABLED"]
