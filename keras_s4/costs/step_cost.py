"""What a step of a program costs on a core, however that was found."""

from __future__ import annotations

import dataclasses

from keras_s4.costs.ranges import Range

COUNTED, SIMULATED, MODELLED = "counted", "simulated", "modelled"
METHODS = {
    COUNTED: "instructions counted on an emulated core, cycles estimated from published timings",
    SIMULATED: "cycles simulated by simavr",
    MODELLED: "instructions and cycles estimated by the cost model",
}


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What a step costs; of a program that takes several samples at once, what one of them costs on the average.

    Programs do so whose layers drop steps: they take a whole period of the pattern.

    Args:
        core: a key of `TIMINGS`, "avr" or "rv32".
        method: a key of `METHODS`.
        compiler: its name and version, or of the cost model those that it was fitted to.
        instructions: None where they are not counted.
        cycles: None where there are no timings.
        likely_cycles: within `cycles`, where boards were found; None likewise.
        code_bytes: flash of the instructions.
        constant_bytes: flash of weights and tables.
        ram_bytes: the state of one stream, working memory included.
        stack_bytes: None where it was not watched.
        samples: that a run of the program takes at once; more than one where layers drop steps.
    """

    core: str
    method: str
    compiler: str
    instructions: float | None
    cycles: Range | None
    likely_cycles: float | None
    code_bytes: int
    constant_bytes: int
    ram_bytes: int
    stack_bytes: int | None
    samples: int = 1

    @property
    def instructions_a_run(self) -> float | None:
        """Of a call of the step, which takes `samples`."""
        return None if self.instructions is None else self.instructions * self.samples

    @property
    def flash_bytes(self) -> int:
        """Code and constants."""
        return self.code_bytes + self.constant_bytes
