"""Weights of 4 bits: which layers have them, what all engines compute with them, trainings on their grids, refusals."""

import keras
import numpy as np
import pytest

from keras_s4 import quantize_aware
from keras_s4.layers import GLU, LowRankDense, S4Block
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import read_summary
from keras_s4.tflite.lowering.formats import four_bit_layers
from keras_s4.tflite.lowering.rounding import FOUR_BITS, REACHES, choose_reach, round_kernel
from keras_s4.tflite.program import nibbles
from keras_s4.tflite.program.dense_kernel import packed_weights
from keras_s4.tflite.program.tensors import Tensor

# No multiple of 4 or 8; and an odd number that is less than 4.
CHANNELS, RANK = 10, 3


@pytest.fixture(scope="module")
def data():
    return np.cumsum(np.random.default_rng(0).normal(0.0, 0.3, (24, 30, 3)), axis=1).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((30, 3))
    hidden = keras.layers.Dense(CHANNELS, name="encoder")(inputs)
    hidden = S4Block(2, name="block_1")(hidden)
    hidden = S4Block(2, value_rank=RANK, name="block_2")(hidden)
    hidden = keras.layers.GlobalAveragePooling1D(name="pool")(hidden)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(hidden))


@pytest.fixture(scope="module")
def converted(model, data):
    return convert(model, data, weights="int4")


def packed(converted):
    """Names of what has weights of 4 bits."""
    return {tensor.name.removesuffix("/kernel") for tensor in converted.program.tensors() if tensor.type == "int4"}


BLOCKS = {"block_1/value", "block_1/gate", "block_2/value/left", "block_2/value", "block_2/gate"}


def test_all_but_the_first_and_the_last_layer_have_them(converted, model, data):
    assert packed(converted) == BLOCKS
    assert packed(convert(model, data, weights={"block_2": "int4", "block_1": "int8"})) == {
        name for name in BLOCKS if name.startswith("block_2")
    }
    assert not packed(convert(model, data, weights="int8"))


def test_engines_agree_in_every_bit(converted, data):
    results = [converted.predict(data[:6], engine=engine) for engine in ("emulator", "c", "tflm")]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    assert np.std(results[0]) > 0


def test_files_are_smaller_by_what_is_packed(converted, model, data):
    """But for rows that would end inside a byte, which the operator of the file has in 8 bits."""
    types = {tensor.shape: tensor.type for tensor in read_summary(converted.tflite).tensors if tensor.constant_bytes}
    assert types[CHANNELS, CHANNELS] == types[RANK, CHANNELS] == "int4"
    assert types[CHANNELS, RANK] == "int8"
    eight, four = (read_summary(each.tflite).constant_bytes for each in (convert(model, data), converted))
    saved = (3 * CHANNELS**2 + RANK * CHANNELS) // 2
    assert eight - four == saved


