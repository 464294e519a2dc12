"""Cycles of a step on an AVR, simulated: simavr knows the time of every instruction.

Importing this needs the packages of the extra [bench].
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from keras_s4.costs.ranges import Range
from keras_s4.costs.steady import steady_vectors
from keras_s4.costs.step_cost import SIMULATED, StepCost
from keras_s4.testing.targets import avr
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.program.program import Program


def measure_on_avr(program: Program, sources: dict[str, str] | None = None) -> StepCost:
    """Cycles a step, flash and RAM.

    Args:
        program: one that fits the simulated chip with its inputs, `avr.CHIP`.
        sources: other C than `c_source(program, "model")`.

    Raises:
        RuntimeError: avr-gcc or simavr is missing, the compiler or the linker refuses, or the run does not end.
    """
    sources = c_source(program, avr.NAME) if sources is None else sources
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = avr.run_vectors(program, steady_vectors(program), Path(folder), sources)
        except RuntimeError as error:
            if "not within region" in str(error):
                raise RuntimeError(f"the model does not fit the memory of the simulated {avr.CHIP}") from error
            raise
        sizes = avr.sizes_of(Path(folder), sources)
    cycles = report.cycles / program.steps
    return StepCost(
        core="avr",
        method=SIMULATED,
        compiler=sizes.compiler,
        instructions=None,
        cycles=Range(cycles, cycles),
        likely_cycles=cycles,
        code_bytes=sizes.code_bytes,
        constant_bytes=sizes.constant_bytes,
        ram_bytes=sizes.state_bytes + sizes.static_bytes,
        stack_bytes=report.stack_bytes,
        samples=program.steps,
    )
