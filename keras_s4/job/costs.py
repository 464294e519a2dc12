"""What a step costs on a microcontroller: counted on an emulated core, where it and a cross compiler are there."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from keras_s4.job.job import Job
from keras_s4.samples import as_list

COUNTED = "keras_s4.costs.counted"
CORE, CLOCK_MHZ = "m4", 80.0
STEPS = 100  # that are counted


def measure(job: Job) -> dict[str, Any]:
    """Instructions a step, flash, RAM and stack of the C on a Cortex-M4, JSON-ready.

    Returns:
        Instructions, bytes, the "core", and the range and the likely "microseconds_a_step" at "clock_mhz", estimated
        from published timings; or "missing", why nothing could be counted. In any case the multiply-accumulates.
    """
    program = job.firmware.program
    known = {"multiply_accumulates_a_step": multiply_accumulates(job.firmware.manifest)}
    try:
        counted = importlib.import_module(COUNTED)  # it needs packages of the extra [bench]
    except ImportError as error:
        return known | {"missing": f"{error}; pip install 'keras-s4[bench]'"}
    integers = [np.asarray(array)[:, :STEPS] for array in as_list(job.firmware.quantize(job.calibration[:1]))]
    try:
        cost = counted.measure_on_cortex_m(program, CORE, inputs=integers)
    except (RuntimeError, NotImplementedError) as error:
        return known | {"missing": str(error).splitlines()[0]}
    return known | {
        "compiler": cost.compiler,
        "core": CORE,
        "clock_mhz": CLOCK_MHZ,
        "instructions_a_step": cost.instructions,
        "cycles_a_step": list(cost.cycles),
        "microseconds_a_step": cost.likely_cycles / CLOCK_MHZ,
        "microseconds_range": list(cost.cycles / CLOCK_MHZ),
        "flash_bytes": cost.flash_bytes,
        "ram_bytes": cost.ram_bytes,
        "stack_bytes": cost.stack_bytes,
    }


def multiply_accumulates(manifest: dict[str, Any]) -> int:
    """Those of a step of the signal, on the average, of a program that may take several at once."""
    return round(manifest["multiply_accumulates_per_step"] / manifest["steps_per_invoke"])
