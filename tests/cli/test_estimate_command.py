"""`keras-s4 estimate`, and `--board` of `keras-s4 convert`."""

import json

import pytest

from keras_s4.architectures import KINDS, Architecture
from keras_s4.costs import architecture_cost, boards

SMALL = ("--channels", 8, "--states", 2, "--blocks", 1, "--features", 3, "--classes", 4, "--window", 16)


def test_a_model_before_it_is_trained(call, tmp_path):
    options = ("--board", "nucleo-l4r5zi", "--board", "raspberry-pi-pico", "--rate", 50, "--method", "modelled")
    result = call("estimate", *SMALL, *options, "--json", tmp_path / "e.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["sizes"]["channels"] == 8
    assert [row["board"] for row in found["boards"]] == ["nucleo-l4r5zi", "raspberry-pi-pico"]
    m4, m0 = found["boards"]
    assert 0 < m4["estimated_load"][0] <= m4["estimated_load"][1] < 0.1
    # The M0+ has no products of 64 bits, and none of two halves at once.
    assert m0["estimated_cycles"][0] > m4["estimated_cycles"][1]
    for text in ("estimated", "NUCLEO-L4R5ZI", "cost model", "load", "was off by"):
        assert text in result.output


def test_more_channels_take_more(call, tmp_path):
    found = []
    for channels in (8, 16):
        sizes = (*SMALL, "--channels", channels, "--front", 4, 2, "--activations", "int16")
        options = ("--board", "teensy-4.1", "--method", "modelled", "--json", tmp_path / "e.json")
        result = call("estimate", *sizes, *options)
        assert result.exit_code == 0, result.output
        found.append(json.loads((tmp_path / "e.json").read_text())["boards"][0])
    assert found[0]["instructions"] < found[1]["instructions"]
    assert found[0]["flash_bytes"] < found[1]["flash_bytes"] and found[0]["ram_bytes"] < found[1]["ram_bytes"]


@pytest.mark.parametrize("pooling", ["recent", "sliding", "none"])
def test_poolings_that_must_be_told_how_long_they_remember(call, pooling, tmp_path):
    options = ("--board", "teensy-4.1", "--method", "modelled", "--json", tmp_path / "e.json")
    result = call("estimate", *SMALL, "--pooling", pooling, *options)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "e.json").read_text())["boards"][0]["instructions"] > 100


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_all_kinds(call, kind, tmp_path):
    sizes = ("--kind", kind, "--width", 8, "--blocks", 1, "--states", 2, "--features", 3, "--front", 4, 2)
    options = ("--board", "teensy-4.1", "--method", "modelled", "--json", tmp_path / "e.json")
    result = call("estimate", *sizes, *options)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["sizes"]["kind"] == kind and found["sizes"]["channels"] == 8
    architecture = Architecture(kind, width=8, blocks=1, states=2, front=(4, 2))
    expected = architecture_cost(architecture, (64, 3), 7, "m7")
    assert found["boards"][0]["instructions"] == expected.instructions
    assert found["boards"][0]["flash_bytes"] == expected.flash_bytes


@pytest.mark.parametrize("more", [(), ("--gate", "dense")], ids=["sizes alone", "as a network of its kind"])
def test_modes_that_all_channels_share(call, more, tmp_path):
    found = []
    for shared in ((), ("--shared-modes",)):
        sizes = ("--channels", 12, "--states", 6, "--blocks", 1, "--features", 3, *more)
        options = ("--board", "teensy-4.1", "--method", "modelled", "--json", tmp_path / "e.json")
        result = call("estimate", *sizes, *shared, *options)
        assert result.exit_code == 0, result.output
        found.append(json.loads((tmp_path / "e.json").read_text()))
    own, shared = (each["boards"][0] for each in found)
    assert [each["sizes"]["shared_modes"] for each in found] == [False, True]
    assert shared["ram_bytes"] < own["ram_bytes"]
    network = Architecture("dss", 12, 1, 6, shared_modes=True)
    assert shared["flash_bytes"] == architecture_cost(network, (64, 3), 7, "m7").flash_bytes


def test_a_gate_a_rank_and_slower_blocks_make_a_network_cheaper(call, tmp_path):
    found = []
    for more in ((), ("--gate", "none"), ("--gate", "none", "--rank", 2), ("--gate", "none", "--downsample", 2)):
        sizes = ("--kind", "dss", "--width", 12, "--states", 2, "--window", 16, *more)
        options = ("--board", "teensy-4.1", "--method", "modelled", "--json", tmp_path / "e.json")
        result = call("estimate", *sizes, *options)
        assert result.exit_code == 0, result.output
        found.append(json.loads((tmp_path / "e.json").read_text())["boards"][0]["instructions"])
    whole, ungated, low_rank, slower = found
    assert whole > ungated > low_rank and ungated > slower


def test_a_converted_model_on_a_board(call, model_file, data_file, tmp_path):
    options = ("--board", "arduino-nano-33-ble", "--rate", 25, "--json", tmp_path / "c.json")
    result = call("convert", model_file, "--data", data_file, *options)
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "c.json").read_text())["boards"]
    assert found["rate"] == 25 and found["fits"] and found["keeps_up"]
    assert "On boards, estimated" in result.output and f"{found['flash_bytes']:,} of 1,048,576" in result.output


def test_boards_are_listed_with_their_sources(call, tmp_path):
    result = call("estimate", "--list", "--json", tmp_path / "b.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "b.json").read_text()).keys() == boards().keys()
    text = " ".join(result.output.split())
    for board in boards().values():
        assert board.name in text and all(" ".join(str(source).split()[:4]) in text for source in board.sources)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimate"], "estimate needs --board NAME"),
        (["estimate", "--board", "uno-4"], "Received board 'uno-4'; expected one of arduino-nano-33-ble"),
        (["estimate", "--board", "teensy-4.1", "--rate", "0"], "expected steps a second, above 0"),
        (["estimate", "--board", "teensy-4.1", "--method", "fast"], "method='fast'; expected one of"),
        (["estimate", "--board", "teensy-4.1", "--pooling", "mean"], "pooling='mean'"),
        (["estimate", "--board", "teensy-4.1", "--kind", "mlp"], "kind='mlp'; expected one of"),
        (["estimate", "--board", "teensy-4.1", "--gate", "wide"], "gate='wide'; expected one of"),
        (["estimate", "--board", "teensy-4.1", "--kind", "rnn", "--rank", "64"], "a rank is at most the width"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call, arguments, message):
    result = call(*arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_rate_without_a_board_is_refused(call, model_file, data_file):
    result = call("convert", model_file, "--data", data_file, "--rate", "50")
    assert result.exit_code == 1 and "give --board NAME as well" in " ".join(result.output.split())
