"""Models with thinner matrices, against Keras' own layers with matrices truncated by numpy."""

import keras
import numpy as np
import pytest
from conformance import shake

import keras_s4
from keras_s4.compression.parts import parts_of
from keras_s4.layers import LowRankConv1D, LowRankDense, LowRankGRU, LowRankLSTM, LowRankSimpleRNN, S4Block
from keras_s4.streaming import StreamingModel
from keras_s4.surgery.cloning import layer_at

RANKS = {
    "conv/kernel": 2,
    "strided/kernel": 3,
    "gru/kernel": 4,
    "gru/recurrent_kernel": 2,
    "block/value/kernel": 3,
    "block/gate/kernel": 1,
    "lstm/kernel": 3,
    "lstm/recurrent_kernel": 4,
    "rnn/kernel": 2,
    "rnn/recurrent_kernel": 1,
    "dense/kernel": 3,
}
LOW_RANK = {
    "conv": LowRankConv1D,
    "strided": LowRankConv1D,
    "gru": LowRankGRU,
    "lstm": LowRankLSTM,
    "rnn": LowRankSimpleRNN,
    "dense": LowRankDense,
}


def outputs_of(model, inputs):
    """Not by `predict`, which compiles each model for seconds."""
    return keras.ops.convert_to_numpy(model(inputs))


@pytest.fixture(scope="module")
def reduced(mixture):
    return keras_s4.reduce(mixture, RANKS)


@pytest.fixture(scope="module")
def expected(mixture, sequences):
    """Outputs of Keras' own layers with the truncated matrices, and those of the model as it was."""
    copy = keras.models.clone_model(mixture)
    copy.set_weights(mixture.get_weights())
    for name, rank in RANKS.items():
        layer_name, _, matrix_name = name.rpartition("/")
        weight = getattr(getattr(layer_at(copy, layer_name), "cell", layer_at(copy, layer_name)), matrix_name)
        matrix = np.asarray(weight, float)
        left, values, right = np.linalg.svd(matrix.reshape(-1, matrix.shape[-1]))
        weight.assign(((left[:, :rank] * values[:rank]) @ right[:rank]).reshape(matrix.shape))
    return [outputs_of(model, sequences) for model in (copy, mixture)]


def test_every_matrix_is_truncated_as_numpy_does_it(reduced, sequences, expected):
    truncated, whole = expected
    assert np.abs(truncated - whole).max() > 0.1 * np.abs(whole).max(), "the truncation must be felt"
    outputs = outputs_of(reduced, sequences)
    np.testing.assert_allclose(outputs, truncated, rtol=0, atol=1e-5 * np.abs(truncated).max())


def test_each_matrix_has_its_rank_and_its_bytes(mixture, reduced):
    for name, rank in RANKS.items():
        layer_name, _, matrix_name = name.rpartition("/")
        layer = layer_at(reduced, layer_name)
        matrix = layer.matrices()[matrix_name]
        assert (layer.ranks[matrix_name], np.linalg.matrix_rank(matrix, 1e-5)) == (rank, rank)
    saved = sum(
        part.cost(part.max_rank).flash - part.cost(RANKS[name]).flash for name, part in matrices(mixture).items()
    )
    # A block whose states stay has as many weights beside its matrices as before.
    assert mixture.count_params() - reduced.count_params() == saved


def matrices(model):
    return {name: part for name, part in parts_of(model, "matrix").items() if name in RANKS}


def test_layers_keep_names_arguments_and_biases(mixture, reduced):
    assert [layer.name for layer in reduced.layers] == [layer.name for layer in mixture.layers]
    for old, new in zip(mixture.layers, reduced.layers, strict=True):
        assert type(new) is LOW_RANK.get(old.name, type(old))
        before, after = old.get_config(), new.get_config()
        for key in before.keys() & after.keys() - {"dss", "value_rank", "gate_rank"}:
            assert before[key] == after[key], f"{old.name}: {key}"
        assert before.keys() - after.keys() <= {"groups", "quantization_config"}
        if new.name in LOW_RANK:
            one, other = (getattr(getattr(layer, "cell", layer), "bias", None) for layer in (old, new))
            assert (one is None) == (other is None)
            assert one is None or np.array_equal(one, other)


