"""The layer of shared modes: its modes against each other and against float64, its system, and what Keras expects."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow
from conformance import LayerConformance
from keras import ops

import keras_s4
from keras_s4.initializers import LogUniform
from keras_s4.layers import DiagonalSSM
from keras_s4.modal_system import ModalSystem
from keras_s4.tflite import convert

INPUTS, OUTPUTS, STATES = 3, 2, 6


class TestConformance(LayerConformance):
    layer_class = DiagonalSSM
    unusual_alone: ClassVar = {"return_state": True, "stateful": True, "frozen": ["poles", "inputs"]}
    arguments: ClassVar = {"units": 5, "state_size": STATES}
    unusual_arguments: ClassVar = {
        "units": 4,
        "state_size": 3,
        "feedthrough": "diagonal",
        "discretization": "bilinear",
        "bidirectional": True,
        "rate": 0.5,
        "pole_initializer": keras.initializers.RandomUniform(-2.0, -1.0, seed=1),
        "time_step_initializer": LogUniform(1e-2, 0.5, seed=2),
        "input_initializer": keras.initializers.RandomNormal(stddev=0.3, seed=3),
        "output_initializer": keras.initializers.RandomNormal(stddev=0.2, seed=4),
        "feedthrough_initializer": keras.initializers.Constant(0.25),
    }


def shaken(units=OUTPUTS, inputs=INPUTS, length=None, **arguments):
    """A layer in float64 none of whose weights are as they were initialised."""
    layer = DiagonalSSM(units, STATES, dtype="float64", **arguments)
    layer.build((None, length, inputs))
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(weight * np.exp(0.1 * random.normal(size=weight.shape)))
    return layer


def mixed_system():
    """Complex, real, negative real, deadbeat and padding entries; one pole close to the unit circle."""
    random = np.random.default_rng(0)
    poles = np.array([0.9 * np.exp(0.3j), 0.95, -0.7, 0.0, 0.9995 * np.exp(2.0j), 0.5j])
    inputs, outputs = random.normal(size=(6, INPUTS, 2)) @ [1, 1j], random.normal(size=(OUTPUTS, 6, 2)) @ [1, 1j]
    inputs[1:4] = inputs[1:4].real
    outputs[:, 5] = 0.0
    return ModalSystem(poles, inputs, outputs, random.normal(size=(OUTPUTS, INPUTS)))


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
@pytest.mark.parametrize(("feedthrough", "units"), [("full", OUTPUTS), ("diagonal", None), (None, OUTPUTS)])
def test_all_modes_compute_the_system(discretization, feedthrough, units):
    """All steps, pieces of a stream, single steps and the recurrence of `system` in numpy: one and the same."""
    layer = shaken(units, discretization=discretization, feedthrough=feedthrough)
    inputs = np.random.default_rng(0).normal(size=(2, 150, INPUTS))
    expected, _ = layer.system().simulate(inputs)
    tolerance = {"rtol": 0, "atol": 1e-10 * np.abs(expected).max()}
    np.testing.assert_allclose(layer(inputs), expected, **tolerance)
    state, pieces = layer.initial_state(2), []
    for piece in (inputs[:, :1], inputs[:, 1:40], inputs[:, 40:147]):
        outputs, state = layer.chunk(piece, state)
        pieces.append(outputs)
    for sample in inputs[:, 147:].swapaxes(0, 1):
        outputs, state = layer.step(sample, state)
        pieces.append(outputs[:, None])
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, **tolerance)


@pytest.mark.parametrize("length", [1, 32, 33, 1024, 1025, 2500])
def test_lengths_around_chunks_and_chunks_of_chunks(length):
    layer = shaken()
    inputs = np.random.default_rng(0).normal(size=(1, length, INPUTS))
    expected, last = layer.system().simulate(inputs)
    outputs, state = layer.chunk(inputs, layer.initial_state(1))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(np.asarray(state) @ [1, 1j], last, rtol=0, atol=1e-10 * np.abs(last).max())


def test_the_layer_is_the_published_one():
    """S5, section 3: zero-order hold of each mode, `y = 2 Re(C x) + D u`, written out in float64."""
    layer = shaken(INPUTS, feedthrough="diagonal")
    weights = {weight.name: np.asarray(weight) for weight in layer.weights}
    poles = -np.exp(weights["log_decay"]) + 1j * weights["frequency"]
    B, C = weights["input_matrix"] @ [1, 1j], weights["output_matrix"] @ [1, 1j]
    discrete = np.exp(poles * np.exp(weights["log_time_step"]))
    B = ((discrete - 1.0) / poles)[:, None] * B
    inputs = np.random.default_rng(0).normal(size=(50, INPUTS))
    x, expected = np.zeros(STATES, complex), []
    for u in inputs:
        x = discrete * x + B @ u
        expected.append(2 * (C @ x).real + weights["feedthrough"] * u)
    np.testing.assert_allclose(layer(inputs[None])[0], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("arguments", [{}, {"rate": 2.0}, {"discretization": "bilinear"}])
def test_system_round_trip(arguments):
    layer, system = DiagonalSSM(OUTPUTS, 6, dtype="float64", **arguments), mixed_system()
    layer.build((None, None, INPUTS))
    layer.set_system(system)
    back, expected = layer.system(), system.impulse_response(300)
    np.testing.assert_allclose(back.impulse_response(300), expected, rtol=0, atol=1e-3 if arguments else 1e-5)
    np.testing.assert_array_equal(back.is_real, system.is_real)
    np.testing.assert_array_equal(back.is_padding, system.is_padding)


def test_a_set_system_is_what_the_layer_computes_in_single_precision():
    layer, system = DiagonalSSM(OUTPUTS, 6), mixed_system()
    layer.build((None, None, INPUTS))
    layer.set_system(system)
    inputs = np.random.default_rng(0).normal(size=(1, 100, INPUTS)).astype("float32")
    expected, _ = system.simulate(inputs)
    np.testing.assert_allclose(layer(inputs), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(layer.system().is_real, system.is_real)


def test_half_the_rate_of_a_held_signal():
    layer = shaken()
    fine = DiagonalSSM.from_config({**layer.get_config(), "rate": 0.5})
    fine.build((None, 80, INPUTS))
    fine.set_weights(layer.get_weights())
    inputs = np.random.default_rng(0).normal(size=(2, 40, INPUTS))
    outputs = np.asarray(fine(np.repeat(inputs, 2, axis=1)))[:, 1::2]
    np.testing.assert_allclose(outputs, layer(inputs), rtol=0, atol=1e-10 * np.abs(outputs).max())


def test_sequences_of_any_length():
    model = keras.Sequential([keras.Input((None, 2)), DiagonalSSM(3, STATES)])
    inputs = np.random.default_rng(0).normal(size=(4, 1100, 2)).astype("float32")
    expected = np.asarray(model.layers[0](inputs))
    for length in (1100, 40, 23, 1):  # from the second length on, Keras traces the model for any length
        outputs = model.predict(inputs[:, :length], verbose=0)
        np.testing.assert_allclose(outputs, expected[:, :length], rtol=0, atol=1e-5 * np.abs(expected).max())


def test_poles_and_time_steps_are_marked():
    layer = shaken()
    marked = [weight.name for weight in layer.weights if weight.is_dynamics]
    assert marked == ["log_decay", "frequency", "log_time_step"]


def test_what_is_frozen_is_not_trained():
    layer = shaken(frozen=["poles", "outputs"])
    assert [weight.name for weight in layer.non_trainable_weights] == ["log_decay", "frequency", "output_matrix"]
    with pytest.raises(ValueError, match="expected a list of some of poles, time_steps, inputs, outputs, feedthrough"):
        DiagonalSSM(2, frozen=["residues"])


def test_it_learns_a_system_that_mixes_its_inputs():
    """The target is the first input of five steps ago, and the second of two; without memory its mean square is 1."""
    inputs = np.random.default_rng(0).normal(size=(16, 20, 2)).astype("float32")
    targets = np.stack([np.roll(inputs[..., 1], 2, axis=1), np.roll(inputs[..., 0], 5, axis=1)], axis=-1)
    targets[:, :5] = 0.0
    layer = DiagonalSSM(2, 16, time_step_initializer=LogUniform(0.05, 0.5, seed=0))
    model = keras.Sequential([keras.Input((20, 2)), layer])
    model.compile(keras.optimizers.Adam(0.03), "mse", jit_compile=True, steps_per_execution=50)
    before = model.evaluate(inputs, targets, verbose=0)
    repeated = [np.tile(each, (100, 1, 1)) for each in (inputs, targets)]
    model.fit(*repeated, batch_size=16, shuffle=False, verbose=0)
    assert model.evaluate(inputs, targets, verbose=0) < 0.05 * before


class TestStates:
    def test_the_state_is_an_input_and_an_output_of_a_model(self):
        start, samples = keras.Input((STATES, 2)), keras.Input((None, INPUTS))
        layer = DiagonalSSM(OUTPUTS, STATES, return_state=True)
        model = keras.Model([samples, start], layer(samples, initial_state=start))
        assert [tuple(output.shape) for output in model.outputs] == [(None, None, OUTPUTS), (None, STATES, 2)]
        inputs = np.random.default_rng(0).normal(size=(2, 50, INPUTS)).astype("float32")
        whole, last = model.predict([inputs, layer.initial_state(2)], verbose=0)
        first, state = model.predict([inputs[:, :21], layer.initial_state(2)], verbose=0)
        second, state = model.predict([inputs[:, 21:], state], verbose=0)
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=0, atol=1e-5)
        np.testing.assert_allclose(state, last, rtol=0, atol=1e-5 * np.abs(last).max())

    def test_gradients_reach_the_initial_state(self):
        layer = shaken()
        inputs = np.random.default_rng(0).normal(size=(2, 70, INPUTS))
        state = tensorflow.constant(np.random.default_rng(1).normal(size=(2, STATES, 2)))
        with tensorflow.GradientTape() as tape:
            tape.watch(state)
            loss = ops.sum(layer(inputs, initial_state=state))
        gradient = np.asarray(tape.gradient(loss, state))
        change = np.random.default_rng(2).normal(size=state.shape)
        moved = ops.sum(layer(inputs, initial_state=state + change)) - loss
        np.testing.assert_allclose(np.sum(gradient * change), moved, rtol=1e-9)  # outputs are linear in the state

    def test_a_stateful_layer_goes_on_where_the_last_batch_ended(self):
        layer = DiagonalSSM(OUTPUTS, STATES, stateful=True)
        model = keras.Sequential([keras.Input(batch_shape=(2, 20, INPUTS)), layer])
        inputs = np.random.default_rng(0).normal(size=(2, 60, INPUTS)).astype("float32")
        expected, _ = layer.system().simulate(inputs)
        for _ in range(2):
            pieces = [model.predict(piece, batch_size=2, verbose=0) for piece in np.split(inputs, 3, axis=1)]
            outputs = np.concatenate(pieces, axis=1)
            np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
            layer.reset_state()
        with pytest.raises(ValueError, match=r"carries no state.*stateful=True"):
            shaken().reset_state()
        with pytest.raises(ValueError, match=r"must know the batch size.*batch_shape"):
            DiagonalSSM(2, stateful=True).build((None, 5, 3))

    def test_the_state_is_the_one_after_the_last_unmasked_step(self):
        layer = shaken(return_state=True)
        start = np.random.default_rng(3).normal(size=(4, STATES, 2))
        inputs = np.random.default_rng(0).normal(size=(4, 40, INPUTS))
        lengths = (40, 25, 1, 0)
        mask = np.arange(40) < np.array(lengths)[:, None]
        _, state = layer(
            np.where(mask[..., None], inputs, np.nan), initial_state=start, mask=ops.convert_to_tensor(mask)
        )
        for index, length in enumerate(lengths):
            one = slice(index, index + 1)
            expected = layer(inputs[one, :length], initial_state=start[one])[1] if length else start[one]
            np.testing.assert_allclose(state[one], expected, rtol=0, atol=1e-10)


class TestBidirectional:
    @pytest.mark.parametrize("feedthrough", ["full", "diagonal", None])
    def test_the_modes_run_backwards_too(self, feedthrough):
        """S5, appendix: states of both ways side by side, read by one matrix; both see the current input."""
        layer = shaken(INPUTS, bidirectional=True, feedthrough=feedthrough)
        system = layer.system()
        assert system.output_size == 2 * INPUTS
        inputs = np.random.default_rng(0).normal(size=(2, 40, INPUTS))
        past = system.simulate(inputs)[0][..., :INPUTS]
        future = system.simulate(inputs[:, ::-1])[0][:, ::-1, INPUTS:]
        np.testing.assert_allclose(layer(inputs), past + future, rtol=0, atol=1e-10 * np.abs(past).max())

    def test_its_system_can_be_set(self):
        layer, copy = shaken(bidirectional=True), DiagonalSSM(OUTPUTS, STATES, bidirectional=True, dtype="float64")
        copy.build((None, None, INPUTS))
        system = layer.system()
        moved = system.feedthrough + np.repeat([[0.5], [-0.5]], OUTPUTS, axis=0)  # as if read by the other way
        copy.set_system(ModalSystem(system.poles, system.inputs, system.outputs, moved))
        inputs = np.random.default_rng(0).normal(size=(2, 40, INPUTS))
        np.testing.assert_allclose(copy(inputs), layer(inputs), rtol=0, atol=1e-9)

    def test_padding_behind_the_last_step_is_no_future(self):
        layer = shaken(bidirectional=True)
        inputs = np.random.default_rng(0).normal(size=(1, 30, INPUTS))
        mask = np.arange(30)[None] < 17
        outputs = layer(np.where(mask[..., None], inputs, np.nan), mask=ops.convert_to_tensor(mask))
        np.testing.assert_allclose(outputs[:, :17], layer(inputs[:, :17]), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("arguments", [{"return_state": True}, {"stateful": True}])
    def test_no_state_to_return_or_carry(self, arguments):
        with pytest.raises(ValueError, match=r"'memory' is bidirectional.*cannot return or carry a state"):
            DiagonalSSM(2, bidirectional=True, name="memory", **arguments)

    def test_it_is_reduced_and_neither_streamed_nor_exported(self):
        inputs = np.random.default_rng(0).normal(size=(8, 30, INPUTS)).astype("float32")
        model = keras.Sequential([keras.Input((30, INPUTS)), DiagonalSSM(2, 6, bidirectional=True, name="memory")])
        whole = model.predict(inputs, verbose=0)
        errors = []
        for rank in (2, 4, 5):
            small = keras_s4.reduce(model, rank, "input_weighted", inputs)
            errors.append(np.linalg.norm(small.predict(inputs, verbose=0) - whole) / np.linalg.norm(whole))
        assert errors[2] < errors[0] < 0.8
        exact = keras_s4.reduce(model, 5, "singular_perturbation")
        constant = np.ones((1, 30, INPUTS), "float32")
        difference = model.layers[0].system().frequency_response(0.0) - exact.layers[0].system().frequency_response(0.0)
        np.testing.assert_allclose(difference[:2] + difference[2:], 0.0, atol=1e-4)
        assert exact.predict(constant, verbose=0).shape == (1, 30, 2)
        for use in (keras_s4.streaming.StreamingModel, lambda model: convert(model, inputs)):
            with pytest.raises((NotImplementedError, ValueError), match=r"'memory'.*bidirectional"):
                use(model)
        layer, sample = model.layers[0], inputs[:, 0]
        for purpose, call in {
            "hold a state": lambda: layer.initial_state(1),
            "run step by step": lambda: layer.step(sample, None),
            "run piece by piece": lambda: layer.chunk(inputs, None),
            "start from a state": lambda: layer(inputs, initial_state=np.zeros((8, 6, 2), "float32")),
        }.items():
            with pytest.raises(ValueError, match=f"bidirectional.*cannot {purpose}.*Train the model with"):
                call()


class TestBidirectionalConformance(LayerConformance):
    layer_class = DiagonalSSM
    arguments: ClassVar = {"units": 5, "state_size": STATES, "bidirectional": True}
    unusual_arguments: ClassVar = {"units": 4}
    # Those of configurations are in the class above.
    test_every_argument_is_in_the_config = None
    test_config_round_trip = None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "DiagonalSSM 'ssm' got units=0; expected None or a whole number"),
        ({"state_size": 2.5}, "state_size"),
        ({"feedthrough": "some"}, "feedthrough='some'; expected one of 'full', 'diagonal', None"),
        ({"discretization": "euler"}, "expected one of zoh, bilinear"),
        ({"rate": 0.0}, "a positive number"),
        ({"stateful": "yes"}, "True or False"),
        ({"bidirectional": 2}, "bidirectional=2; expected True or False"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DiagonalSSM(name="ssm", **arguments)


def test_shapes_and_systems_that_are_refused():
    with pytest.raises(ValueError, match="3 inputs and 2 outputs; a diagonal feedthrough"):
        DiagonalSSM(2, feedthrough="diagonal").build((None, None, 3))
    with pytest.raises(ValueError, match=r"expected \[B, L, H\]"):
        DiagonalSSM(2).build((None, 3))
    layer = DiagonalSSM(OUTPUTS, 6, feedthrough=None)
    with pytest.raises(ValueError, match="no weights yet"):
        layer.set_system(mixed_system())
    layer.build((None, None, INPUTS))
    with pytest.raises(ValueError, match="cannot hold that of the system"):
        layer.set_system(mixed_system())
    with pytest.raises(ValueError, match=r"\[N, I, O\] = \[6, 3, 2\], but the system is \[7, 3, 2\]"):
        layer.set_system(mixed_system().padded(7))
