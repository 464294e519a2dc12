import keras
import numpy as np
import pytest

import keras_s4
from keras_s4 import quantize_aware
from keras_s4.layers.quantized import QuantizedDense, SnappedDiagonalSSM, SnappedDSS
from keras_s4.streaming import StreamingModel
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering import delta_form
from keras_s4.tflite.program.operations import ModalStep


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return np.cumsum(random.normal(0.0, 0.3, (48, 40, 3)), axis=1).astype("float32"), random.integers(0, 4, 48)


@pytest.fixture(scope="module")
def trained(data):
    """A small classifier with low-rank mixing in one block, trained for a moment."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((40, 3))
    hidden = keras.layers.Dense(6, name="encoder")(inputs)
    hidden = keras_s4.layers.S4Block(4, name="block_1")(hidden)
    hidden = keras_s4.layers.S4Block(4, value_rank=3, name="block_2")(hidden)
    hidden = keras.layers.GlobalAveragePooling1D(name="pool")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax", name="head")(hidden))
    # Eager, as its twin then is: four steps last shorter than a graph takes to trace.
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    model.fit(*data, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def aware(trained, data):
    """The same model, trained on the exporter's grids for a moment."""
    model = quantize_aware(trained, data[0])
    model.fit(*data, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def exported(aware, data):
    return convert(aware, data[0])


def outputs_of_the_device(converted, x):
    """What the integer program computes at the end of each sequence."""
    return converted.dequantize(Emulator(converted.program).run(converted.quantize(x)))[:, -1]


def test_twins_compute_what_the_device_computes(trained, data):
    """Nearer to the integers than the float model, by far: what is left is 16-bit rounding."""
    x = data[0]
    twin = quantize_aware(trained, x)
    device = outputs_of_the_device(convert(twin, x), x)
    error = np.sqrt(np.mean((twin.predict(x, verbose=0) - device) ** 2))
    assert error < 0.4 * np.sqrt(np.mean((trained.predict(x, verbose=0) - device) ** 2))


@pytest.mark.parametrize(
    "form",
    [{"normalization": "layer", "post_norm": True}, {"normalization": "rms", "gate": "channel"}, {"mix": None}],
    ids=str,
)
def test_blocks_of_other_forms_are_trained_on_the_grids_of_the_device(form, data):
    x = data[0]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((40, 3))
    hidden = keras_s4.layers.S4Block(4, **form, name="block")(keras.layers.Dense(6, name="encoder")(inputs))
    hidden = keras.layers.GlobalAveragePooling1D(name="pool")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax", name="head")(hidden))
    twin = quantize_aware(model, x)
    assert isinstance(layers_by_path(twin)["block/dss"], SnappedDSS)
    device = outputs_of_the_device(convert(twin, x), x)
    errors = [np.sqrt(np.mean((each.predict(x, verbose=0) - device) ** 2)) for each in (twin, model)]
    assert errors[0] < 0.7 * errors[1]


def test_shared_modes_are_trained_on_the_grids_of_the_device(data):
    """What drives the modes is rounded to the integers that the device has."""
    x = data[0]
    keras.utils.set_random_seed(0)
    hidden = keras_s4.layers.DiagonalSSM(5, 4, name="ssm")(inputs := keras.Input((40, 3)))
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(keras_s4.layers.LastStep()(hidden)))
    twin = quantize_aware(model, x)
    layer = twin.get_layer("ssm")
    assert isinstance(layer, SnappedDiagonalSSM)
    modes, system = layer.modes(), layer.system()
    for tensors, exact in ((modes.inputs, system.inputs), ((modes.feedthrough, None), system.feedthrough)):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(tensors[0]), exact.real, atol=1e-6)
    program = convert(twin, x).program
    step = next(each for each in program.operations if isinstance(each, ModalStep))
    drive = next(each for each in program.operations if each.result is step.input)
    poles = 1.0 + (step.decay.data + 1j * step.rotation.data) * 2.0**-15
    order = np.abs(poles[:, None] - system.poles).argmin(axis=1)
    np.testing.assert_allclose(poles, system.poles[order], rtol=0, atol=1e-12)
    rows = np.stack([system.inputs.real, system.inputs.imag])[:, order]
    units = np.abs(rows).max(axis=(0, 2))[:, None] / 127.0
    np.testing.assert_allclose(drive.weights.data.reshape(rows.shape), rows / units, atol=1e-3)


def test_device_computes_what_was_trained(aware, exported, data):
    x = data[0]
    simulated, device = aware.predict(x, verbose=0), outputs_of_the_device(exported, x)
    centred = [np.log(values) - np.log(values).mean(axis=1, keepdims=True) for values in (simulated, device)]
    assert np.sum(centred[0] ** 2) > 1_000.0 * np.sum((centred[0] - centred[1]) ** 2)  # 30 dB


def test_export_keeps_the_trained_ranges(aware, data):
    # Other data than the training's would choose other ranges.
    program = convert(aware, 0.5 * data[0][:5]).program
    tensors = {tensor.name: (tensor.scale, tensor.zero_point) for tensor in program.tensors() if tensor.data is None}
    ranges = {
        f"{path}/{point}": value
        for path, layer in layers_by_path(aware).items()
        for point, value in getattr(layer, "ranges", {}).items()
    }
    assert {"block_1/dss/output", "block_2/value/left/product", "block_1/gate/output"} <= set(ranges)
    assert {name: tensors[name] for name in ranges} == ranges


