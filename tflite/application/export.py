"""What a ready-made project is made of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_s4.tflite.application.decisions import ProgramDecision
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.application.sensors import SensorInput
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.program.program import Program

LONGEST_TITLE = 60


@dataclasses.dataclass(frozen=True)
class Export:
    """A model on its way into a project.

    Args:
        program: the integer program.
        manifest: the facts about it, as `manifest_of` gives them.
        golden: vectors of the program.
        name: what its C files, functions and macros begin with.
        decision: is made from its outputs; None for none.
        sensors: of all inputs; None where the board says what they are.
        recordings: what a project that shows something replays; see `keras_s4.tflite.web_page`.
    """

    program: Program
    manifest: Mapping[str, Any]
    golden: Golden
    name: str
    decision: ProgramDecision | None = None
    sensors: Sequence[SensorInput] | None = None
    recordings: Any = None

    @property
    def title(self) -> str:
        """The model's own name, safe in comments, strings and options of all ecosystems, and short."""
        return re.sub(r"[$%&<>`]", "_", printable(self.program.name))[:LONGEST_TITLE]
