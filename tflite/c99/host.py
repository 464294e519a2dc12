"""The generated C on this computer: compiled into a shared library, and run step by step."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_s4.files import temporary_folder
from keras_s4.tflite.c99.files import TEMPLATES, c_source, read_with
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.c99.layout import StateLayout
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror", "-pedantic")
# Of a shared library: on Windows all code is position-independent, and gcc warns of the flag.
INDEPENDENT, SUFFIX = ((), ".dll") if os.name == "nt" else (("-fPIC",), ".so")
SHARED = ("-shared", *INDEPENDENT)
NAME, KERNELS = "model", "keras_s4_"
# Seconds that a compiler may take, and lines that are shown of what it says.
PATIENCE, FIRST_LINES = 600, 12
# Objects of kernels, which are the same for all programs, by the command and all that it reads.
_COMPILED: dict[tuple[tuple[str, ...], ...], bytes] = {}


class CompilerError(RuntimeError, OSError):
    """There is no C compiler for this computer, or it refuses a source; commands show it as an error of the user's."""


class CRunner:
    """Runs the C99 source of a program on this computer.

    Args:
        program: the integer program.
        flags: more flags for the compiler, which is the one that the environment variable CC names, or cc, gcc or
            clang, or that of the package ziglang.

    Raises:
        CompilerError: there is no compiler, or it refuses the source.
        NotImplementedError: an operation in a form that the kernels leave out.
    """

    def __init__(self, program: Program, flags: Sequence[str] = ("-O2",)):
        self.program = program
        with temporary_folder() as folder:
            library = compile_for_host({**c_source(program, NAME), "host.c": _render_wrapper(program)}, folder, flags)
            self._library = load(library)
        self._state = np.zeros(ctypes.c_ulong.in_dll(self._library, "state_size").value, np.uint8)
        offsets = (ctypes.c_ulong * max(1, len(program.states))).in_dll(self._library, "state_offsets")
        self._layout = StateLayout(program, offsets)

    def run(
        self,
        inputs: np.ndarray | Sequence[np.ndarray],
        states: Sequence[np.ndarray] | None = None,
        keep_states: bool = False,
        silent: int = 0,
    ):
        """Run streams, one after the other, each from a reset.

        Args:
            inputs: integers `[B, L, H]`; a sequence of them when the program has several inputs.
            states: where each stream starts, `[B, ...]` each; zeros when omitted.
            keep_states: also return the states after every step.
            silent: of how many steps of each stream, the first ones, the outputs are not asked for; they stay 0.

        Returns:
            The outputs `[B, L, C]` (a tuple of them when there are several); with `keep_states`, a pair of that and a
            tuple of states `[B, L, ...]`.

        Raises:
            ValueError: shapes or types do not fit, or a token number is outside its table.
        """
        arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        self._check(arrays)
        batch, length = arrays[0].shape[:2]
        outputs = tuple(np.zeros((batch, length, *t.shape), t.type) for t in self.program.outputs)
        kept = tuple(np.zeros((batch, length, *s.before.shape), s.before.type) for s in self.program.states)
        for stream in range(batch):
            self._reset(None if states is None else [state[stream] for state in states])
            trajectory = np.zeros((length if keep_states else 0, self._state.size), np.uint8)
            rows = [np.ascontiguousarray(array[stream]) for array in arrays]
            results = [output[stream] for output in outputs]
            self._call(rows, results, trajectory, silent, length)
            if keep_states:
                for array, values in zip(kept, self._layout.read(trajectory), strict=True):
                    array[stream] = values
        values = outputs[0] if len(outputs) == 1 else outputs
        return (values, kept) if keep_states else values

    def _check(self, arrays: list[np.ndarray]) -> None:
        tensors = self.program.inputs
        if len(arrays) != len(tensors):
            raise ValueError(f"Received {len(arrays)} inputs; the program has {len(tensors)}.")
        for array, tensor in zip(arrays, tensors, strict=True):
            if array.dtype != tensor.type or array.shape[2:] != tensor.shape or array.shape[:2] != arrays[0].shape[:2]:
                raise ValueError(
                    f"Input {tensor.name!r} received {array.dtype}{list(array.shape)}; expected {tensor.type} of shape "
                    f"[B, L, {', '.join(map(str, tensor.shape))}]."
                )

    def _reset(self, states: Sequence[np.ndarray] | None) -> None:
        getattr(self._library, f"{NAME}_reset")(self._state.ctypes.data_as(ctypes.c_void_p))
        if states is not None:
            self._layout.write(states, self._state)

    def _call(
        self, rows: list[np.ndarray], results: list[np.ndarray], trajectory: np.ndarray, silent: int, length: int
    ) -> None:
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (self._state, *rows, *results)]
        kept = trajectory.ctypes.data_as(ctypes.c_void_p) if trajectory.size else None
        failed = self._library.run_steps(*pointers, kept, ctypes.c_ulong(silent), ctypes.c_ulong(length))
        if failed:
            raise ValueError(f"Step {failed - 1}: a token number is outside its table.")