def test_poles_of_a_twin_are_on_the_grid(aware):
    poles = aware.get_layer("block_1").dss.system().poles
    np.testing.assert_allclose(poles, delta_form.snapped_poles(*delta_form.snap_poles(poles)), rtol=0, atol=1e-12)
    steps = (poles - 1.0) / delta_form.POLE_SCALE
    np.testing.assert_allclose(steps, np.rint(steps.real) + 1j * np.rint(steps.imag), rtol=0, atol=1e-6)


def test_all_weights_carry_over_and_training_changes_them(trained, aware, data):
    fresh = quantize_aware(trained, data[0])
    for name in ("encoder", "head"):
        np.testing.assert_array_equal(fresh.get_layer(name).kernel, trained.get_layer(name).kernel)
    block, original = fresh.get_layer("block_2"), trained.get_layer("block_2")
    np.testing.assert_array_equal(block.value.kernel_left, original.value.kernel_left)
    np.testing.assert_array_equal(block.dss.residues, original.dss.residues)
    np.testing.assert_array_equal(block.normalization.moving_variance, original.normalization.moving_variance)
    assert not np.array_equal(aware.get_layer("block_2").dss.residues, original.dss.residues)


def test_saved_model_is_the_same(aware, exported, data, tmp_path):
    aware.save(tmp_path / "aware.keras")
    loaded = keras.saving.load_model(tmp_path / "aware.keras")
    assert isinstance(loaded.get_layer("block_1").dss, SnappedDSS)
    assert isinstance(loaded.get_layer("head"), QuantizedDense)
    np.testing.assert_array_equal(loaded.predict(data[0], verbose=0), aware.predict(data[0], verbose=0))
    assert convert(loaded, data[0]).tflite == exported.tflite


def test_stream_of_an_aware_model_is_the_model(aware, data):
    """But for values at the edge between two integers, which float32 may round apart in two ways to compute them."""
    streamed = keras.ops.convert_to_numpy(StreamingModel(aware, 40)(data[0]))[:, -1]
    difference = np.abs(streamed - aware.predict(data[0], verbose=0))
    assert np.median(difference) < 1e-6 and difference.max() < 0.02


def test_refusals(aware, data):
    with pytest.raises(ValueError, match="quantisation-aware already; train it with fit"):
        quantize_aware(aware, data[0])
    attention = keras.Sequential([keras.Input((10, 4)), keras.layers.UpSampling1D(2)])
    with pytest.raises(NotImplementedError, match="UpSampling1D"):
        quantize_aware(attention, np.zeros((2, 10, 4)))


def test_lora_is_merged_into_the_kernels_that_are_trained():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, name="wide"), keras_s4.layers.S4Block(3, name="block"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((10, 3)), *layers])
    data = np.random.default_rng(0).normal(size=(8, 10, 3)).astype("float32")
    for layer in (layers[0], layers[1].value):
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.random.default_rng(1).normal(size=layer.lora_kernel_b.shape))
    aware = keras_s4.quantize_aware(model, data)
    expected = model.predict(data, verbose=0)
    assert np.abs(aware.predict(data, verbose=0) - expected).max() < 0.1 * np.abs(expected).max()
    for twin in (aware.get_layer("wide"), aware.get_layer("block").value):
        assert not twin.lora_enabled and twin.kernel.trainable
    # Under XLA a step gives the same loss as eagerly, and it reaches the kernels.
    loss, before = np.mean(np.square(aware.predict(data, verbose=0))), twin.kernel.numpy()
    aware.compile("adam", "mse", jit_compile=True)
    assert aware.train_on_batch(data, np.zeros((8, 10, 2))) == pytest.approx(loss, rel=0.05)
    assert not np.array_equal(twin.kernel, before)


@pytest.mark.parametrize("spread, mean", [([1.0, 1e5], [0.0, 0.0]), ([300.0, 300.0], [1e5, 1e5])])
def test_raw_features_of_different_units_are_refused(spread, mean):
    """A Dense layer that has learned their units; with a Normalization in front of it the twins are near."""
    x = np.asarray(mean) + np.random.default_rng(0).normal(size=(20, 12, 2)) * spread
    kernel = np.random.default_rng(1).normal(size=(2, 4))
    keras.utils.set_random_seed(0)
    raw = keras.Sequential([keras.Input((12, 2)), keras.layers.Dense(4, activation="tanh"), keras.layers.GRU(3)])
    raw.layers[0].set_weights([kernel / np.array(spread)[:, None], -(np.array(mean) / spread) @ kernel])
    with pytest.raises(ValueError, match=r"layer 'dense.*' reads features of different units.*Normalization"):
        quantize_aware(raw, x)
    front = keras.layers.Normalization(mean=mean, variance=np.square(spread))
    model = keras.Sequential([keras.Input((12, 2)), front, keras.layers.Dense(4, activation="tanh"), raw.layers[1]])
    wanted, received = model.predict(x, verbose=0), quantize_aware(model, x).predict(x, verbose=0)
    assert 10 * np.log10(np.var(wanted) / np.mean((received - wanted) ** 2)) > 20
