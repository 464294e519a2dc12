"""What step mode can run and export cannot is refused by name, with what to do; the rest by the plan of both."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS
from keras_s4.streaming import STEP_MODE
from keras_s4.streaming.plan import plan_of
from keras_s4.tflite import convert

LENGTH, CHANNELS = 30, 4
DATA = np.random.default_rng(0).normal(size=(4, LENGTH, CHANNELS))


def sequential(*stack):
    return keras.Sequential([keras.Input((LENGTH, CHANNELS)), *stack])


class Unknown(layers.Layer):
    def call(self, inputs):
        return inputs


REFUSALS = {
    "grouped convolution": (lambda: layers.Conv1D(4, 3, groups=2), "groups=2"),
    "permuted features": (lambda: layers.TimeDistributed(layers.Permute((2, 1))), "moves features"),
    "unsupported": (Unknown, r"cannot be exported. Supported: .*add yours"),
    "refused by the plan": (lambda: layers.UpSampling1D(2), "cannot be exported: it makes several outputs"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses(name):
    make, message = REFUSALS[name]
    layer = make()
    stack = [layers.Reshape((-1, 2, 2)), layer] if name == "permuted features" else [layer]
    with pytest.raises(NotImplementedError, match=message) as raised:
        convert(sequential(*stack), DATA)
    assert getattr(layer, "layer", layer).name in str(raised.value)


LATE = {
    "state": (lambda: [layers.Conv1D(3, 3), DSS(2)], r"from step 2 on only. Use padding='causal'"),
    "causal": (lambda: [layers.Conv1D(3, 3), layers.Conv1D(3, 2, padding="causal")], "before would not be zeros"),
    "padding": (
        lambda: [layers.Conv1D(3, 3), layers.ZeroPadding1D((1, 0)), layers.Conv1D(3, 2)],
        "put all padding in front of the first",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_refuses_what_cannot_wait_for_a_late_start(name):
    """Step mode can: its states change only where an input is due."""
    make, message = LATE[name]
    model = sequential(*make())
    plan_of(model, STEP_MODE)
    with pytest.raises(NotImplementedError, match=message):
        convert(model, DATA)


def test_refuses_branches_that_start_at_different_values():
    """4 of 32 samples apart, but in blocks of 4 that is a whole block; in step mode the first waits for the second."""
    x = keras.Input((LENGTH + 1, CHANNELS))
    early, late = layers.Conv1D(3, 4, strides=4)(x), layers.Conv1D(3, 5, strides=4)(x)
    model = keras.Model(x, layers.Add()([early, late]))
    plan_of(model, STEP_MODE)
    with pytest.raises(NotImplementedError, match=r"its inputs start at different values \(0, 1\)"):
        convert(model, np.zeros((2, LENGTH + 1, CHANNELS)))


def test_refuses_weights_that_keras_has_quantised():
    model = sequential(layers.Dense(6, name="mixing"), layers.GRU(3))
    model.quantize("int8")
    with pytest.raises(NotImplementedError, match=r"'mixing'.* quantised its weights \(int8\).* before model.quantize"):
        convert(model, DATA)
