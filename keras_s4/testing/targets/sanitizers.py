"""Generated C on this computer under AddressSanitizer and UndefinedBehaviorSanitizer, with hostile data."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from keras_s4.testing.targets.toolchains import C
from keras_s4.testing.targets.vectors import Vectors, vector_header
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.host import STRICT
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program

NAME = "model"
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_GAP = 64  # bytes behind each array of the state struct, besides those that align the next one


@functools.cache
def sanitizing_compiler() -> str:
    """The first of CC, gcc, clang and cc that links a program with both sanitizers.

    Raises:
        RuntimeError: there is none.
    """
    candidates = [os.environ.get("CC"), "gcc", "clang", "cc"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "empty.c").write_text("int main(void) { return 0; }\n")
        for candidate in candidates:
            if not candidate or not shutil.which(candidate):
                continue
            command = [candidate, *_SANITIZERS, "empty.c", "-o", "empty"]
            linked = subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
            if linked and subprocess.run(["./empty"], cwd=folder, capture_output=True, check=False).returncode == 0:
                return candidate
    raise RuntimeError("No compiler here links with AddressSanitizer: apt-get install gcc.")


def build_hostile(program: Program, vectors: Vectors, folder: Path, sources: dict[str, str] | None = None) -> Path:
    """Compile an executable that runs a program with vectors, with every value of its inputs, and with random inputs
    while bytes of the state change between the steps.

    Args:
        program: the integer program.
        vectors: that must come out.
        folder: for all files.
        sources: other C than that of the program.

    Raises:
        RuntimeError: there is no compiler, or it refuses the source.
    """
    sources = dict(c_source(program, NAME) if sources is None else sources)
    sources[f"{NAME}.h"], fields = with_gaps(sources[f"{NAME}.h"])
    sources["vectors.h"] = vector_header(program, vectors)
    sources["hostile.c"] = render(C / "hostile.c.jinja", name=NAME, fields=fields, **vars(interface_of(program)))
    for name, text in sources.items():
        (folder / name).write_text(text)
    files = sorted(name for name in sources if name.endswith(".c"))
    # The gaps are an extension of GCC and Clang.
    flags = [flag for flag in STRICT if flag not in ("-std=c99", "-pedantic")]
    command = [sanitizing_compiler(), "-std=gnu99", *flags, "-O1", "-g", *_SANITIZERS, *files, "-o", "hostile"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{result.stderr}")
    return folder / "hostile"


def run_hostile(executable: Path, steps: int, seed: int = 0, patterns: bool = True) -> dict[str, int]:
    """Run what `build_hostile` made.

    Args:
        executable: its path.
        steps: how many random ones, besides the vectors and the values of the inputs.
        seed: of inputs and corruptions.
        patterns: whether every value of the inputs is gone through.

    Returns:
        "wrong", outputs and final states that differed from the vectors; "patterns", the steps that went through all
        values of the inputs; "steps", the random ones; "refused", those that refused a token number.

    Raises:
        RuntimeError: a sanitizer found something, and this is its report.
    """
    command = [executable, str(steps), str(seed), str(int(patterns))]
    # Leaks are looked for by a tracer, which containers may forbid.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    values = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", result.stdout, re.MULTILINE)}
    if "refused" not in values or result.returncode not in (0, 1):
        raise RuntimeError(f"Status {result.returncode}:\n{result.stdout}{result.stderr}")
    return values


def with_gaps(header: str) -> tuple[str, list[str]]:
    """A model's header whose state struct has a gap behind each array; and the names of the arrays."""
    start, end = re.search(r"typedef struct \{", header).end(), re.search(rf"\}} {NAME}_state;", header).start()
    field = re.compile(r"^( +\w+ (\w+)(?:\[\d+\])?);", re.MULTILINE)
    struct = header[start:end]
    gapped = field.sub(rf"\1 __attribute__((aligned(8))); unsigned char gap_\2[{_GAP}];", struct)
    return header[:start] + gapped + header[end:], [found[2] for found in field.finditer(struct)]
