"""The ways to run a program on this computer, and which of them it has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from keras_s4.checks import quote
from keras_s4.tflite import runtimes
from keras_s4.tflite.c99 import CRunner
from keras_s4.tflite.c99.host import CompilerError, compiler
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.program.program import Program

Engine = Literal["tflm", "c", "emulator"]
Run = Callable[[np.ndarray | list[np.ndarray]], np.ndarray | tuple[np.ndarray, ...]]


def why_missing(engine: Engine) -> str:
    """Why this computer cannot run an engine, "" if it can."""
    try:
        if engine == "tflm":
            runtimes.load_tflm()
        elif engine == "c":
            compiler()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


def choose_engine(engine: Engine | None, program: Program, tflite: bytes) -> Run:
    """The function that runs streams of integers on an engine.

    Args:
        engine: None for the first that works on this computer; a warning names it if it is not TensorFlow Lite Micro.
        program: the integer program.
        tflite: its file.

    Raises:
        ValueError: another word for `engine`.
        ImportError, CompilerError: it is not installed.
        NotImplementedError: "c" for a program that C leaves out.
    """
    if engine is None and why_missing("tflm"):
        return _run_without_tflm(program)
    match "tflm" if engine is None else engine if isinstance(engine, str) else None:
        case "tflm":
            return runtimes.TflmRunner(tflite).run
        case "c":
            return CRunner(program).run
        case "emulator":
            return Emulator(program).run
    raise ValueError(
        f"Received engine={quote(engine)}; expected one of {', '.join(map(repr, get_args(Engine)))}, or None."
    )


def _run_without_tflm(program: Program) -> Run:
    """Compiled C, or else the emulator; a warning says which."""
    note = "TensorFlow Lite Micro is not installed; the program runs as {}, which gives the same integers."
    try:
        run = CRunner(program).run
    except (CompilerError, NotImplementedError) as error:
        warnings.warn(f"{note.format('the emulator, slowly')} Not in C either: {error}", stacklevel=4)
        return Emulator(program).run
    warnings.warn(note.format("compiled C99"), stacklevel=4)
    return run
