"""A model of given sizes, with random weights, on boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_s4.cli.actions.boards import show
from keras_s4.cli.files import write_json
from keras_s4.costs import estimate_boards
from keras_s4.costs.untrained import Sizes, untrained_program


def run(sizes: Mapping[str, Any], boards: Sequence[str], rate: float | None, method: str, json: Path | None) -> None:
    """Makes the program, and shows what it takes."""
    program = untrained_program(Sizes(**sizes))
    estimates = estimate_boards(program, boards, rate, method)
    write_json(json, {"sizes": dict(sizes), "boards": [each.to_json() for each in estimates]})
    show(estimates)
