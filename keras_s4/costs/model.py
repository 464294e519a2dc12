"""The cost model: what a step costs where no compiler is installed, from coefficients that were fitted to counts.

`coefficients.json` has them, with the errors on programs that they were not fitted to; `scripts/bench/costs_model.py
--rerun` writes it anew.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize

from keras_s4.costs.features import count_bytes, count_code, count_work, source_of
from keras_s4.costs.ranges import Range
from keras_s4.costs.step_cost import MODELLED, StepCost
from keras_s4.tflite.program.program import Program

TABLE = Path(__file__).parent / "coefficients.json"
FIGURES = ("instructions", "low", "high", "likely")
TRUST = 1e-3  # chosen on models that neither the coefficients nor the stated errors come from


@functools.cache
def coefficients() -> dict[str, Any]:
    """The table: for each core the coefficients by figure, and the errors."""
    return json.loads(TABLE.read_text())


def predict(program: Program, core: str) -> StepCost:
    """What the cost model says of a program.

    Args:
        program: the integer program.
        core: one of the table.

    Raises:
        ValueError: the model has no such core.
    """
    table = coefficients()
    if core not in table["cores"]:
        raise ValueError(f"The cost model received core {core!r}; it knows {', '.join(table['cores'])}.")
    weights, source = table["cores"][core]["coefficients"], source_of(program)
    work = count_work(program)
    found = {figure: apply(weights[figure], work) / program.steps for figure in FIGURES if figure in weights}
    low, high = found.get("low", found["likely"]), found.get("high", found["likely"])
    constants, ram = count_bytes(source)
    return StepCost(
        core=core,
        method=MODELLED,
        compiler=table["cores"][core]["compiler"],
        instructions=found.get("instructions"),
        cycles=Range(low, max(low, high)),
        likely_cycles=found["likely"],
        code_bytes=round(apply(weights["code"], count_code(source))),
        constant_bytes=constants,
        ram_bytes=ram if core != "avr" else ram + constants,
        stack_bytes=None,
        samples=program.steps,
    )


def expected_error(core: str) -> str:
    """What is known of the errors for a core, as the end of a sentence that begins with "The cost model"."""
    errors = coefficients()["cores"][core]["errors"]
    parts = [
        f"by {found[0]:.0%} (median; worst {found[1]:.0%}) for {found[2]} models of other {kind}"
        for kind, found in errors.items()
        if found
    ]
    return f"was off {', '.join(parts)} than it was fitted to."


def fit(
    rows: Sequence[Mapping[str, float]],
    values: Sequence[float],
    expected: Callable[[str], float],
    trust: float = TRUST,
) -> dict[str, float]:
    """Coefficients, none below 0, with the least sum of squared relative errors.

    What programs always have together can be told apart only by what is expected of it, which so decides where the
    values say nothing.

    Args:
        rows: what the values depend on.
        values: above 0.
        expected: function from a name to about what its coefficient is, up to a factor that all have.
        trust: in that, beside one value.
    """
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0) for name in names] for row in rows], float)
    scaled = matrix / np.asarray(values, float)[:, None]
    guess = np.array([expected(name) for name in names])
    told = scaled @ guess
    guess *= told.sum() / (told @ told)
    strength = np.sqrt(trust)
    system = np.concatenate([scaled * guess, strength * np.eye(len(names))])
    wanted = np.concatenate([np.ones(len(rows)), np.full(len(names), strength)])
    found, _ = scipy.optimize.nnls(system, wanted)
    return {name: float(weight) for name, weight in zip(names, found * guess, strict=True) if weight}


def expected_work(name: str) -> float:
    """Some instructions for a name of `count_work`."""
    if name.endswith(", products"):
        return 2.5
    return 6.0 if name.endswith(", values") else 30.0


def expected_code(name: str) -> float:
    """Some bytes for a name of `count_code`."""
    return {"run": 100.0, "lines": 15.0}.get(name, 300.0)


def apply(weights: Mapping[str, float], row: Mapping[str, int]) -> float:
    """What coefficients give for what they depend on."""
    return sum(weights.get(name, 0.0) * count for name, count in row.items())
