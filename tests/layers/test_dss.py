"""The DSS layer: its two modes against each other and against float64, its system, and what Keras expects of it."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow
from conformance import LayerConformance
from dss_layers import CHANNELS, STATES, built, mixed_system, shaken
from keras import ops

from keras_s4 import reduce
from keras_s4.initializers import LogUniform
from keras_s4.layers import DSS
from keras_s4.layers.dss import KERNELS
from keras_s4.reduction import balanced_truncation
from keras_s4.regularizers import HankelNorm


def run_steps(layer, inputs):
    @tensorflow.function  # eager steps take ten times as long
    def run(samples):
        start = samples[0], layer.initial_state(samples.shape[1])
        return tensorflow.scan(lambda carried, sample: layer.step(sample, carried[1]), samples, start)[0]

    return np.asarray(run(ops.convert_to_tensor(inputs.swapaxes(0, 1)))).swapaxes(0, 1)


class TestConformance(LayerConformance):
    layer_class = DSS
    # Neither goes with `bidirectional`.
    unusual_alone: ClassVar = {"return_state": True, "stateful": True, "frozen": ["poles", "time_steps"]}
    arguments: ClassVar = {"state_size": STATES}
    unusual_arguments: ClassVar = {
        "state_size": 3,
        "kernel": "softmax",
        "per_channel_poles": True,
        "separate_time_steps": True,
        "mode_time_steps": True,
        "discretization": "bilinear",
        "bidirectional": True,
        "training_length": 17,
        "rate": 0.5,
        "pole_initializer": keras.initializers.RandomUniform(-2.0, -1.0, seed=1),
        "time_step_initializer": LogUniform(1e-2, 0.5, seed=2),
        "residue_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=3),
        "feedthrough_initializer": keras.initializers.Constant(0.25),
        "state_regularizer": HankelNorm(0.5, normalized=True),
    }


KINDS = [
    pytest.param(
        {"kernel": kernel, "discretization": method, "separate_time_steps": separate}, id=f"{kernel}-{method}{sign}"
    )
    for kernel in KERNELS
    for method in ("zoh", "bilinear")
    for separate, sign in ((False, ""), (True, "-separate"))
]
KINDS.append(pytest.param({"kernel": "exp", "discretization": "zoh", "mode_time_steps": True}, id="exp-zoh-modes"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_channel_poles", [False, True])
def test_all_modes_compute_the_system(kind, per_channel_poles):
    """Convolution, pieces of a stream, single steps and the recurrence of `system` in numpy: one and the same."""
    layer = shaken(length=60, per_channel_poles=per_channel_poles, **kind)
    inputs = np.random.default_rng(0).normal(size=(2, 60, CHANNELS))
    expected, _ = layer.system().simulate(inputs)
    tolerance = {"rtol": 0, "atol": 1e-10 * np.abs(expected).max()}
    np.testing.assert_allclose(layer(inputs), expected, **tolerance)
    state, pieces = layer.initial_state(2), []
    for piece in (inputs[:, :1], inputs[:, 1:18], inputs[:, 18:57]):
        outputs, state = layer.chunk(piece, state)
        pieces.append(outputs)
    for sample in inputs[:, 57:].swapaxes(0, 1):
        outputs, state = layer.step(sample, state)
        pieces.append(outputs[:, None])
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, **tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_a_system_goes_into_any_kind_of_layer(kind):
    layer = DSS(5, per_channel_poles=True, training_length=40, rate=2.0, dtype="float64", **kind)
    layer.build((None, None, 2))
    system = mixed_system()
    layer.set_system(system)
    expected = system.impulse_response(300)
    # The clip kernel keeps poles below -1e-4 and a bilinear pole at 0 has a small radius; all others are exact.
    np.testing.assert_allclose(layer.system().impulse_response(300), expected, rtol=0, atol=4e-4)
    if kind["kernel"] == "exp" and kind["discretization"] == "zoh":
        np.testing.assert_allclose(layer.system().impulse_response(300), expected, rtol=0, atol=2e-6)


def test_step_mode_equals_convolution_mode_in_single_precision():
    layer = built()
    inputs = np.random.default_rng(0).normal(size=(2, 500, CHANNELS)).astype("float32")
    outputs = np.asarray(layer(inputs))
    np.testing.assert_allclose(run_steps(layer, inputs), outputs, rtol=0, atol=1e-5 * np.abs(outputs).max())


@pytest.mark.parametrize("per_channel_poles", [False, True])
def test_kernel_is_the_impulse_response_of_the_system(per_channel_poles):
    layer = built(per_channel_poles)
    expected = layer.system().impulse_response(500)
    # float32 phases after 500 steps of the fastest mode, see test_kernels.
    np.testing.assert_allclose(layer.kernel(500), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_kernel_is_the_published_formula():
    layer = built()
    poles = np.asarray(-ops.exp(layer.log_decay), float) + 1j * np.asarray(layer.frequency, float)
    steps = np.exp(np.asarray(layer.log_time_step, float))
    weights = np.asarray(layer.residues, float) @ [1, 1j]
    powers = np.exp(poles * steps[:, None] * np.arange(50)[:, None, None])
    expected = (weights * (np.exp(poles * steps[:, None]) - 1) / poles * powers).sum(axis=-1).real.T
    expected[:, 0] += np.asarray(layer.feedthrough)
    np.testing.assert_allclose(layer.kernel(50), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_softmax_kernel_is_the_published_formula():
    """Proposition 1b, with the softmax summed term by term over the training length."""
    layer = shaken(length=50, kernel="softmax", separate_time_steps=True)
    poles = -np.exp(np.asarray(layer.log_decay)) + 1j * np.asarray(layer.frequency)
    steps = np.exp(np.asarray(layer.log_time_step)), np.exp(np.asarray(layer.log_frequency_time_step))
    exponents = poles.real * steps[0][:, None] + 1j * poles.imag * steps[1][:, None]
    powers = np.exp(exponents * np.arange(50)[:, None, None])
    weights = np.asarray(layer.residues) @ [1, 1j]
    expected = (weights / poles * powers / powers.sum(axis=0)).sum(axis=-1).real.T
    expected[:, 0] += np.asarray(layer.feedthrough)
    # The epsilon of 1e-7 that bounds the normaliser, whose square is at least 0.01 here.
    np.testing.assert_allclose(layer.kernel(50), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_softmax_streams_beyond_its_training_length():
    """The normaliser belongs to the training length: ten times as many steps follow the same recurrence."""
    layer = shaken(length=50, kernel="softmax")
    assert layer.get_config()["training_length"] == 50
    inputs = np.random.default_rng(0).normal(size=(1, 500, CHANNELS))
    expected, _ = layer.system().simulate(inputs)
    np.testing.assert_allclose(layer(inputs), expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    copy = DSS.from_config(layer.get_config())
    copy.build((None, 500, CHANNELS))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(inputs), layer(inputs))


def test_clipped_poles_stay_stable():
    layer = shaken(kernel="clip")
    layer.real_part.assign(np.linspace(-1.0, 1.0, STATES))
    system = layer.system()
    continuous = np.log(system.poles) / np.exp(np.asarray(layer.log_time_step))[:, None]
    np.testing.assert_allclose(continuous.real, [np.minimum(np.linspace(-1.0, 1.0, STATES), -1e-4)] * CHANNELS)
    inputs = np.random.default_rng(0).normal(size=(1, 60, CHANNELS))
    expected, _ = system.simulate(inputs)
    np.testing.assert_allclose(layer(inputs), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("poles", ["skew_hippo", "s4d_legs", "s4d_inv", "s4d_lin", "random"])
def test_poles_by_name(poles):
    layer = built(pole_initializer=poles)
    inputs = np.random.default_rng(0).normal(size=(1, 60, CHANNELS)).astype("float32")
    expected, _ = layer.system().simulate(inputs)
    np.testing.assert_allclose(layer(inputs), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert DSS.from_config(layer.get_config()).pole_initializer.get_config() == layer.pole_initializer.get_config()


@pytest.mark.parametrize("kernel", KERNELS)
def test_half_the_rate_of_a_held_signal(kernel):
    """Held inputs: every sample given twice, with half the time between, leaves the same state behind each pair."""
    layer = shaken(length=40, kernel=kernel)
    fine = DSS.from_config({**layer.get_config(), "rate": 0.5})
    fine.build((None, 80, CHANNELS))
    fine.set_weights(layer.get_weights())
    inputs = np.random.default_rng(0).normal(size=(2, 40, CHANNELS))
    outputs = np.asarray(fine(np.repeat(inputs, 2, axis=1)))[:, 1::2]
    np.testing.assert_allclose(outputs, layer(inputs), rtol=0, atol=1e-10 * np.abs(outputs).max())


@pytest.mark.parametrize("kernel", KERNELS)
def test_poles_and_time_steps_are_marked(kernel):
    layer = built(kernel=kernel, separate_time_steps=True, training_length=20)
    marked = [weight.name for weight in layer.weights if weight.is_dynamics]
    decay = "real_part" if kernel == "clip" else "log_decay"
    assert marked == [decay, "frequency", "log_time_step", "log_frequency_time_step"]


def test_what_is_frozen_is_not_trained():
    layer = built(frozen=["poles", "residues"])
    assert [weight.name for weight in layer.non_trainable_weights] == ["log_decay", "frequency", "residues"]
    assert [weight.name for weight in layer.trainable_weights] == ["log_time_step", "feedthrough"]
    for frozen in ("poles", ["pole"], 3):
        with pytest.raises(ValueError, match="expected a list of some of poles, time_steps, residues, feedthrough"):
            DSS(2, frozen=frozen)


def test_a_layer_with_time_steps_of_modes_is_reduced():
    inputs = keras.Input((40, CHANNELS))
    model = keras.Model(inputs, DSS(6, mode_time_steps=True, name="dss")(inputs))
    layer = reduce(model, 3).get_layer("dss")
    assert layer.log_time_step.shape == (CHANNELS, 3)
    expected = balanced_truncation(model.get_layer("dss").system(), 3).system.impulse_response(40)
    np.testing.assert_allclose(layer.system().impulse_response(40), expected, rtol=0, atol=1e-5)


def test_both_parts_of_a_pole_come_from_one_draw():
    class Diagonal(keras.initializers.Initializer):
        """Poles on a line, elsewhere at every call."""

        calls = 0

        def __call__(self, shape, dtype=None):
            self.calls += 1
            return ops.cast(np.full(shape, [-1.0, 1.0]) * self.calls, dtype)

    layer = built(pole_initializer=Diagonal())
    np.testing.assert_allclose(np.exp(layer.log_decay), layer.frequency, rtol=1e-6)


def test_output_is_convolution_plus_feedthrough():
    layer = built()
    impulse = np.zeros((1, 30, CHANNELS), "float32")
    impulse[:, 0] = 1.0
    expected = layer.system().impulse_response(30).T
    np.testing.assert_allclose(layer(impulse)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_system_round_trip():
    layer, system = built(per_channel_poles=True, channels=2, states=5), mixed_system()
    layer.set_system(system)
    back = layer.system()
    # A float32 logarithm keeps a pole to 2^-24 of its logarithm, at most pi here; a pole at 0 becomes 1e-6.
    np.testing.assert_allclose(back.poles, system.poles, rtol=0, atol=2e-6)
    np.testing.assert_allclose(back.residues, system.residues, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(back.feedthrough, system.feedthrough)
    np.testing.assert_array_equal(back.is_real, system.is_real)
    np.testing.assert_array_equal(back.is_padding, system.is_padding)
    np.testing.assert_array_equal(back.orders, system.orders)
    expected = system.impulse_response(300)
    np.testing.assert_allclose(back.impulse_response(300), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_set_system_is_what_both_modes_compute():
    layer, system = built(per_channel_poles=True, channels=2, states=5), mixed_system()
    layer.set_system(system)
    inputs = np.random.default_rng(0).normal(size=(1, 100, 2)).astype("float32")
    expected, _ = system.simulate(inputs)
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(layer(inputs), expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(run_steps(layer, inputs), expected, rtol=0, atol=tolerance)


def test_a_shared_layer_moves_to_a_per_channel_one():
    shared, own = built(), built(per_channel_poles=True)
    own.set_system(shared.system())
    inputs = np.random.default_rng(0).normal(size=(1, 200, CHANNELS)).astype("float32")
    expected = np.asarray(shared(inputs))
    np.testing.assert_allclose(own(inputs), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_weights_and_states_stay_in_single_precision(policy):
    layer = built(dtype=policy)
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    output, state = layer.step(np.ones((1, CHANNELS), "float32"), layer.initial_state(1))
    assert keras.backend.standardize_dtype(state.dtype) == "float32"
    assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype


def test_sequences_of_any_length():
    model = keras.Sequential([keras.Input((None, 2)), DSS(STATES)])
    inputs = np.random.default_rng(0).normal(size=(4, 40, 2)).astype("float32")
    expected = np.asarray(model.layers[0](inputs))
    for length in (40, 23, 7):  # from the second length on, Keras traces the model for any length
        outputs = model.predict(inputs[:, :length], verbose=0)
        np.testing.assert_allclose(outputs, expected[:, :length], rtol=0, atol=1e-5 * np.abs(expected).max())


def test_training_on_sequences_of_any_length_learns_to_remember():
    """The target is the input of five steps ago, so that a layer without memory is left with its mean square."""
    model = keras.Sequential([keras.Input((None, 1)), DSS(STATES, time_step_initializer=LogUniform(0.05, 0.5, seed=0))])
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    inputs = np.random.default_rng(0).normal(size=(32, 20, 1)).astype("float32")
    targets = np.pad(inputs, [(0, 0), (5, 0), (0, 0)])[:, :20]
    bound = 0.5 * np.mean(targets**2)
    assert np.mean((model(inputs) - targets) ** 2) > bound
    model.fit(inputs[:, :13], targets[:, :13], batch_size=4, verbose=0)
    losses = model.fit(inputs, targets, batch_size=4, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < bound


def test_a_model_without_an_input_is_built_by_fit():
    """Keras builds such layers inside a trace."""
    model = keras.Sequential([DSS(2)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(np.ones((2, 5, 1), "float32"), np.ones((2, 5, 1), "float32"), verbose=0)
    assert np.all(np.isfinite(model.layers[0].system().impulse_response(5)))


class TestRefusals:
    @pytest.mark.parametrize(
        ("argument", "value", "expected"),
        [
            ("kernel", "exponential", "one of exp, softmax, clip"),
            ("discretization", "euler", "one of zoh, bilinear"),
            ("training_length", 0, "None or a whole number of at least 1"),
            ("rate", 0.0, "a positive number"),
            ("rate", float("inf"), "a positive number"),
            ("rate", "fast", "a positive number"),
        ],
    )
    def test_arguments(self, argument, value, expected):
        with pytest.raises(ValueError, match=f"'memory' got {argument}={value!r}; expected {expected}"):
            DSS(2, name="memory", **{argument: value})

    def test_an_unknown_name_of_poles(self):
        with pytest.raises(
            ValueError, match=r"called 'hippo'; expected one of skew_hippo, .*random, or an initialiser"
        ):
            DSS(2, pole_initializer="hippo")

    def test_softmax_without_a_training_length(self):
        with pytest.raises(ValueError, match=r"open length; .*training_length="):
            built(kernel="softmax")

    @pytest.mark.parametrize("state_size", [0, -1, 2.5, "8"])
    def test_state_size(self, state_size):
        with pytest.raises(ValueError, match=r"'memory' got state_size=.*at least 1"):
            DSS(state_size, name="memory")

    @pytest.mark.parametrize("shape", [(None, 4), (2, 3, 5, 4), (None, 5, None)])
    def test_rank(self, shape):
        with pytest.raises(ValueError, match=r"got input of shape .*expected \[B, L, H\]"):
            DSS(2).build(shape)

    def test_empty_sequence(self):
        with pytest.raises(ValueError, match="sequence of length 0"):
            DSS(2).build((None, 0, 3))
        with pytest.raises(ValueError, match="sequence of length 0"):
            built()(np.zeros((2, 0, CHANNELS), "float32"))

    @pytest.mark.parametrize("real_part", [0.0, 0.5, float("nan")])
    def test_unstable_initial_pole(self, real_part):
        with pytest.raises(ValueError, match=r"initial pole with real part .*SkewHiPPO"):
            built(pole_initializer=keras.initializers.Constant(real_part))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("name", ["log_decay", "frequency", "log_time_step", "residues", "feedthrough"])
    def test_weights_that_are_not_finite(self, name, value):
        layer = built()
        weight = getattr(layer, name)
        values = np.array(weight)
        values.flat[0] = value
        weight.assign(values)
        with pytest.raises(ValueError, match=f"holds 1 NaN or infinite numbers in {name}; train again"):
            layer.system()

    def test_not_built(self):
        with pytest.raises(ValueError, match="has no weights yet"):
            DSS(2).system()
        with pytest.raises(ValueError, match="has no weights yet"):
            DSS(5, per_channel_poles=True).set_system(mixed_system())

    def test_system_on_shared_poles(self):
        with pytest.raises(ValueError, match="create it with per_channel_poles=True"):
            built(channels=2, states=5).set_system(mixed_system())

    @pytest.mark.parametrize(("channels", "states"), [(3, 5), (2, 4)])
    def test_system_of_another_shape(self, channels, states):
        layer = built(per_channel_poles=True, channels=channels, states=states)
        with pytest.raises(ValueError, match=rf"\[{channels}, {states}\], but the system is \[2, 5\]"):
            layer.set_system(mixed_system())
