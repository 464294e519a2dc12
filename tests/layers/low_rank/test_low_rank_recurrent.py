"""LowRankGRU, LowRankLSTM and LowRankSimpleRNN against the Keras layers of the same names."""

import inspect
from typing import ClassVar, NamedTuple

import keras
import numpy as np
import pytest
from conformance import LayerConformance, shake

from keras_s4.layers import (
    LowRankGRU,
    LowRankGRUCell,
    LowRankLSTM,
    LowRankLSTMCell,
    LowRankSimpleRNN,
    LowRankSimpleRNNCell,
)

SHAPE = (3, 7, 5)
UNITS = 4

UNUSUAL = {
    "units": 3,
    "rank": 2,
    "recurrent_rank": None,
    "activation": "relu",
    "use_bias": False,
    "kernel_initializer": "he_normal",
    "recurrent_initializer": "glorot_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": "l2",
    "recurrent_regularizer": "l1",
    "bias_regularizer": "l2",
    "activity_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "unit_norm",
    "bias_constraint": "non_neg",
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
    "seed": 7,
    "return_sequences": False,
    "go_backwards": True,
    "zero_output_for_mask": True,
}
# No sequential model takes these: several outputs, a fixed batch, a fixed length.
UNUSUAL_ALONE = {"return_state": True, "stateful": True, "unroll": True}


class RecurrentConformance(LayerConformance):
    keras_class: type
    arguments: ClassVar = {"units": 4, "rank": 3, "recurrent_rank": 2, "return_sequences": True}
    masks = True
    mixed_tolerance = 0.05  # the rounding of a step is carried to the next

    def test_every_argument_of_keras_is_in_the_config(self):
        names = set(inspect.signature(self.keras_class.__init__).parameters) - {"self", "kwargs", "use_cudnn"}
        unusual = {**self.unusual_arguments, **UNUSUAL_ALONE}
        assert names <= set(unusual)
        layer = self.layer_class(**unusual)
        config = layer.get_config()
        assert self.layer_class.from_config(config).get_config() == config
        for name in UNUSUAL_ALONE:
            assert config[name] is True
            assert getattr(layer, name) is True


class TestGRU(RecurrentConformance):
    layer_class = LowRankGRU
    keras_class = keras.layers.GRU
    unusual_arguments: ClassVar = {**UNUSUAL, "recurrent_activation": "hard_sigmoid", "reset_after": False}


class TestLSTM(RecurrentConformance):
    layer_class = LowRankLSTM
    keras_class = keras.layers.LSTM
    unusual_arguments: ClassVar = {**UNUSUAL, "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False}


class TestSimpleRNN(RecurrentConformance):
    layer_class = LowRankSimpleRNN
    keras_class = keras.layers.SimpleRNN
    unusual_arguments: ClassVar = UNUSUAL


class Kind(NamedTuple):
    low_rank: type
    cell: type
    keras: type
    gates: int
    arguments: dict


KINDS = {
    "gru": Kind(LowRankGRU, LowRankGRUCell, keras.layers.GRU, 3, {}),
    "gru_reset_before": Kind(LowRankGRU, LowRankGRUCell, keras.layers.GRU, 3, {"reset_after": False}),
    "lstm": Kind(LowRankLSTM, LowRankLSTMCell, keras.layers.LSTM, 4, {}),
    "simple_rnn": Kind(LowRankSimpleRNN, LowRankSimpleRNNCell, keras.layers.SimpleRNN, 1, {}),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=SHAPE).astype("float32")


MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 1, 1, 0]], bool)


def low_rank_layer(kind, rank, recurrent_rank, **arguments):
    layer = kind.low_rank(UNITS, rank, recurrent_rank, **kind.arguments, **arguments)
    layer.build(SHAPE)
    return shake(layer)


def keras_layer(kind, **arguments):
    layer = kind.keras(UNITS, **kind.arguments, **arguments)
    layer.build(SHAPE)
    return shake(layer, seed=2)


def keras_layer_of_the_products(kind, low_rank, **arguments):
    layer = keras_layer(kind, **arguments)
    for name, matrix in low_rank.matrices().items():
        getattr(layer.cell, name).assign(matrix)
    if low_rank.cell.bias is not None:
        layer.cell.bias.assign(low_rank.cell.bias)
    return layer


def low_rank_layer_of_the_matrices(kind, layer, **arguments):
    """At full rank."""
    low_rank = low_rank_layer(kind, min(SHAPE[-1], kind.gates * UNITS), UNITS, **arguments)
    low_rank.set_matrices(kernel=layer.cell.kernel, recurrent_kernel=layer.cell.recurrent_kernel)
    if layer.cell.bias is not None:
        low_rank.cell.bias.assign(layer.cell.bias)
    return low_rank


def assert_equal(outputs, expected, atol=2e-6):
    """Outputs are of size 1; factoring rounds the matrices in single precision."""
    for value, expected_value in zip(keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(value), keras.ops.convert_to_numpy(expected_value), rtol=0, atol=atol
        )


