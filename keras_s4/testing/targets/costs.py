"""What a step of a program costs on a core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_s4.testing.targets.cores import CORES
from keras_s4.testing.targets.image import build
from keras_s4.testing.targets.unicorn_core import run
from keras_s4.tflite.program.program import Program

COUNTED_STEPS = 100


def measure_cost(program: Program, inputs: Sequence[np.ndarray], core: str, compiler: str = "gcc") -> dict[str, Any]:
    """Instructions a step, flash, RAM and stack of a program's C on a core in Unicorn.

    Args:
        program: the integer program.
        inputs: for each input, integers `[B, L, ...]`; the first steps of the first stream are run.
        core: one of `CORES`.
        compiler: "gcc" or "zig".

    Returns:
        The figures by name, ready for JSON; "operations" has the instructions of each operation.

    Raises:
        RuntimeError: the compiler is not installed or refuses the source.
    """
    image = build(program, CORES[core], compiler)
    counted = run(image, [array[:1, :COUNTED_STEPS] for array in inputs])
    return {
        "compiler": image.compiler,
        "code_bytes": image.code_bytes,
        "constant_bytes": image.constant_bytes,
        "flash_bytes": image.code_bytes + image.constant_bytes,
        "ram_bytes": image.state_bytes,
        "stack_bytes": counted.stack_bytes,
        "instructions_a_step": counted.instructions_per_step,
        "operations": counted.operations,
    }