def test_full_ranks_leave_every_layer_as_it_is(mixture, sequences):
    same = keras_s4.reduce(mixture, {name: part.max_rank for name, part in parts_of(mixture, "matrix").items()})
    assert [type(layer) for layer in same.layers] == [type(layer) for layer in mixture.layers]
    np.testing.assert_array_equal(outputs_of(same, sequences), outputs_of(mixture, sequences))


def test_states_and_matrices_go_in_one_call(mixture, sequences):
    both = keras_s4.reduce(mixture, {"block/dss": 2, "block/gate/kernel": 2, "rnn/kernel": 2})
    block = both.get_layer("block")
    assert (block.dss.state_size, block.value_rank, block.gate_rank) == (2, None, 2)
    states = keras_s4.reduce(mixture, {"block/dss": 2})
    alone = keras_s4.reduce(states, {"block/gate/kernel": 2, "rnn/kernel": 2})
    np.testing.assert_allclose(outputs_of(both, sequences), outputs_of(alone, sequences), atol=1e-5)


def test_saved_and_loaded(reduced, sequences, tmp_path):
    reduced.save(tmp_path / "reduced.keras")
    loaded = keras.saving.load_model(tmp_path / "reduced.keras")
    np.testing.assert_array_equal(outputs_of(loaded, sequences), outputs_of(reduced, sequences))
    assert matrices(loaded).keys() == {name for name in RANKS if RANKS[name] > 1}