STATES_TOO = {"return_sequences": True, "return_state": True}


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_equals_keras_at_full_rank(kind, inputs, mask):
    reference = keras_layer(kind, **STATES_TOO)
    layer = low_rank_layer_of_the_matrices(kind, reference, **STATES_TOO)
    assert_equal(layer(inputs, mask=mask), reference(inputs, mask=mask))


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
@pytest.mark.parametrize(("rank", "recurrent_rank"), [(2, 1), (None, 3), (1, None)])
def test_equals_the_keras_layer_of_the_products(kind, inputs, rank, recurrent_rank, mask):
    layer = low_rank_layer(kind, rank, recurrent_rank, **STATES_TOO)
    reference = keras_layer_of_the_products(kind, layer, **STATES_TOO)
    assert_equal(layer(inputs, mask=mask), reference(inputs, mask=mask))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"return_state": True},
        {"go_backwards": True, "return_sequences": True},
        {"unroll": True, "return_sequences": True},
        {"use_bias": False},
        {"activation": None, "recurrent_initializer": "glorot_uniform"},
        {"return_sequences": True, "zero_output_for_mask": True},
    ],
    ids=lambda arguments: "-".join(arguments) or "defaults",
)
def test_equals_keras_with_other_arguments(kind, inputs, arguments):
    layer = low_rank_layer(kind, 2, 3, **arguments)
    reference = keras_layer_of_the_products(kind, layer, **arguments)
    assert_equal(layer(inputs, mask=MASK), reference(inputs, mask=MASK), atol=1e-5)
    assert layer.compute_output_shape(SHAPE) == reference.compute_output_shape(SHAPE)


@pytest.mark.parametrize(
    "dropout", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"dropout": 0.3, "recurrent_dropout": 0.3}]
)
def test_dropout_equals_that_of_keras(kind, inputs, dropout):
    """The same masks, drawn from the same seed and used at the same places."""
    arguments = {"return_sequences": True, "seed": 3, **dropout}
    reference = keras_layer(kind, **arguments)
    layer = low_rank_layer_of_the_matrices(kind, reference, **arguments)
    expected = reference(inputs, training=True)
    assert_equal(layer(inputs, training=True), expected)
    assert np.abs(np.asarray(expected) - np.asarray(reference(inputs))).max() > 0.01


def test_whole_matrices_are_the_weights_of_keras(kind, inputs):
    reference = keras_layer(kind)
    layer = low_rank_layer(kind, None, None)
    assert [weight.name for weight in layer.weights] == [weight.name for weight in reference.weights]
    layer.set_weights(reference.get_weights())
    assert_equal(layer(inputs), reference(inputs))
    np.testing.assert_array_equal(layer.matrices()["kernel"], np.asarray(reference.cell.kernel, np.float64))


