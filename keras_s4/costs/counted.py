"""What a step costs on a Cortex-M, counted: the C compiled, run on an emulated core, and timed block by block.

Importing this needs the packages of the extra [bench].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_s4.costs.cycles import count_instructions, estimate_cycles
from keras_s4.costs.steady import steady_vectors
from keras_s4.costs.step_cost import COUNTED, StepCost
from keras_s4.costs.timings import TIMINGS
from keras_s4.testing.targets import CORES, Core, build
from keras_s4.testing.targets.tracing import Trace, trace_on_qemu, trace_on_unicorn
from keras_s4.tflite.program.program import Program

COMPILERS = ("gcc", "zig")


def measure_on_cortex_m(
    program: Program, core: str, compiler: str | None = None, inputs: Sequence[np.ndarray] | None = None
) -> StepCost:
    """Instructions and estimated cycles a step, flash, RAM and stack.

    Args:
        program: the integer program.
        core: a key of `TIMINGS`; what is compiled for the M0 runs on the M0+ as well.
        compiler: "gcc" or "zig"; by default the first that is installed.
        inputs: for each input, integers `[B, L, ...]`, of which the first stream is run from a reset; when omitted,
            random ones that show the average of steps long after a reset (see `steady.py`).

    Raises:
        RuntimeError: no compiler, or no QEMU for a core that Unicorn does not have.
    """
    return cost_of(trace_steps(program, core, compiler, inputs), core)


def trace_steps(
    program: Program, core: str, compiler: str | None = None, inputs: Sequence[np.ndarray] | None = None
) -> Trace:
    """The blocks that run in steps, for `cost_of`; see `measure_on_cortex_m`."""
    given = None if inputs is None else [array[:1] for array in inputs]
    return _first_trace(program, core, (compiler,) if compiler else COMPILERS, given)


def cost_of(trace: Trace, core: str) -> StepCost:
    """A trace in figures.

    Args:
        trace: of a program's steps.
        core: a key of `TIMINGS` that executes the trace's code.
    """
    image, timing = trace.image, TIMINGS[core]
    samples = trace.steps * image.program.steps
    cycles = estimate_cycles(trace.blocks, trace.read, timing) / samples
    return StepCost(
        core=core,
        method=COUNTED,
        compiler=image.compiler,
        instructions=count_instructions(trace.blocks, trace.read) / samples,
        cycles=cycles,
        likely_cycles=cycles.low + timing.likely * (cycles.high - cycles.low),
        code_bytes=image.code_bytes,
        constant_bytes=image.constant_bytes,
        ram_bytes=image.state_bytes + image.static_bytes,
        stack_bytes=trace.stack_bytes,
        samples=image.program.steps,
    )


def _first_trace(program: Program, core: str, compilers: Sequence[str], inputs: Sequence[np.ndarray] | None) -> Trace:
    """With the first compiler that there is."""
    reasons = []
    for compiler in compilers:
        try:
            return _trace(program, CORES[core.removesuffix("+")], compiler, inputs)
        except RuntimeError as error:
            reasons.append(str(error).splitlines()[0])
    raise RuntimeError(" ".join(reasons))


def _trace(program: Program, target: Core, compiler: str, inputs: Sequence[np.ndarray] | None) -> Trace:
    if target.in_unicorn:
        if inputs is not None:
            return trace_on_unicorn(build(program, target, compiler), inputs)
        vectors = steady_vectors(program)
        return trace_on_unicorn(build(program, target, compiler), vectors.inputs, vectors.starts)
    vectors = steady_vectors(program)
    return trace_on_qemu(build(program, target, compiler, vectors), vectors.inputs[0].shape[1])
