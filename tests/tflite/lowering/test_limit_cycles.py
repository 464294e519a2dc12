import dataclasses

import keras
import numpy as np
import pytest

from keras_s4 import layers
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering.limit_cycles import MOST_RINGING, bounds, modes_to_feed_back, run_free
from keras_s4.tflite.program.operations import DiagonalStep

# Angles of which the rounding errors of a turn add up, and others; 1 - radius.
ANGLES, DISTANCE = np.array([0.02, 0.5, 1.0, np.pi / 2, 2 * np.pi / 3, 2.5, np.pi]), 2e-3


def grid_of(poles):
    return np.rint((poles.real - 1) * 2**15), np.rint(poles.imag * 2**15)


def resonators(channels=6, seed=0):
    """A DSS layer of modes that turn fast and decay slowly."""
    random = np.random.default_rng(seed)
    angles = random.uniform(0.6, 3.1, (channels, 3))
    angles[0] = np.pi / 2, 2 * np.pi / 3, 3.0
    keras.utils.set_random_seed(seed)
    layer = layers.DSS(3, per_channel_poles=True)
    model = keras.Sequential([keras.Input((400, channels)), layer])
    layer.log_decay.assign(np.full(angles.shape, np.log(DISTANCE)))
    layer.frequency.assign(angles)
    layer.log_time_step.assign(np.zeros(channels))
    return model, random


def step_of(program):
    return next(operation for operation in program.operations if isinstance(operation, DiagonalStep))


def ringing_of(program, random, loud=600, silent=14_000):
    """The largest output of the last steps of silence behind full scale, in units."""
    channels = program.inputs[0].shape[-1]
    limits = np.iinfo(program.inputs[0].type)
    x = np.zeros((1, loud + silent, channels), program.inputs[0].type)
    x[:, :loud] = random.choice([limits.min, limits.max], (1, loud, channels))
    x[:, loud:] = program.inputs[0].zero_point
    y = Emulator(program).run(x).astype(int) - program.outputs[0].zero_point
    return np.abs(y[:, -500:]).max()


@pytest.fixture(scope="module", params=["int8", "int16"])
def converted(request):
    model, random = resonators()
    x = random.normal(size=(4, 400, 6))
    return convert(model, x, activations=request.param), model, x


class TestLayer:
    def test_falls_silent(self, converted):
        program = converted[0].program
        assert step_of(program).feedback.any()
        assert ringing_of(program, np.random.default_rng(1)) <= 2

    def test_would_ring_on_without_feedback(self, converted):
        program = converted[0].program
        step = step_of(program)
        without = dataclasses.replace(step, feedback=None)
        operations = tuple(without if operation is step else operation for operation in program.operations)
        assert ringing_of(dataclasses.replace(program, operations=operations), np.random.default_rng(1)) > 10

    def test_is_the_same_on_all_engines(self, converted):
        firmware, model, x = converted
        assert firmware.verify(model, x[:2]).bit_exact


def test_usual_layers_have_no_feedback():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((100, 8)), layers.S4Block(4), keras.layers.Dense(3)])
    program = convert(model, np.random.default_rng(0).normal(size=(4, 100, 8))).program
    assert step_of(program).feedback is None


class TestRunFree:
    def test_modes_keep_below_their_bounds(self):
        decay, rotation = grid_of((1 - DISTANCE) * np.exp(1j * ANGLES))
        ringing = run_free(decay, rotation)
        poles = 1 + (decay + 1j * rotation) / 2**15
        assert np.all(ringing <= bounds(poles) + 1)
        assert ringing[0] <= 5
        assert np.all(ringing[3:5] > 0.2 * bounds(poles)[3:5])

    def test_a_mode_that_alternates_keeps_much_of_its_bound(self):
        """There h stays as long as what |pole| takes from it fits between two roundings: up to 1 / (1 - |pole|)."""
        (ringing,) = run_free(*grid_of(np.array([-0.999 + 0j])))
        assert 300 < ringing <= 1000


class TestChoice:
    def test_the_loudest_modes_are_fed_back_until_the_rest_is_quiet(self):
        decay, rotation = grid_of(np.tile((1 - DISTANCE) * np.exp(1j * ANGLES), (2, 1)))
        weights = np.stack([np.full(len(ANGLES), 0.05), np.full(len(ANGLES), 1e-6)])
        chosen = modes_to_feed_back(decay, rotation, weights)
        ringing = run_free(decay[0], rotation[0]) * weights[0]
        assert not chosen[1].any()
        assert ringing[~chosen[0]].sum() <= MOST_RINGING < ringing[~chosen[0]].sum() + ringing[chosen[0]].min()
        assert ringing[chosen[0]].min() >= ringing[~chosen[0]].max()

    def test_silent_layers_are_not_run(self, monkeypatch):
        monkeypatch.setattr("keras_s4.tflite.lowering.limit_cycles.run_free", None)
        decay, rotation = grid_of(np.full((1, 3), 0.5 + 0.2j))
        assert not modes_to_feed_back(decay, rotation, np.full((1, 3), 0.1)).any()