def test_gradients_follow_the_chain_rule(kind, inputs):
    """From the gradient G of the product, `G @ right.T` and `left.T @ G`."""
    tensorflow = pytest.importorskip("tensorflow")
    layer = low_rank_layer(kind, 2, 3, return_sequences=True)
    reference = keras_layer_of_the_products(kind, layer, return_sequences=True)

    def gradients(of):
        with tensorflow.GradientTape() as tape:
            loss = keras.ops.sum(keras.ops.square(of(inputs, mask=MASK)))
        values = tape.gradient(loss, [weight.value for weight in of.trainable_weights])
        return {weight.name: np.asarray(value) for weight, value in zip(of.trainable_weights, values, strict=True)}

    actual, full = gradients(layer), gradients(reference)
    for name in ("kernel", "recurrent_kernel"):
        left, right = (np.asarray(getattr(layer.cell, f"{name}_{side}")) for side in ("left", "right"))
        np.testing.assert_allclose(actual[f"{name}_left"], full[name] @ right.T, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(actual[f"{name}_right"], left.T @ full[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actual["bias"], full["bias"], rtol=1e-4, atol=1e-5)


def test_parameters(kind):
    width = kind.gates * UNITS
    layer = low_rank_layer(kind, 2, 3, use_bias=False)
    assert layer.count_params() == 2 * (SHAPE[-1] + width) + 3 * (UNITS + width)
    layer = low_rank_layer(kind, None, 3, use_bias=False)
    assert layer.count_params() == SHAPE[-1] * width + 3 * (UNITS + width)
    assert layer.ranks == {"kernel": None, "recurrent_kernel": 3}
    assert layer.units == UNITS


def test_biases_start_as_those_of_keras(kind):
    arguments = {"bias_initializer": keras.initializers.Constant(0.5), **kind.arguments}
    biases = []
    for layer in (kind.keras(UNITS, **arguments), kind.low_rank(UNITS, 1, 1, **arguments)):
        layer.build(SHAPE)
        biases.append(np.asarray(layer.cell.bias))
    np.testing.assert_array_equal(*biases)


def test_recurrent_factors_start_with_orthogonal_directions(kind):
    """The orthogonal matrix of Keras neither damps nor amplifies the state; its truncation does so nowhere either."""
    layer = kind.low_rank(UNITS, 1, 2, **kind.arguments)
    layer.build(SHAPE)
    values = np.linalg.svd(layer.matrices()["recurrent_kernel"], compute_uv=False)
    np.testing.assert_allclose(values, [1, 1, 0, 0], atol=1e-5)


def test_a_stateful_layer_continues_and_resets(kind, inputs):
    layer = low_rank_layer(kind, 2, 2, stateful=True, return_sequences=True)
    whole = np.asarray(layer(inputs))
    layer.reset_state()
    halves = [np.asarray(layer(part)) for part in (inputs[:, :3], inputs[:, 3:])]
    assert_equal(np.concatenate(halves, axis=1), whole)
    layer.reset_state()
    assert_equal(layer(inputs), whole)


def test_an_initial_state_continues_a_sequence(kind, inputs):
    layer = low_rank_layer(kind, 2, 2, **STATES_TOO)
    whole, *_ = layer(inputs)
    _, *states = layer(inputs[:, :3])
    rest, *_ = layer(inputs[:, 3:], initial_state=states)
    assert_equal(rest, whole[:, 3:])


def test_the_cell_runs_in_keras_rnn(kind, inputs):
    layer = low_rank_layer(kind, 2, 2, return_sequences=True)
    cell = kind.cell.from_config(layer.cell.get_config())
    rnn = keras.layers.RNN(cell, return_sequences=True)
    rnn.build(SHAPE)
    cell.set_weights(layer.cell.get_weights())
    expected = layer(inputs)
    assert_equal(rnn(inputs), expected)

    states = layer.cell.get_initial_state(batch_size=SHAPE[0])
    for step in range(SHAPE[1]):
        outputs, states = layer.cell(inputs[:, step], states)
        assert_equal(outputs, expected[:, step])


def test_cells_can_be_stacked(kind, inputs):
    cells = [kind.cell(UNITS, 2, None, **kind.arguments), kind.cell(3, 1, 2, dropout=0.5, **kind.arguments)]
    outputs = keras.layers.RNN(cells)(inputs, training=True)
    assert outputs.shape == (SHAPE[0], 3)


@pytest.mark.parametrize("cell_class", [LowRankGRUCell, LowRankSimpleRNNCell])
def test_a_single_state_needs_no_list(cell_class):
    cell = cell_class(UNITS, 2, 2)
    step, state = np.ones((3, 5), "float32"), np.ones((3, UNITS), "float32")
    outputs, next_state = cell(step, state)
    listed_outputs, listed_state = cell(step, [state])
    assert_equal([outputs, next_state], [listed_outputs, listed_state[0]])


def test_bidirectional(kind, inputs, tmp_path):
    layer = keras.layers.Bidirectional(kind.low_rank(UNITS, 2, 2, return_sequences=True, **kind.arguments))
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
    shake(layer)
    outputs = np.asarray(model(inputs))
    backward = np.asarray(layer.backward_layer(inputs))[:, ::-1]
    np.testing.assert_array_equal(outputs, np.concatenate([np.asarray(layer.forward_layer(inputs)), backward], axis=-1))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(inputs), outputs)


def test_activity_regularizer(kind, inputs):
    layer = low_rank_layer(kind, 2, 2, activity_regularizer=keras.regularizers.L2(1.0))
    outputs = np.asarray(layer(inputs))
    np.testing.assert_allclose(float(sum(layer.losses)), np.sum(outputs**2) / len(outputs), rtol=1e-5)


@pytest.mark.parametrize("low_rank", [LowRankGRU, LowRankLSTM, LowRankSimpleRNN])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "units"),
        ((4, 0, 1), " rank=0; expected a whole number of at least 1, or None to keep that matrix whole"),
        ((4, 1, -2), "recurrent_rank=-2; expected a whole number of at least 1, or None"),
        ((4, 1, 1.5), r"recurrent_rank=1\.5; expected a whole number"),
    ],
)
def test_refused_arguments(low_rank, arguments, message):
    with pytest.raises(ValueError, match=message):
        low_rank(*arguments)


def test_refused_ranks_beyond_the_smaller_side(kind):
    with pytest.raises(ValueError, match=r"for its kernel of shape \[2, \d+\]; expected at most 2, the smaller side"):
        kind.low_rank(UNITS, 3, 1).build((None, 7, 2))
    with pytest.raises(ValueError, match=r"for its recurrent_kernel of shape \[4, \d+\]; expected at most 4"):
        kind.low_rank(UNITS, 1, 5).build(SHAPE)


def test_refused_inputs(kind):
    with pytest.raises(ValueError, match="expected the last size F to be known"):
        kind.low_rank(UNITS, 1, 1).build((None, 7, None))
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        kind.low_rank(UNITS, 1, 1)(np.zeros((3, 5), "float32"))


def test_refused_unknown_arguments(kind):
    with pytest.raises(ValueError, match=rf"{kind.low_rank.__name__}.*activatoin"):
        kind.low_rank(UNITS, 1, 1, activatoin="tanh")
