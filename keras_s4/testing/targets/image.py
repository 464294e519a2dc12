"""Images of generated C for a core: built, and measured by their sections and symbols."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import io
import re
import struct
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

from keras_s4.testing.targets.cores import Core
from keras_s4.testing.targets.toolchains import TOOLCHAINS, C
from keras_s4.testing.targets.vectors import Vectors, vector_header
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.c99.layout import StateLayout
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program

NAME = "model"


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A function or a constant in an image."""

    address: int
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """A linked program.

    Args:
        program: the integer program.
        core: that it was compiled for.
        compiler: its name and version.
        sources: the generated C.
        elf: the file.
    """

    program: Program
    core: Core
    compiler: str
    sources: dict[str, str]
    elf: bytes

    @functools.cached_property
    def file(self) -> ELFFile:
        """The parsed file."""
        return ELFFile(io.BytesIO(self.elf))

    @property
    def code_bytes(self) -> int:
        """Flash that instructions take, those of the compiler's library included."""
        return self._size(".text")

    @property
    def constant_bytes(self) -> int:
        """Flash that weights, tables and structs take."""
        return self._size(".rodata")

    @property
    def static_bytes(self) -> int:
        """RAM that the model takes besides what its caller gives it: none."""
        return self._size(".data") + self._size(".bss")

    @property
    def state_bytes(self) -> int:
        """RAM of one stream: the size of the state struct."""
        return self._layout[2]

    @property
    def reset(self) -> int:
        """The address of the function."""
        return self._layout[0] & ~1

    @property
    def step(self) -> Symbol:
        """The function."""
        return self.symbols[f"{NAME}_step"]

    @functools.cached_property
    def states(self) -> StateLayout:
        """Where the state struct has its fields."""
        return StateLayout(self.program, self._layout[3:])

    @functools.cached_property
    def symbols(self) -> dict[str, Symbol]:
        """Functions and constants by name."""
        table = self.file.get_section_by_name(".symtab")
        return {
            symbol.name: Symbol(symbol["st_value"] & ~1, symbol["st_size"])
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT") and symbol["st_size"]
        }

    @functools.cached_property
    def functions(self) -> dict[str, Symbol]:
        """Functions by name, in the order of their addresses."""
        table = self.file.get_section_by_name(".symtab")
        names = {symbol.name for symbol in table.iter_symbols() if symbol["st_info"]["type"] == "STT_FUNC"}
        return dict(sorted(((n, s) for n, s in self.symbols.items() if n in names), key=lambda item: item[1].address))

    def operation_at(self, address: int) -> str:
        """What the step does at an address inside of its function: class and result of the operation.

        The comment above its statements names the result. Where the compiler has mixed statements, it is the operation
        of the line that the debugging information names.
        """
        addresses, lines = self._lines
        line = lines[max(0, bisect.bisect_right(addresses, address) - 1)]
        rows, names = self._comments
        return names[bisect.bisect_right(rows, line)]

    @functools.cached_property
    def _lines(self) -> tuple[list[int], list[int]]:
        """Addresses in the step's function, and the lines of its file from which the code there and behind is."""
        table = []
        for unit in self.file.get_dwarf_info().iter_CUs():
            program = self.file.get_dwarf_info().line_program_for_CU(unit)
            first = 0 if program["version"] >= 5 else 1
            files = [entry.name.decode() for entry in program["file_entry"]]
            for state in (entry.state for entry in program.get_entries()):
                if state is None or state.end_sequence or not state.line:
                    continue
                inside = 0 <= state.address - self.step.address < self.step.size
                if inside and Path(files[state.file - first]).name == f"{NAME}.c":
                    table.append((state.address, state.line))
        table.sort()
        return [address for address, _ in table], [line for _, line in table]

    @functools.cached_property
    def _comments(self) -> tuple[list[int], list[str]]:
        """The rows of the C file where operations begin, and their names, one more for what is before the first."""
        operations = {printable(op.result.name): type(op).__name__ for op in self.program.operations}
        rows, names = [], ["entry"]
        for row, text in enumerate(self.sources[f"{NAME}.c"].splitlines(), 1):
            found = re.fullmatch(r" +/?\* ([^:]+): .*", text)
            if found and found[1] in operations:
                rows.append(row)
                names.append(f"{operations[found[1]]}: {found[1]}")
        return rows, names

    @functools.cached_property
    def _layout(self) -> tuple[int, ...]:
        symbol = self.symbols["layout"]
        section = self.file.get_section_by_name(".harness")
        start = symbol.address - section["sh_addr"]
        return struct.unpack(f"<{symbol.size // 4}I", section.data()[start : start + symbol.size])

    def _size(self, section: str) -> int:
        found = self.file.get_section_by_name(section)
        return 0 if found is None else found["sh_size"]


def build(
    program: Program,
    core: Core,
    compiler: str = "zig",
    vectors: Vectors | None = None,
    sources: dict[str, str] | None = None,
) -> Image:
    """Compile the C of a program for a core.

    Args:
        program: the integer program.
        core: one of `CORES`.
        compiler: "zig" or "gcc" for Cortex-M, "riscv" for RISC-V.
        vectors: makes the image a complete firmware that starts by itself, runs these and reports what it found
            (see `keras_s4.testing.targets.qemu`); else it has the model's functions alone (see `targets.unicorn_core`).
        sources: other C than `c_source(program, "model")`.

    Raises:
        RuntimeError: the compiler is not installed or refuses the source.
    """
    toolchain = TOOLCHAINS[compiler]()
    sources = c_source(program, NAME) if sources is None else sources
    context = {"name": NAME, **vars(interface_of(program))}
    harness = {"harness_layout.c": render(C / "layout.c.jinja", **context)}
    if vectors is not None:
        harness["vectors.h"] = vector_header(program, vectors)
        harness["harness_main.c"] = render(C / "main.c.jinja", **context)
        harness |= start_up(core)
    script = render(C / "link.ld.jinja", core=core, entry=f"{NAME}_step" if vectors is None else "start")
    with tempfile.TemporaryDirectory() as folder:
        elf = toolchain.link(sources, harness, script, core, Path(folder)).read_bytes()
    return Image(program, core, toolchain.version, sources, elf)


def start_up(core: Core) -> dict[str, str]:
    """What a complete firmware for a core has around its main function: C files and a header, by name."""
    files = {"harness_startup.c": f"startup_{core.architecture}.c", "harness_memory.c": "harness_memory.c"}
    return {name: (C / file).read_text() for name, file in {"firmware.h": "firmware.h", **files}.items()}
