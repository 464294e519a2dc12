"""A model of given sizes, with random weights, on boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_s4.architectures import Architecture
from keras_s4.cli.actions.boards import show
from keras_s4.cli.files import write_json
from keras_s4.costs import estimate_boards
from keras_s4.costs.architectures import architecture_program
from keras_s4.costs.untrained import Sizes, untrained_program, usual_arguments
from keras_s4.tflite.program.program import Program


def run(
    sizes: Mapping[str, Any],
    choices: Mapping[str, Any],
    boards: Sequence[str],
    rate: float | None,
    method: str,
    json: Path | None,
) -> None:
    """Makes the program, and shows what it takes.

    Args:
        sizes: the arguments of `Sizes`.
        choices: what makes it an `Architecture`: its kind, and fields that `Sizes` does not have; S4 blocks if empty.
        boards: names.
        rate: steps of the signal a second.
        method: see `keras_s4.costs.estimate`.
        json: file for all figures.
    """
    program = _architecture(sizes, choices) if choices else untrained_program(Sizes(**sizes))
    estimates = estimate_boards(program, boards, rate, method)
    write_json(json, {"sizes": {**sizes, **choices}, "boards": [each.to_json() for each in estimates]})
    show(estimates)


def _architecture(sizes: Mapping[str, Any], choices: Mapping[str, Any]) -> Program:
    """The program of a network of any kind.

    Raises:
        ValueError: choices that do not belong together.
    """
    chosen = {**choices, "gate": None} if choices.get("gate") == "none" else choices
    named = ("blocks", "states", "shared_modes", "front", "pooling", "activation")
    architecture = Architecture(
        **{name: sizes[name] for name in named},
        **chosen,
        width=sizes["channels"],
        pooling_arguments=usual_arguments(sizes["pooling"]),
    )
    shape = sizes["steps"], sizes["features"]
    return architecture_program(architecture, shape, sizes["outputs"], activations=sizes["activations"])
