"""The ways to run a program on this computer, and which of them it has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from keras_s4.tflite import runtimes
from keras_s4.tflite.c99 import CRunner
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program import Program

Engine = Literal["tflm", "c", "emulator"]
Run = Callable[[np.ndarray | list[np.ndarray]], np.ndarray | tuple[np.ndarray, ...]]


def missing(engine: Engine) -> str:
    """Why this computer cannot run an engine, "" if it can."""
    try:
        if engine == "tflm":
            runtimes.load_tflm()
        elif engine == "c":
            compiler()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


def chosen(engine: Engine | None, program: Program, tflite: bytes) -> Run:
    """The function that runs streams of integers on an engine.

    Args:
        engine: None for the first that this computer has; a warning names it if it is not TensorFlow Lite Micro.
        program: the integer program.
        tflite: its file.

    Raises:
        ValueError: another word for `engine`.
        ImportError, RuntimeError: it is not installed.
        NotImplementedError: "c" for a program that C leaves out.
    """
    runs = {
        "tflm": lambda inputs: runtimes.run_tflm(tflite, inputs),
        "c": lambda inputs: CRunner(program).run(inputs),
        "emulator": lambda inputs: Emulator(program).run(inputs),
    }
    if engine is None:
        engine = next(name for name in get_args(Engine) if not missing(name))
        if engine != "tflm":
            warnings.warn(
                f"TensorFlow Lite Micro is not installed; the program runs as {_TITLES[engine]}, which gives the same.",
                stacklevel=3,
            )
    if engine not in runs:
        raise ValueError(f"Received engine={engine!r}; expected one of {', '.join(map(repr, runs))}, or None.")
    return runs[engine]


_TITLES = {"c": "compiled C99", "emulator": "numpy"}
