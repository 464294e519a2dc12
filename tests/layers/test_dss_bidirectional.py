"""DSS layers that also look at the inputs to come."""

from typing import ClassVar

import numpy as np
import pytest
from conformance import LayerConformance
from dss_layers import CHANNELS, STATES, built, shaken

from keras_s4.layers import DSS


class TestConformance(LayerConformance):
    layer_class = DSS
    arguments: ClassVar = {"state_size": STATES, "bidirectional": True, "kernel": "softmax", "training_length": 20}
    unusual_arguments: ClassVar = {"kernel": "clip"}
    # Dividing by p^L - 1 costs digits, and its gradient twice as many: 1.6e-5 was measured.
    float32_tolerance = 5e-5
    # Those of configurations are in the class above.
    test_every_argument_is_in_the_config = None
    test_config_round_trip = None


class TestBidirectional:
    def test_the_second_bank_runs_backwards_from_the_next_input(self):
        layer = shaken(bidirectional=True)
        inputs = np.random.default_rng(0).normal(size=(2, 40, CHANNELS))
        system = layer.system()
        assert system.channels == 2 * CHANNELS
        past, _ = system.select(np.arange(CHANNELS)).simulate(inputs)
        future, _ = system.select(np.arange(CHANNELS, 2 * CHANNELS)).simulate(inputs[:, ::-1])
        future = np.pad(future[:, ::-1][:, 1:], [(0, 0), (0, 1), (0, 0)])
        np.testing.assert_allclose(layer(inputs), past + future, rtol=0, atol=1e-10 * np.abs(past).max())

    def test_its_system_can_be_set(self):
        layer = shaken(bidirectional=True, per_channel_poles=True)
        copy = DSS(STATES, bidirectional=True, per_channel_poles=True, dtype="float64")
        copy.build((None, None, CHANNELS))
        copy.set_system(layer.system())
        inputs = np.random.default_rng(0).normal(size=(2, 40, CHANNELS))
        np.testing.assert_allclose(copy(inputs), layer(inputs), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("arguments", [{"return_state": True}, {"stateful": True}])
    def test_no_state_to_return_or_carry(self, arguments):
        with pytest.raises(ValueError, match=r"'memory' is bidirectional.*cannot return or carry a state"):
            DSS(2, bidirectional=True, name="memory", **arguments)

    def test_no_steps(self):
        layer, inputs = built(bidirectional=True), np.zeros((1, 5, CHANNELS), "float32")
        calls = {
            "hold a state": lambda: layer.initial_state(1),
            "run step by step": lambda: layer.step(inputs[:, 0], None),
            "run piece by piece": lambda: layer.chunk(inputs, None),
            "start from a state": lambda: layer(inputs, initial_state=np.zeros((1, CHANNELS, STATES, 2), "float32")),
        }
        for purpose, call in calls.items():
            with pytest.raises(ValueError, match=f"bidirectional.*cannot {purpose}.*Train the model with"):
                call()
