"""What our layers refuse inside a call comes as our message alone, without the page that Keras puts around it."""

import keras
import numpy as np
import pytest

from keras_s4 import layers

DATA = np.zeros((2, 6, 3), "float32")


class Subclassed(keras.Model):
    """Builds its layer while it is called."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


REFUSED = {
    "no steps": (lambda: layers.DSS(2), DATA[:, :0], "DSS 'first' got a sequence of length 0"),
    "two axes": (lambda: layers.DSS(2), DATA[0], r"DSS 'first' got input of shape \(6, 3\)"),
    "unstable pole": (
        lambda: layers.DSS(2, pole_initializer=keras.initializers.Constant(0.5)),
        DATA,
        "DSS 'first' got an initial pole with real part 0.5",
    ),
    "odd channels": (layers.GLU, DATA, r"GLU 'first' got input of shape \(2, 6, 3\)"),
    "no time": (layers.LastStep, DATA[0], r"LastStep 'first' got input of shape \(6, 3\)"),
    "rank": (lambda: layers.LowRankDense(4, 9), DATA, "Layer 'first' got rank 9 for its kernel"),
    "rank of a block": (lambda: layers.S4Block(2, value_rank=4), DATA, "Layer 'value' got rank 4"),
    "rank of a recurrent layer": (lambda: layers.LowRankGRU(2, 9, None), DATA, "Layer '.*' got rank 9"),
}


@pytest.mark.parametrize("wrap", [Subclassed, lambda layer: keras.Sequential([layer])])
@pytest.mark.parametrize("name", REFUSED)
def test_message_is_ours_alone(name, wrap):
    make, data, message = REFUSED[name]
    layer = make()
    layer.name = "first"
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        wrap(layer)(data)
    assert "\n" not in str(caught.value)


def test_it_is_ours_alone_in_training():
    model = Subclassed(layers.GLU(name="first"))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^GLU 'first' got input of shape"):
        model.fit(DATA, DATA, verbose=0)
