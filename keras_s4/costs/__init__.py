"""What a program costs on a microcontroller: instructions, cycles, time, load and energy, on named boards.

What needs Keras is loaded when it is first used: boards can be listed without.
"""

from __future__ import annotations

import importlib

from keras_s4.costs.boards import Board, boards
from keras_s4.costs.estimate import Estimate, check_request, estimate, estimate_boards, estimates_table
from keras_s4.costs.step_cost import StepCost

_WITH_KERAS = ("architecture_cost", "model_cost")

__all__ = [
    "Board",
    "Estimate",
    "StepCost",
    "architecture_cost",
    "boards",
    "check_request",
    "estimate",
    "estimate_boards",
    "estimates_table",
    "model_cost",
]


def __getattr__(name: str):
    if name in _WITH_KERAS:
        return getattr(importlib.import_module("keras_s4.costs.architectures"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