def test_c_has_eight_weights_a_word(converted):
    operation = next(op for op in converted.program.operations if op.result.name == "block_2/value/left/product")
    words, weights = packed_weights(operation), operation.weights.data
    assert words.shape == (1, -(-CHANNELS // 8), 4)
    values = (words[..., None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15).astype(np.int8)
    values = np.where(values > 7, values - 16, values).transpose(0, 2, 1, 3).reshape(4, -1)
    np.testing.assert_array_equal(values[:RANK, :CHANNELS], weights)
    assert not values[RANK:].any() and not values[:, CHANNELS:].any()


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_bytes_hold_two_integers(size):
    values = np.random.default_rng(size).integers(-8, 8, size)
    bytes_ = nibbles.pack(values)
    assert bytes_.size == -(-size // 2)
    np.testing.assert_array_equal(nibbles.unpack(bytes_, size), values)
    assert nibbles.pack(np.array([1, -1, 5])).tolist() == [0xF1, 0x05]


def test_the_reach_that_loses_least_is_chosen():
    random = np.random.default_rng(0)
    kernel, bias, inputs = random.normal(size=(24, 6)), np.zeros(6), random.normal(size=(500, 24))
    kernel[0, 0] = 6.0  # beside which all others would be next to nothing

    def error(reach):
        scale = FOUR_BITS._replace(reach=reach).scale(kernel)
        integers, offsets = round_kernel(kernel, bias, inputs, scale, 7)
        assert np.abs(integers).max() <= 7
        return np.mean((inputs @ (integers * scale) + offsets - inputs @ kernel) ** 2)

    chosen = choose_reach(kernel, bias, inputs, FOUR_BITS)
    assert chosen < 1.0
    assert error(chosen) == min(map(error, REACHES))


@pytest.fixture(scope="module")
def aware(model, data):
    """The model after two steps of training on the grids."""
    aware = quantize_aware(model, data, weights="int4")
    aware.compile(keras.optimizers.Adam(3e-3), "mse", run_eagerly=True)
    aware.fit(data, np.zeros((len(data), 4)), batch_size=12, epochs=1, verbose=0)
    return aware


class TestTraining:
    def test_twins_have_the_grids_of_what_is_packed(self, aware):
        kernels = {
            path: layer.kernels for path, layer in layers_by_path(aware).items() if getattr(layer, "kernels", {})
        }
        assert kernels.keys() == {"block_1/value", "block_1/gate", "block_2/value", "block_2/gate"}
        assert kernels["block_2/value"].keys() == {"left/kernel", "kernel"}
        assert all(largest == 7 and reach in REACHES for each in kernels.values() for largest, reach in each.values())

    def test_device_computes_what_was_trained(self, aware, model, data):
        converted = convert(aware, data)
        assert packed(converted) == BLOCKS
        device = converted.dequantize(Emulator(converted.program).run(converted.quantize(data)))[:, -1]
        simulated, before = aware.predict(data, verbose=0), model.predict(data, verbose=0)
        error = np.sqrt(np.mean((device - simulated) ** 2))
        assert error < 0.02 * np.std(simulated) and error < 0.1 * np.sqrt(np.mean((device - before) ** 2))
        twin = layers_by_path(aware)["block_1/gate"]
        (largest, reach), kernel = twin.kernels["kernel"], keras.ops.convert_to_numpy(twin.kernel)
        scale = reach * np.abs(kernel).max() / largest
        integers = next(t.data for t in converted.program.tensors() if t.name == "block_1/gate/kernel")
        np.testing.assert_array_equal(integers, np.clip(np.rint(kernel.T / scale), -7, 7))
        np.testing.assert_allclose(twin.kernel_grid(kernel), integers.T * scale, rtol=0, atol=1e-5)

    def test_saved_model_is_the_same(self, aware, data, tmp_path):
        aware.save(tmp_path / "aware.keras")
        loaded = keras.saving.load_model(tmp_path / "aware.keras")
        assert convert(loaded, data).tflite == convert(aware, data, weights="int4").tflite

    def test_other_weights_are_refused(self, aware, data):
        with pytest.raises(ValueError, match="was trained for int4 weights; leave weights out"):
            convert(aware, data, weights="int8")


def test_layers_between_others_are_found_wherever_they_are():
    """In nested models and wrappers; of branches, the layers that one path makes the first or the last."""
    inner = keras.Sequential(
        [keras.Input((8, 6)), keras.layers.Dense(6, name="a"), GLU(), LowRankDense(6, 1, name="b")]
    )
    inputs = keras.Input((8, 3))
    first = keras.layers.Dense(6, name="first")(inputs)
    hidden = keras.layers.TimeDistributed(keras.layers.Dense(6, name="inside"), name="each")(first)
    hidden = keras.Sequential([keras.layers.Dense(6, name="nested")], name="outer")(hidden)
    hidden = keras.layers.Add(name="sum")([hidden, first])
    model = keras.Model(inputs, [keras.layers.Dense(2, name="head")(hidden), keras.layers.Dense(2, name="tail")(first)])
    assert four_bit_layers(model, "int4") == ["each/inside", "outer/nested"]
    assert four_bit_layers(inner, "int4") == []
    assert four_bit_layers(model, None) == four_bit_layers(model, "int8") == []


@pytest.mark.parametrize(
    ("weights", "arguments", "message"),
    [
        ("int2", {}, "expected 'int4' or 'int8'"),
        (4, {}, "expected 'int4' or 'int8'"),
        ({"block_1": "int16"}, {}, "expected 'int4' or 'int8'"),
        ({"block": "int4"}, {}, "has not; it has encoder, block_1"),
        ({"pool": "int4"}, {}, "'pool', which have no product of int8"),
        ({"encoder": "int4"}, {}, "'encoder', which have no product of int8"),
        ({"block_1": "int4"}, {"activations": "int16"}, "'block_1', which have no product of int8"),
        ("int4", {"activations": "int16"}, "no layer of model .* would have them"),
    ],
)
def test_refusals(model, data, weights, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(model, data, weights=weights, **arguments)


def test_models_without_an_inner_matrix_are_refused(data):
    model = keras.Sequential([keras.Input((30, 3)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="its first and last layers stay int8"):
        convert(model, data, weights="int4")
    with pytest.raises(ValueError, match="no layer of model"):
        quantize_aware(model, data, weights="int4")


def test_tensors_of_4_bits_are_small_constants():
    with pytest.raises(ValueError, match="constant from -7 to 7"):
        Tensor("x", (2,), "int4", data=np.array([0, -8], np.int8))
    with pytest.raises(ValueError, match="constant from -7 to 7"):
        Tensor("x", (2,), "int4")


def test_convolutions_of_int8_have_them_too():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((12,), dtype="int32")
    hidden = layers.Conv1D(6, 3, padding="causal", name="conv")(layers.Embedding(9, 8)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    tokens = np.random.default_rng(0).integers(0, 9, (8, 12))
    converted = convert(model, tokens, weights="int4")
    assert packed(converted) == {"conv"}
    expected = converted.predict(tokens[:4], engine="emulator")
    np.testing.assert_array_equal(converted.predict(tokens[:4], engine="c"), expected)
    np.testing.assert_array_equal(converted.predict(tokens[:4], engine="tflm"), expected)