def compile_for_host(sources: dict[str, str], folder: Path, flags: Sequence[str]) -> Path:
    """Write sources into a folder and compile them into a shared library.

    Raises:
        CompilerError: there is no compiler, or it refuses the sources.
    """
    for name, text in sources.items():
        (folder / name).write_text(text)
    command = (*compiler(), *STRICT, *flags)
    objects = _compile_kernels(command, sources, folder)
    library = folder / f"model{SUFFIX}"
    others = sorted(name for name in sources if name.endswith(".c") and not name.startswith(KERNELS))
    linking = [*command, *SHARED, "-o", library.name, *others, *objects]
    said = _run(linking, folder)
    if not library.is_file():
        raise CompilerError(_refusal(linking, "it has written no library", said))
    return library


def _compile_kernels(command: tuple[str, ...], sources: dict[str, str], folder: Path) -> list[str]:
    """Writes the objects of the kernels among the sources, each compiled once a process, and returns their names."""
    texts = {name: text for name, text in sources.items() if name.startswith(KERNELS)}
    keys = {name: (command, *read_with(name, texts).items()) for name in sorted(texts) if name.endswith(".c")}
    objects = {name: f"{name.removesuffix('.c')}.o" for name in keys}
    if missing := [name for name, key in keys.items() if key not in _COMPILED]:
        compiling = [*command, *INDEPENDENT, "-c", *missing]
        said = _run(compiling, folder)
        if unwritten := [name for name in missing if not (folder / objects[name]).is_file()]:
            raise CompilerError(_refusal(compiling, f"it has written no object of {unwritten[0]}", said))
        _COMPILED.update({keys[name]: (folder / objects[name]).read_bytes() for name in missing})
    for name, key in keys.items():
        (folder / objects[name]).write_bytes(_COMPILED[key])
    return list(objects.values())


def _run(command: Sequence[str], folder: Path) -> str:
    """Runs a compiler in a folder and returns what it says."""
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(_refusal(command, str(error))) from error
    said = (result.stderr or result.stdout).decode(errors="replace")
    if result.returncode:
        raise CompilerError(_refusal(command, f"status {result.returncode}", said))
    return said


def load(library: Path) -> ctypes.CDLL:
    """A compiled library.

    Raises:
        CompilerError: it is for another computer.
    """
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        message = _refusal(
            compiler(), f"this computer cannot load what it has compiled ({error}); is it a cross compiler?"
        )
        raise CompilerError(message) from error


def _refusal(command: Sequence[str], reason: str, said: str = "") -> str:
    """What is told of a command that failed: the first lines of what it said, and what to do."""
    lines = [line for line in said.splitlines() if line.strip()]
    shown = lines[:FIRST_LINES] + [f"... and {len(lines) - FIRST_LINES} lines more"] * (len(lines) > FIRST_LINES)
    chosen = _chosen()
    advice = (
        f"The environment variable CC names it: {chosen!r}. Unset CC, or name a C compiler for this computer in it."
        if chosen
        else "Name another C compiler for this computer in the environment variable CC."
    )
    return "\n".join([f"The C compiler failed ({reason}): {shlex.join(command)}", *shown, advice])


def _chosen() -> str:
    """The value of CC, "" without one."""
    return os.environ.get("CC", "").strip()


def compiler() -> tuple[str, ...]:
    """The command of a C compiler for this computer.

    Raises:
        CompilerError: there is none, or CC names none.
    """
    if chosen := _chosen():
        return _command_of(chosen)
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return (path,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    raise CompilerError("No C compiler: install gcc or clang, `pip install ziglang`, or name one in CC.")


def _command_of(chosen: str) -> tuple[str, ...]:
    """The command in CC."""
    advice = "Unset it, or name a C compiler for this computer in it, such as CC=gcc."
    try:
        command = tuple(shlex.split(chosen, posix=os.name != "nt"))
    except ValueError as error:
        raise CompilerError(f"The environment variable CC is {chosen!r}, no command ({error}). {advice}") from error
    # A path with blanks in it, without quotes, is one as well.
    if path := shutil.which(chosen):
        return (path,)
    if not command or shutil.which(command[0]) is None:
        program = command[0] if command else ""
        raise CompilerError(
            f"The environment variable CC is {chosen!r}, but there is no program {program!r} that can be run. {advice}"
        )
    return command


def _render_wrapper(program: Program) -> str:
    """C that runs many steps at once, and says how the state struct is laid out."""
    return render(TEMPLATES / "host.c.jinja", name=NAME, **vars(interface_of(program)))
