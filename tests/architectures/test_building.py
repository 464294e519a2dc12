"""Every kind of network is built as it is described, and runs on the device as in Keras."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_s4 import tflite
from keras_s4.architectures import KINDS, Architecture, architecture_of, build, spaces
from keras_s4.layers import DSS, DiagonalSSM, S4Block

SHAPE = (48, 3)
VARIANTS = {
    "dss": Architecture("dss", 8, 2, 4),
    "dss behind a front, slower inside": Architecture("dss", 8, 2, 4, front=(4, 2), downsample=2),
    "dss of low rank, a gate a channel": Architecture("dss", 8, 1, 4, rank=3, gate="channel"),
    "dss without a gate": Architecture("dss", 8, 1, 4, gate=None, pooling="last"),
    "shared modes": Architecture("dss", 8, 2, 6, shared_modes=True),
    "shared modes behind a front, slower inside": Architecture(
        "dss", 8, 2, 5, shared_modes=True, feedthrough="diagonal", gate="channel", rank=3, front=(4, 2), downsample=2
    ),
    "shared modes that alone see the input": Architecture(
        "dss", 6, 1, 4, shared_modes=True, feedthrough=None, gate=None, time_steps=(1e-2, 1.0), pooling="max"
    ),
    "gru": Architecture("gru", 8, 1, front=(4, 2)),
    "two gru": Architecture("gru", 6, 2, downsample=2),
    "lstm": Architecture("lstm", 6, 1),
    "rnn": Architecture("rnn", 8, 1, rank=3),
    "cnn": Architecture("cnn", 8, 3, kernel=5, front=(6, 2), downsample=2),
    "tcn": Architecture("tcn", 8, 3, kernel=3),
    "tcn behind a front, slower inside": Architecture("tcn", 8, 2, kernel=2, front=(4, 4), downsample=2),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_device_equals_keras(name):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(24, *SHAPE)).astype(np.float32)
    model = build(VARIANTS[name], SHAPE, 4, head="regression")
    found = tflite.convert(model, x).verify(model, x)
    assert found.bit_exact and found.verdict == "good", str(found)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("shared")])
def test_all_channels_of_a_block_share_its_modes(name):
    network = VARIANTS[name]
    model = build(network, SHAPE, 4)
    blocks = [layer for layer in model.layers if isinstance(layer, S4Block)]
    assert len(blocks) == network.blocks
    for block in blocks:
        assert type(block.dss) is DiagonalSSM and block.dss.input_matrix.shape == (network.states, network.width, 2)
        assert block.dss.feedthrough_type == network.feedthrough
        smallest, largest = network.time_steps or (1e-3, 1e-1)
        time_steps = np.exp(block.dss.log_time_step)
        assert smallest * 0.999 <= time_steps.min() and time_steps.max() <= largest * 1.001
    assert f"{network.states} shared modes" in str(network)
    own = build(dataclasses.replace(network, shared_modes=False), SHAPE, 4)
    assert all(type(layer.dss) is DSS for layer in own.layers if isinstance(layer, S4Block))


@pytest.mark.parametrize(
    "network", [Architecture("gru", 4, 1), Architecture("dss", 4, 1, 6, shared_modes=True)], ids=str
)
@pytest.mark.parametrize("head", ["classes", "binary", "multi_label", "regression"])
def test_outputs_are_what_the_head_says(head, network):
    model = build(network, SHAPE, 1 if head == "binary" else 3, head=head, normalization=True)
    outputs = model.predict(np.random.default_rng(0).normal(size=(5, *SHAPE)), verbose=0)
    if head == "classes":
        np.testing.assert_allclose(outputs.sum(axis=1), 1.0, rtol=1e-5)
    elif head == "regression":
        assert model.layers[-1].name == "output_units"
    else:
        assert np.all((outputs > 0) & (outputs < 1))


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_to_choose_from_can_be_built(kind):
    random = np.random.default_rng(1)
    space = spaces(kind)
    assert set(space) - {"shared_states"} <= {field.name for field in dataclasses.fields(Architecture)}
    for _ in range(4):
        values = {name: choices[random.integers(len(choices))] for name, choices in space.items()}
        values["rank"] = None if (values.get("rank") or 0) > values["width"] else values.get("rank")
        architecture = architecture_of(kind, values)
        assert build(architecture, (512, 2), 3).output_shape == (None, 3)
        assert Architecture.of(json.loads(json.dumps(architecture.figures()))) == architecture
        assert kind.upper() in str(architecture)


def test_states_are_chosen_from_those_of_shared_modes_where_modes_are_shared():
    chosen = {"width": 8, "states": 2, "shared_states": 40, "feedthrough": "diagonal"}
    own, shared = (architecture_of("dss", {**chosen, "shared_modes": value}) for value in (False, True))
    assert own == Architecture("dss", 8, states=2)
    assert shared == Architecture("dss", 8, states=40, shared_modes=True, feedthrough="diagonal")
    assert architecture_of("dss", chosen) == own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "transformer"}, "transformer"),
        ({"shared_modes": "False"}, "shared_modes='False'; expected True or False"),
        ({"feedthrough": "half"}, "feedthrough='half'; expected one of 'full', 'diagonal'"),
        ({"width": 0}, "width"),
        ({"width": 4, "rank": 5}, "at most the width"),
        ({"front": 3}, "front"),
        ({"front": (7.5, 2)}, "kernel=7.5"),
        ({"kind": "cnn", "front": (2, 4)}, "would never be read"),
        ({"time_steps": (0.1, 0.01)}, "time_steps"),
        ({"gate": "glu"}, "gate"),
    ],
)
def test_impossible_architectures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**arguments)


def test_more_downsampling_than_steps_is_refused():
    with pytest.raises(ValueError, match=r"6 steps left in front of block 2|1 steps left in front of block 3"):
        build(Architecture("dss", 4, 4, 2, front=(8, 8), downsample=4), SHAPE, 2)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="channels"):
        Architecture.of({"channels": 3})
