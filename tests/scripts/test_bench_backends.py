"""What `bench/backends.py` says of libraries that are not there, and how it compares those that are."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


@pytest.fixture(scope="module")
def measuring():
    spec = importlib.util.spec_from_file_location("backends_measuring", BENCH / "backends_measuring.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_peers_without_a_checkout_are_said_to_be_missing(measuring, tmp_path):
    peers = measuring.Peers(None, tmp_path, sys.executable)
    assert measuring.describe_peers(measuring.Peers(None, None, sys.executable)) == {}
    assert peers.missing("PyTorch S4D") == "not measured: --s4-checkout names no checkout"
    assert not any(map(peers.missing, ("annotated-s4", "TensorFlow", "JAX")))


def test_a_checkout_that_is_none_ends_with_what_its_process_said(measuring, tmp_path):
    peers = measuring.Peers(tmp_path, tmp_path, sys.executable)
    with pytest.raises(ChildProcessError, match="annotated-s4 could not run step: ModuleNotFoundError: No module"):
        measuring.Process(peers, "annotated-s4", "step", length=4, states=1)


def test_ratios_are_those_of_the_rounds(measuring):
    seconds = {"TensorFlow": [2.0, 4.0, 6.0], "JAX": [1.0, 8.0, 3.0], "annotated-s4": [4.0, 8.0, 12.0]}
    figures = {figure.name: figure for figure in measuring.step_figures(16, seconds)}
    assert {name: figure.value for name, figure in figures.items()} == {
        "JAX step at 784, 16 states, of TensorFlow's": 0.5,
        "TensorFlow step at 784, 16 states, of annotated-s4's": 0.5,
        "JAX step at 784, 16 states, of annotated-s4's": 0.25,
    }
    assert [figure.holds for figure in figures.values()] == [True, True, True]


def test_a_process_tells_the_processor_time_of_calls(measuring):
    peers = measuring.Peers(None, None, sys.executable)
    process = measuring.Process(peers, "JAX", "step", length=8, states=1)
    try:
        assert process.first["import"] > 0.1  # of Keras alone it takes more
        assert 0 < process.time(2) < process.first["first call"]
    finally:
        process.close()
    with pytest.raises((BrokenPipeError, ValueError, subprocess.SubprocessError)):
        process.time(1)