def test_trains_on_under_jit(sequences):
    """Without recurrent layers, whose compilation takes minutes; their conformance tests train them."""
    layers = [keras.layers.Conv1D(8, 3, name="conv"), S4Block(3, name="block"), keras.layers.Dense(6, name="dense")]
    model = shake(keras.Sequential([keras.Input((12, 5)), *layers]))
    model.compile("adam", "mse", jit_compile=True)
    targets = outputs_of(model, sequences)
    reduced = keras_s4.reduce(model, {name: 2 for name in parts_of(model, ["states", "matrix"])})
    assert (reduced.compiled, reduced.jit_compile) == (True, True)
    losses = [reduced.train_on_batch(sequences, targets) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert {name: part.max_rank for name, part in parts_of(reduced, "matrix").items()} == {
        "conv/kernel": 2,
        "block/value/kernel": 2,
        "block/gate/kernel": 2,
        "dense/kernel": 2,
    }


def test_low_ranks_can_be_lowered_further(reduced):
    again = keras_s4.reduce(reduced, {"gru/kernel": 2, "block/value/kernel": 1, "conv/kernel": 1})
    assert again.get_layer("gru").ranks == {"kernel": 2, "recurrent_kernel": 2}
    assert (again.get_layer("block").value_rank, again.get_layer("conv").rank) == (1, 1)
    before, after = (np.linalg.svd(m.get_layer("gru").cell.matrices()["kernel"])[1] for m in (reduced, again))
    np.testing.assert_allclose(after[:2], before[:2], rtol=1e-5)
    np.testing.assert_array_equal(again.get_layer("lstm").cell.kernel_left, reduced.get_layer("lstm").cell.kernel_left)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_data_makes_the_outputs_better(sequences, rank):
    """On inputs of few strong directions, in the first layer, where nothing else comes before the outputs."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, name="dense"), keras.layers.Conv1D(8, 2, name="conv")]
    for layer in layers:
        model = shake(keras.Sequential([keras.Input((12, 5)), layer]))
        ranks = {f"{layer.name}/kernel": rank}
        outputs = outputs_of(model, sequences)
        blind, aware = (
            np.mean((outputs_of(keras_s4.reduce(model, ranks, data=data), sequences) - outputs) ** 2)
            for data in (None, sequences)
        )
        assert aware < 0.95 * blind


def test_a_whole_number_is_for_the_matrices_of_a_model_without_states():
    model = keras.Sequential(
        [keras.Input((12, 5)), keras.layers.GRU(8, name="gru"), keras.layers.Dense(8, name="head")]
    )
    reduced = keras_s4.reduce(model, 3)
    assert reduced.get_layer("gru").ranks == {"kernel": 3, "recurrent_kernel": 3}
    assert reduced.get_layer("head").rank == 3


@pytest.mark.parametrize("method", ["finite_horizon", "singular_perturbation", "input_weighted"])
def test_other_methods_reduce_the_states(method):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((40, 3)), S4Block(6, name="block")])
    data = np.random.default_rng(0).normal(size=(8, 40, 3)).cumsum(axis=1)
    data = data if method == "input_weighted" else None
    part = parts_of(model, data=data)["block/dss"]
    expected = part.truncate(3, method).system.impulse_response(40)
    received = keras_s4.reduce(model, 3, method, data=data).get_layer("block").dss.system().impulse_response(40)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    balanced = part.truncate(3).system.impulse_response(40)
    assert np.abs(balanced - expected).max() > 1e-3 * np.abs(expected).max()


def test_reduced_models_stream(trained_classifier):
    ranks = {"block_1/value/kernel": 2, "block_1/gate/kernel": 1, "block_2/gate/kernel": 3, "head/kernel": 2}
    reduced = keras_s4.reduce(trained_classifier, {**ranks, "block_1/dss": 3, "encoder/kernel": 1})
    samples = np.random.default_rng(0).normal(size=(3, 40, 3)).astype("float32")
    stream = StreamingModel(reduced)
    state = stream.initial_state(3)
    for sample in samples.transpose(1, 0, 2):
        output, state = stream.step(sample, state)
    np.testing.assert_allclose(output, outputs_of(reduced, samples), rtol=0, atol=1e-5)
    chunked, _ = stream.chunk(samples, stream.initial_state(3))
    np.testing.assert_allclose(chunked[:, -1], output, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "input_weighted"}, r"'input_weighted' needs the power_spectrum of part 'block_1/dss'.*give data="),
        ({"method": "guess"}, "guess"),
        ({"data": np.zeros((4, 40, 2))}, r"takes data of shape \[B, 40, 3\], but got \[4, 40, 2\]"),
    ],
)
def test_refusals(trained_classifier, arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_s4.reduce(trained_classifier, 2, **arguments)


def test_a_horizon_that_is_not_known_is_asked_for():
    model = keras.Sequential([keras.Input((None, 3)), S4Block(4)])
    with pytest.raises(ValueError, match=r"needs the horizon of part .*give horizon=\.\.\. in steps"):
        keras_s4.reduce(model, 2, "finite_horizon")
    assert keras_s4.reduce(model, 2, "finite_horizon", horizon=20).layers[0].dss.state_size == 2


def test_reduced_matrices_are_exported(trained_classifier):
    samples = np.random.default_rng(0).normal(size=(16, 40, 3)).astype("float32")
    whole, thin = keras_s4.reduce(trained_classifier, 2), {"block_1/gate/kernel": 2, "head/kernel": 2}
    model = keras_s4.reduce(whole, thin)
    converted = keras_s4.tflite.convert(model, samples)
    found = converted.verify(model, samples, np.zeros(16, int))
    assert found.bit_exact
    assert found.agreement["tflm"] >= 0.8
    before, after = (keras_s4.tflite.measure(reduced, samples) for reduced in (whole, model))
    assert after["multiply_accumulates"] == before["multiply_accumulates"] - (8 * 8 - 2 * 16) - (8 * 4 - 2 * 12)
