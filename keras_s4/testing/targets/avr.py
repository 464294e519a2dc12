"""Generated C on an AVR of 8 bits, whose `int` has 16: Debian's avr-gcc, and simavr, which runs the image."""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from elftools.elf.elffile import ELFFile

from keras_s4.testing.targets.toolchains import STRICT, C
from keras_s4.testing.targets.vectors import Vectors, vector_header
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program

NAME = "model"
# Of those that simavr knows, the one with most RAM: 16 KB, where avr-gcc puts constants as well.
CHIP = "atmega1284p"
# Whatever leaves the 16 bits of `int`, or is shifted out of them, ends the run. No function of a library is needed.
TRAPS = ("-fsanitize=signed-integer-overflow,shift", "-fsanitize-undefined-trap-on-error")
_LINE = re.compile(r"^(\w+) (\d+)$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@functools.cache
def avr_gcc() -> str:
    """The compiler, with its C library.

    Raises:
        RuntimeError: it is not installed.
    """
    path = shutil.which("avr-gcc")
    if path is None:
        raise RuntimeError("avr-gcc is not installed: apt-get install gcc-avr avr-libc.")
    probe = subprocess.run([path, "-E", "-include", "avr/io.h", "-"], input="", capture_output=True, text=True)
    if probe.returncode:
        raise RuntimeError("avr-gcc has no C library: apt-get install avr-libc.")
    return path


@functools.cache
def simavr() -> str:
    """The emulator.

    Raises:
        RuntimeError: it is not installed.
    """
    path = shutil.which("simavr")
    if path is None:
        raise RuntimeError("simavr is not installed: apt-get install simavr.")
    return path


@dataclasses.dataclass(frozen=True)
class Report:
    """What vectors on the simulated chip have shown.

    Args:
        wrong: bytes of outputs and final states that differed.
        steps: how many ran.
        cycles: of the core, the mean over the steps.
        stack_bytes: the deepest use of the stack by a step, with its arguments.
    """

    wrong: int
    steps: int
    cycles: int
    stack_bytes: int


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the model's own objects take on the chip, as `Image` has it of other cores.

    Args:
        compiler: its name and version.
        code_bytes: flash of instructions, without the compiler's library.
        constant_bytes: of weights, tables and structs: in flash, and copied into RAM.
        state_bytes: of one stream.
        static_bytes: RAM that the model takes besides: its constants.
    """

    compiler: str
    code_bytes: int
    constant_bytes: int
    state_bytes: int
    static_bytes: int


def run_vectors(
    program: Program, vectors: Vectors, folder: Path, sources: dict[str, str] | None = None, traps: bool = False
) -> Report:
    """Compile the C of a program, run vectors on the simulated chip, and compare there.

    Args:
        program: the integer program.
        vectors: that must come out.
        folder: an empty one for all files.
        sources: other C than `c_source(program, "model")`.
        traps: compile so that a sum or product that leaves its type ends the run.

    Raises:
        RuntimeError: a tool is missing, the compiler refuses, or the image ended without a report, as after a trap.
    """
    model = c_source(program, NAME) if sources is None else sources
    main = render(C / "avr.c.jinja", name=NAME, **vars(interface_of(program)))
    # Vectors lie in flash, as RAM is short.
    header = vector_header(program, vectors).replace("static const ", "static const __flash ")
    harness = {"main.c": main, "vectors.h": header, "console.c": (C / "avr_console.c").read_text()}
    return _report(run_image(build_image(model, harness, folder, TRAPS if traps else ())))


def build_image(model: dict[str, str], harness: dict[str, str], folder: Path, flags: tuple[str, ...] = ()) -> Path:
    """Compile and link; the model with all warnings as errors.

    Raises:
        RuntimeError: the compiler is missing or refuses.
    """
    for name, text in {**model, **harness}.items():
        (folder / name).write_text(text)
    command, objects = [avr_gcc(), f"-mmcu={CHIP}", "-Os", "-ffunction-sections", "-fdata-sections"], []
    for files, options in ((model, (*STRICT, "-pedantic", *flags)), (harness, ("-std=gnu99", "-Wall", "-Werror"))):
        for name in sorted(name for name in files if name.endswith(".c")):
            objects.append(name.replace(".c", ".o"))
            _execute([*command, *options, "-c", name, "-o", objects[-1]], folder)
    # As Arduino links: functions that nobody calls are left out.
    _execute([*command, "-Wl,--gc-sections", *objects, "-o", "image.elf"], folder)
    return folder / "image.elf"


def run_image(image: Path, timeout: float = 120) -> str:
    """What an image sends over its serial line until it sleeps for good.

    Raises:
        RuntimeError: simavr is missing, or the image does not end.
    """
    command = [simavr(), "-m", CHIP, "-f", "16000000", str(image)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{shlex.join(command)} has not ended after {timeout} s: {error.stdout!r}") from None
    lines = _COLOURS.sub("", result.stdout + result.stderr).splitlines()
    # simavr shows the end of a line as a dot.
    return "\n".join(line.removesuffix(".") for line in lines)


def sizes_of(folder: Path, sources: Iterable[str]) -> Sizes:
    """Of a model that was compiled and linked in a folder.

    Args:
        folder: with objects and image.
        sources: names of the model's C files.
    """
    with (folder / "image.elf").open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        state = next(symbol["st_size"] for symbol in table.get_symbol_by_name("state"))
        linked = {symbol.name for symbol in table.iter_symbols()}
    code = constants = 0
    for name in sources:
        if name.endswith(".c"):
            with (folder / name).with_suffix(".o").open("rb") as file:
                sections = [(section.name, section["sh_size"]) for section in ELFFile(file).iter_sections()]
            code += sum(size for section, size in sections if section.removeprefix(".text.") in linked)
            constants += sum(size for section, size in sections if section.startswith((".rodata", ".data")))
    version = subprocess.run([avr_gcc(), "-dumpversion"], capture_output=True, text=True, check=True).stdout.strip()
    return Sizes(f"avr-gcc {version}", code, constants, state, constants)


def _report(text: str) -> Report:
    values = {name: int(value) for name, value in _LINE.findall(text)}
    if set(values) != {"wrong", "steps", "cycles", "stack"}:
        raise RuntimeError(f"{CHIP}: {text}")
    return Report(values["wrong"], values["steps"], values["cycles"], values["stack"])


def _execute(command: list[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{result.stderr}")
