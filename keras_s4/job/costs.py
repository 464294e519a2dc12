"""What a step costs on a microcontroller: counted on an emulated core, where it and a cross compiler are there."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from keras_s4.job.job import Job
from keras_s4.samples import as_list

TARGETS = "keras_s4.testing.targets"
COMPILERS = ("gcc", "zig")
CORE, CLOCK_MHZ = "m4", 80.0
KEPT = ("compiler", "instructions_a_step", "flash_bytes", "ram_bytes", "stack_bytes")


def measure(job: Job) -> dict[str, Any]:
    """Instructions a step, flash, RAM and stack of the C on a Cortex-M4, JSON-ready.

    Returns:
        What `keras_s4.testing.targets.measure_cost` counts, the "core", and "microseconds_a_step" at "clock_mhz", at
        one instruction a cycle; or "missing", why nothing could be counted. In any case the multiply-accumulates.
    """
    program = job.firmware.program
    known = {"multiply_accumulates_a_step": multiply_accumulates(job.firmware.manifest)}
    try:
        targets = importlib.import_module(TARGETS)  # it needs packages of the extra [bench]
    except ImportError as error:
        return known | {"missing": f"{error}; pip install 'keras-s4[bench]'"}
    integers = [np.asarray(array) for array in as_list(job.firmware.quantize(job.calibration[:1]))]
    reasons = []
    for compiler in COMPILERS:
        try:
            found = targets.measure_cost(program, integers, CORE, compiler)
        except (RuntimeError, NotImplementedError) as error:
            reasons.append(str(error).splitlines()[0])
            continue
        counted = {name: found[name] for name in KEPT}
        counted["instructions_a_step"] /= program.steps  # it takes so many at once
        microseconds = counted["instructions_a_step"] / CLOCK_MHZ
        return known | counted | {"core": CORE, "clock_mhz": CLOCK_MHZ, "microseconds_a_step": microseconds}
    return known | {"missing": " ".join(reasons)}


def multiply_accumulates(manifest: dict[str, Any]) -> int:
    """Those of a step of the signal, on the average, of a program that may take several at once."""
    return round(manifest["multiply_accumulates_per_step"] / manifest["steps_per_invoke"])
