"""What `bench/firmware.py` takes apart: instructions by operation, and what only outputs need."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from keras_s4.testing.programs import model
from keras_s4.testing.targets import CORES, build, run

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


@pytest.fixture(scope="module")
def measuring():
    spec = importlib.util.spec_from_file_location("firmware_measuring", BENCH / "firmware_measuring.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counted():
    """A program and its instructions a step on a Cortex-M4."""
    program = model(lowered=True)
    inputs = [np.zeros((1, 5, *tensor.shape), tensor.type) for tensor in program.inputs]
    return program, {"operations": run(build(program, CORES["m4"]), inputs).operations}


def test_most_instructions_belong_to_operations_and_none_takes_fewer_than_it_must(measuring, counted):
    program, cost = counted
    rows = measuring.layer_rows(program, cost)
    assert sum(row["instructions"] for row in rows) > 0.8 * sum(cost["operations"].values())
    heavy = [row for row in rows if row["operation"].startswith(("DiagonalStep", "FullyConnected"))]
    assert len(heavy) >= 4
    assert all(row["instructions"] > row["least"] for row in heavy)


def test_names_that_no_operation_has_are_an_error(measuring, counted):
    program, cost = counted
    renamed = {"operations": {f"other {name}": count for name, count in cost["operations"].items()}}
    with pytest.raises(RuntimeError, match=r"are counted under other .*, not "):
        measuring.layer_rows(program, renamed)


def test_what_only_outputs_need_is_a_part(measuring, counted):
    program, cost = counted
    assert 0 < measuring.outputs_cost(program, cost) < 0.5 * sum(cost["operations"].values())
