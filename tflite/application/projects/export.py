"""What a ready-made project is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_s4.tflite.application.decisions import ProgramDecision
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.application.sensors import SensorInput
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.program.program import Program


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
        own_name: what `own_names` puts in front of all that an application could not share with another one in the
            same firmware; None where nobody has chosen a name.
    """

    program: Program
    manifest: Mapping[str, Any]
    golden: Golden
    name: str
    decision: ProgramDecision | None = None
    sensors: Sequence[SensorInput] | None = None
    recordings: Any = None
    own_name: str | None = None

    @property
    def title(self) -> str:
        """The model's own name, safe in comments and strings."""
        return printable(self.program.name)
