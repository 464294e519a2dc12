"""Layers that are built inside a call of a subclassed model or of another layer, which Keras traces first."""

import backends
import keras
import numpy as np
import pytest

from keras_s4 import layers

DATA = np.random.default_rng(0).normal(size=(8, 12, 4)).astype("float32")
TARGETS = np.tanh(DATA)
RANGES = {"product": (0.05, 3), "output": (0.05, 3)}

BUILDERS = {
    "DSS": lambda: layers.DSS(3),
    "DSS, clip, own poles": lambda: layers.DSS(3, kernel="clip", per_channel_poles=True, separate_time_steps=True),
    "DSS, softmax": lambda: layers.DSS(3, kernel="softmax", pole_initializer="random"),
    "DSS, bidirectional": lambda: layers.DSS(3, bidirectional=True),
    "S4Block": lambda: layers.S4Block(3, dropout=0.1),
    "S4Block of low rank": lambda: layers.S4Block(3, value_rank=2, gate_rank=1),
    "DSSCell": lambda: keras.layers.RNN(layers.DSSCell(layers.DSS(3), 4), return_sequences=True),
    "TimeDistributed": lambda: keras.layers.TimeDistributed(layers.LowRankDense(4, 2)),
    "LowRankDense": lambda: layers.LowRankDense(4, 2),
    "LowRankConv1D": lambda: layers.LowRankConv1D(4, 3, 2, padding="causal"),
    "LowRankGRU": lambda: layers.LowRankGRU(4, 2, 2, return_sequences=True),
    "LowRankLSTM": lambda: layers.LowRankLSTM(4, 2, None, return_sequences=True),
}
ON_TENSORFLOW = {
    "SnappedDSS": lambda: layers.quantized.SnappedDSS(3, ranges={"output": RANGES["output"]}),
    "SnappedDiagonalSSM": lambda: layers.quantized.SnappedDiagonalSSM(4, 3),
    "QuantizedDense": lambda: layers.quantized.QuantizedDense(4, activation="tanh", ranges=RANGES),
    "QuantizedLowRankDense": lambda: layers.quantized.QuantizedLowRankDense(4, 2, ranges=RANGES),
    "S4Block of twins": lambda: layers.S4Block(
        3, sublayers={"value": layers.quantized.QuantizedDense(4, ranges={"product": (0.05, 3)})}
    ),
}


class Around(keras.layers.Layer):
    """A layer of a user, which makes ours in its `__init__` and leaves it to Keras to build it."""

    def __init__(self, make):
        super().__init__()
        self.inner = make()

    def call(self, inputs):
        return self.inner(inputs)


class Subclassed(keras.Model):
    def __init__(self, make):
        super().__init__()
        self.around, self.head = Around(make), keras.layers.Dense(4)

    def call(self, inputs):
        return self.head(self.around(inputs))


def deferred(make):
    return keras.Sequential([make(), keras.layers.Dense(4)])


def check_training(make_model, make_layer, **how):
    """Trained, it learns; and it goes on when it is called, and saved weights give the same numbers."""
    keras.utils.set_random_seed(0)
    model = make_model(make_layer)
    model.compile(keras.optimizers.Adam(0.01), "mse", **how)
    losses = model.fit(DATA, TARGETS, epochs=3, batch_size=8, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0]
    np.testing.assert_allclose(model.predict(DATA, verbose=0), model(DATA), rtol=1e-4, atol=1e-5)


BY_NAME = BUILDERS | ON_TENSORFLOW


@pytest.mark.parametrize(
    ("make_model", "name"),
    [
        (Subclassed, "DSS, clip, own poles"),
        (Subclassed, "LowRankLSTM"),
        (Subclassed, "S4Block of twins"),
        (deferred, "LowRankGRU"),
        (deferred, "S4Block"),
    ],
)
def test_trains(make_model, name):
    check_training(make_model, BY_NAME[name], jit_compile=False)


@pytest.mark.parametrize(
    ("name", "how"), [("DSS, softmax", {"jit_compile": True}), ("S4Block of low rank", {"run_eagerly": True})]
)
def test_trains_in_a_subclassed_model_eagerly_and_under_xla(name, how):
    check_training(Subclassed, BY_NAME[name], **how)


@pytest.mark.parametrize("name", BY_NAME)
def test_is_built_by_a_call_in_a_traced_function(name):
    """What it keeps of the graph that it was built in would fail outside."""
    tensorflow = pytest.importorskip("tensorflow")
    model = Subclassed(BY_NAME[name])
    traced = tensorflow.function(lambda inputs: model(inputs))(DATA)
    np.testing.assert_allclose(traced, model(DATA), rtol=1e-4, atol=1e-5)


class Counting(keras.initializers.Initializer):
    """Never draws the same twice."""

    def __init__(self):
        self.drawn = 0

    def __call__(self, shape, dtype=None):
        self.drawn += 1
        return keras.ops.full(shape, -float(self.drawn), dtype)

    def get_config(self):
        return {}


@pytest.mark.parametrize("wrap", [lambda layer: layer, lambda layer: Subclassed(lambda: layer)])
def test_all_weights_of_a_layer_come_from_one_draw(wrap):
    initializer = Counting()
    layer = layers.DSS(3, pole_initializer=initializer)
    model = wrap(layer)
    model(DATA)
    assert initializer.drawn == 1
    np.testing.assert_allclose(layer.log_decay, np.log(np.full(3, 1.0)))
    np.testing.assert_allclose(layer.frequency, np.full(3, -1.0))


def test_factors_come_from_one_draw():
    dense = layers.LowRankDense(
        4, 4, kernel_initializer=keras.initializers.RandomNormal(seed=keras.random.SeedGenerator(3))
    )
    dense(DATA)
    again = keras.initializers.RandomNormal(seed=keras.random.SeedGenerator(3))((4, 4), "float32")
    np.testing.assert_allclose(dense.matrices()["kernel"], again, atol=1e-6)


def test_unstable_poles_are_refused_while_traced():
    unstable = keras.initializers.Constant(0.5)
    model = deferred(lambda: layers.DSS(3, name="first", pole_initializer=unstable))
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"DSS 'first' got an initial pole with real part 0.5"):
        model.fit(DATA, TARGETS, verbose=0)


def test_all_this_works_on_jax(request):
    backends.backend_process(request.config, "jax").evaluate(check_on_jax)


def check_on_jax():
    """In the process with JAX."""
    assert keras.backend.backend() == "jax"
    check_training(Subclassed, BUILDERS["DSS, softmax"])
    for make_model, name in (
        (Subclassed, "S4Block of low rank"),
        (Subclassed, "DSSCell"),
        (Subclassed, "LowRankGRU"),
        (deferred, "DSS"),
    ):
        model = make_model(BUILDERS[name])
        model(keras.Input(DATA.shape[1:]))  # as `fit` builds it; what is kept of the trace fails afterwards
        assert np.all(np.isfinite(model(DATA)))
    test_all_weights_of_a_layer_come_from_one_draw(lambda layer: Subclassed(lambda: layer))
