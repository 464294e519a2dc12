"""DiagonalSSM layers in integers: near the system in float64 on data that they were not calibrated on, silent after it,
and the same on all engines."""

import keras
import numpy as np
import pytest

from keras_s4 import reduce
from keras_s4.layers import DiagonalSSM, LastStep
from keras_s4.modal_system import ModalSystem
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering import diagonal_ssm, modal_fit
from keras_s4.tflite.lowering.delta_form import snap_poles, snapped_poles
from keras_s4.tflite.program.dense_kernel import choose_kernel
from keras_s4.tflite.program.operations import FullyConnected, ModalStep
from keras_s4.tflite.program.program import limits

# Weights of 8 bits carry some 45 dB; two matrices of them come together.
LEAST_RATIO = 38.0


def model_of(layer, inputs, length=None):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((length, inputs)), layer])


def smooth(streams, length, features, seed):
    """Correlated features that change slowly, as those of sensors."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(streams, length, features))
    for step in range(1, length):
        x[:, step] = 0.9 * x[:, step - 1] + 0.44 * x[:, step]
    return x @ np.random.default_rng(5).normal(size=(features, features)) / np.sqrt(features)


def random_system(inputs, outputs, modes, radius=(0.9, 0.999), angle=np.pi, feedthrough="full", seed=0):
    random = np.random.default_rng(seed)
    size = np.sqrt(random.uniform(radius[0] ** 2, radius[1] ** 2, modes))
    poles = size * np.exp(1j * random.uniform(0, angle, modes))

    def matrix(*shape):
        return (random.normal(size=shape) + 1j * random.normal(size=shape)) / np.sqrt(shape[1])

    direct = random.normal(size=(outputs, inputs))
    direct = {"full": direct, "diagonal": np.diag(np.diagonal(direct)), None: 0.0 * direct}[feedthrough]
    return ModalSystem(poles, matrix(modes, inputs) * np.sqrt(1 - size**2)[:, None], matrix(outputs, modes), direct)


def ratio(wanted, found):
    """Signal to noise in dB."""
    return 10.0 * np.log10(np.mean(wanted**2) / np.mean((wanted - found) ** 2))


def step_of(program):
    (step,) = (operation for operation in program.operations if isinstance(operation, ModalStep))
    return step


SYSTEMS = {
    "full": random_system(6, 5, 8),
    "diagonal": random_system(5, 5, 12, feedthrough="diagonal"),
    "no feedthrough": random_system(3, 7, 8, feedthrough=None),
    "one input": random_system(1, 4, 6),
    "one mode": random_system(4, 1, 1),
    "slow": random_system(8, 8, 16, (0.99, 0.9999), 0.3),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_is_near_the_system_on_other_data(name):
    system = SYSTEMS[name]
    outputs, inputs = system.feedthrough.shape
    kind = {"diagonal": "diagonal", "no feedthrough": None}.get(name, "full")
    layer = DiagonalSSM(outputs, system.state_size, feedthrough=kind)
    model = model_of(layer, inputs)
    layer.set_system(system)
    converted = convert(model, smooth(12, 200, inputs, 1))
    x = smooth(4, 250, inputs, 2)
    found = converted.predict(x, engine="emulator")
    assert ratio(system.simulate(x)[0], found) > LEAST_RATIO
    for engine in ("c", "tflm"):
        np.testing.assert_array_equal(converted.predict(x[:2, :60], engine=engine), found[:2, :60])


@pytest.mark.parametrize("inside", [True, False], ids=["alone", "between layers"])
def test_a_trained_model_verifies(inside):
    keras.utils.set_random_seed(2)
    x = smooth(48, 40, 4, 3)
    y = (np.abs(np.fft.rfft(x[..., 0], axis=1)).argmax(axis=1) > 1).astype(int)
    inputs = keras.Input((40, 4))
    if inside:
        z = keras.layers.Dense(2)(LastStep()(DiagonalSSM(6, 8)(inputs)))
    else:
        z = keras.layers.BatchNormalization()(keras.layers.Dense(6)(inputs))
        z = keras.layers.Add()([z, keras.layers.Activation("gelu")(DiagonalSSM(None, 8, "diagonal")(z))])
        z = keras.layers.Dense(5, activation="relu")(DiagonalSSM(7, 5, None)(z))
        z = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(z))
    model = keras.Model(inputs, z)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=8, verbose=0)
    found = convert(model, x[:24]).verify(model, x[24:], task="regression")
    assert found.bit_exact
    assert found.streamed_deviation < 1e-5
    assert found.snr["emulator"] > 25.0


def test_blocks_of_steps_and_variables_compute_the_same():
    x = smooth(6, 48, 3, 1)
    model = model_of(DiagonalSSM(4, 6), 3)
    expected = convert(model, x).predict(x, engine="emulator")
    for options in ({"steps": 4}, {"states": "variables"}, {"steps": 3, "states": "variables"}):
        converted = convert(model, x, **options)
        for engine in ("emulator", "tflm", "c"):
            np.testing.assert_array_equal(converted.predict(x, engine=engine), expected, f"{options} {engine}")


@pytest.mark.parametrize("radius", [(0.99, 0.9999), (0.1, 0.3)], ids=["slow", "fast"])
def test_no_input_of_full_scale_leaves_32_bits(radius):
    """Slow modes are clamped for that; fast ones need not be."""
    system = random_system(4, 4, 10, radius, 0.3)
    layer = DiagonalSSM(4, 10)
    model = model_of(layer, 4)
    layer.set_system(system)
    program = convert(model, 0.05 * smooth(4, 100, 4, 1)).program
    assert bool(step_of(program).limit) == (radius[0] > 0.9)
    low, high = limits(program, program.inputs[0])
    random = np.random.default_rng(0)
    x = np.where(random.random((3, 500, 4)) < 0.5, low, high).astype(np.int16)
    x[0] = high
    x[1] = np.where(np.sin(np.angle(system.poles[0]) * np.arange(500)) > 0, high, low)[:, None]
    Emulator(program, check_overflow=True).run(x)


def test_a_reduced_layer_is_exported():
    x = smooth(16, 40, 3, 1)
    model = keras.Sequential([keras.Input((40, 3)), DiagonalSSM(4, 8, name="ssm"), keras.layers.Dense(2)])
    reduced = reduce(model, 3)
    found = convert(reduced, x).verify(reduced, x, task="regression")
    assert found.bit_exact
    assert found.snr["emulator"] > 30.0


def read_of(program):
    """The product that reads the modes, and its scale in scales of its products."""
    modes = step_of(program).output
    (read,) = (each for each in program.operations if isinstance(each, FullyConnected) and each.input is modes)
    return read, read.output.scale / (read.input.scale * read.weights.scale)


# By feedthrough: inputs, modes that are left, and a seed with which outputs would be finer than the fast kernel takes.
CUTS = {"full": (4, 6, 2), "zero": (4, 6, 2), "diagonal": (4, 3, 1), None: (4, 2, 5)}


class TestReadsThatCancel:
    """Few modes that "h2" has left of many of an untrained layer: weights are large beside the sums."""

    @pytest.fixture(params=CUTS)
    def model(self, request):
        features, rank, seed = CUTS[request.param]
        kind = "full" if request.param == "zero" else request.param
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((128, features))
        large = keras.Model(inputs, DiagonalSSM(features, 64, feedthrough=kind)(inputs))
        if request.param == "zero":
            large.layers[-1].feedthrough.assign(0.0 * large.layers[-1].feedthrough)
        return reduce(large, rank, "h2")

    def test_are_by_the_fast_kernel_and_the_same_on_all_engines(self, model):
        features = model.input_shape[-1]
        converted = convert(model, smooth(8, 128, features, 1))
        read, units = read_of(converted.program)
        assert choose_kernel(read).fast and 4.0 < units < 8.2
        x = 2.0 * smooth(3, 60, features, 2)
        x[0] *= 100.0  # to the ends of all ranges
        found = converted.predict(x, engine="emulator")
        for engine in ("c", "tflm"):
            np.testing.assert_array_equal(converted.predict(x, engine=engine), found)

    def test_lose_nothing_by_it(self, model, monkeypatch):
        features = model.input_shape[-1]
        x, other = (smooth(8, 128, features, seed) for seed in (1, 2))
        wanted = model.layers[-1].system().simulate(other)[0]
        fast = convert(model, x).predict(other, engine="emulator")
        monkeypatch.setattr(diagonal_ssm, "FAST_FROM", 2.0**-6)
        fine = convert(model, x)
        read, units = read_of(fine.program)
        assert not choose_kernel(read).fast and units < 4.0
        assert ratio(wanted, fast) > ratio(wanted, fine.predict(other, engine="emulator")) - 0.05

    def test_stay_in_32_bits(self, model):
        """Also beside a feedthrough of zeros, which has no range."""
        program = convert(model, smooth(8, 128, model.input_shape[-1], 1)).program
        low, high = limits(program, program.inputs[0])
        random = np.random.default_rng(0)
        x = np.where(random.random((3, 300, model.input_shape[-1])) < 0.5, low, high).astype(np.int16)
        Emulator(program, check_overflow=True).run(x)


def test_falls_silent():
    """A narrow mode and a slow one, of which limit cycles would be left."""
    poles = np.array([0.9993 * np.exp(2.1j), 0.999 * np.exp(0.4j), 0.99])
    random = np.random.default_rng(0)
    system = ModalSystem(poles, random.normal(size=(3, 2)) + 0j, random.normal(size=(2, 3)) + 0j, np.zeros((2, 2)))
    layer = DiagonalSSM(2, 3, feedthrough=None)
    model = model_of(layer, 2)
    layer.set_system(system)
    converted = convert(model, smooth(4, 400, 2, 1))
    assert step_of(converted.program).feedback >= 1
    x = np.concatenate([smooth(1, 300, 2, 2), np.zeros((1, 15_000, 2))], axis=1)
    (output,) = converted.program.outputs
    assert np.abs(converted.predict(x, engine="emulator")[:, -200:]).max() <= 2.0 * output.scale


def test_a_silent_start_and_a_silent_feature_do_not_saturate():
    layer = DiagonalSSM(3, 4)
    model = model_of(layer, 3)
    x = smooth(4, 100, 3, 1)
    quiet = x * [1.0, 0.0, 1.0]
    found = convert(model, quiet).predict(x, engine="emulator")
    assert ratio(layer.system().simulate(x)[0], found) > 20.0
    convert(model, 0.0 * x).predict(x, engine="emulator")


def test_features_with_units_of_their_own():
    layer = DiagonalSSM(3, 6)
    model = model_of(layer, 3)
    units, offset = np.array([1e4, 1.0, 1e-2]), np.array([1e5, 0.4, 0.0])
    x, other = (units * smooth(8, 200, 3, seed) + offset for seed in (1, 2))
    layer.input_matrix.assign(layer.input_matrix / units[:, None])
    layer.feedthrough.assign(layer.feedthrough / units)
    found = convert(model, x).predict(other, engine="emulator")
    wanted = layer.system().simulate(other)[0]
    swing = wanted[:, 50:] - wanted[:, 50:].mean(axis=(0, 1))
    assert np.sqrt(np.mean((found - wanted)[:, 50:] ** 2)) < 0.02 * np.sqrt(np.mean(swing**2))


def test_modes_that_nobody_hears_are_left_out():
    system = random_system(3, 2, 5).padded(9)
    layer = DiagonalSSM(2, 9)
    model = model_of(layer, 3)
    layer.set_system(system)
    assert step_of(convert(model, smooth(4, 60, 3, 1)).program).state.shape == (2, 5)


def test_a_layer_that_only_feeds_through():
    layer = DiagonalSSM(2, 4)
    model = model_of(layer, 3)
    system = layer.system()
    layer.set_system(ModalSystem(system.poles, 0 * system.inputs, system.outputs, system.feedthrough))
    x = smooth(4, 60, 3, 1)
    found = convert(model, x).predict(x, engine="emulator")
    assert ratio(x @ system.feedthrough.T, found) > LEAST_RATIO


class TestFit:
    def test_of_the_system_itself_is_the_system(self):
        system = random_system(3, 4, 5, (0.5, 0.95))
        drive = system.inputs.T
        readout = 2.0 * np.concatenate([system.outputs.real, -system.outputs.imag], axis=1).T
        wanted = system.poles, drive, readout
        found, _ = modal_fit.fit_outputs(wanted, (system.poles, drive), smooth(2, 50, 3, 1), None, 256, 1e-9)
        np.testing.assert_allclose(found, readout, rtol=0, atol=1e-5)

    def test_makes_up_for_poles_on_the_grid(self):
        """What snapping has cost a slow system is partly regained, on other data."""
        system = random_system(3, 4, 5, (0.999, 0.9999), 0.01)
        drive, poles = system.inputs.T, snapped_poles(*snap_poles(system.poles))
        readout = 2.0 * np.concatenate([system.outputs.real, -system.outputs.imag], axis=1).T
        x, other = smooth(4, 2000, 3, 1), smooth(2, 2000, 3, 2)
        found, _ = modal_fit.fit_outputs((system.poles, drive, readout), (poles, drive), x, None, 2000, 1e-6)

        def outputs(poles, readout):
            states = modal_fit.trajectories(poles, drive, other)
            return np.stack([modal_fit.as_real(state) @ readout for state in states], axis=1)

        wanted = outputs(system.poles, readout)
        assert ratio(wanted, outputs(poles, found)) > ratio(wanted, outputs(poles, readout)) + 4.0

    def test_powers_are_those_of_impulse_responses(self):
        system, other = random_system(3, 4, 5, (0.5, 0.95)), random_system(3, 4, 5, (0.5, 0.95), seed=1)
        impulses = np.eye(3)[:, None] * (np.arange(40) == 0)[:, None]
        (a, b) = (
            np.concatenate(list(map(modal_fit.as_real, modal_fit.trajectories(each.poles, each.inputs.T, impulses))))
            for each in (system, other)
        )
        found = modal_fit._covariance(system.poles, system.inputs.T, other.poles, other.inputs.T, 40)
        np.testing.assert_allclose(found, a.T @ b, atol=1e-12)
