"""Cross compilers: Zig from PyPI, and Debian's GCC with newlib and picolibc."""

from __future__ import annotations

import functools
import importlib.metadata
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_s4.testing.targets.cores import Core

C = Path(__file__).parent / "c"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror")
FLAGS = ("-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
# So that code of the test calls nothing of a library, whose size would count as the model's.
HARNESS_FLAGS = ("-O1", "-g", "-std=gnu99", "-Wall", "-Wextra", "-Werror", "-fno-builtin")


@dataclass(frozen=True)
class Toolchain:
    """A compiler.

    Args:
        name: name in tests and budgets.
        version: name and version of the compiler.
        command: function from a core to the compiler's command.
        linking: arguments of the linker.
        runtime: C files that stand in for the compiler's own library.
        merges: whether it makes one object of several sources.
    """

    name: str
    version: str
    command: Callable[[Core], tuple[str, ...]]
    linking: tuple[str, ...]
    runtime: tuple[Path, ...] = ()
    merges: bool = False

    def link(self, model: dict[str, str], harness: dict[str, str], script: str, core: Core, folder: Path) -> Path:
        """Compile sources for a core and link them.

        Args:
            model: C files and headers, by name, that are compiled with all warnings as errors.
            harness: C files and headers around them; the names of the C files begin with `harness_`.
            script: of the linker.
            core: the core.
            folder: an empty one for all files.

        Raises:
            RuntimeError: the compiler or the linker refuses.
        """
        for name, text in {**model, **harness, "link.ld": script}.items():
            (folder / name).write_text(text)
        command = self.command(core)
        sources = [*_c_files(model), *map(str, self.runtime)]
        objects = ["model.o"] if self.merges else [Path(source).stem + ".o" for source in sources]
        named = ["-o", "model.o"] if self.merges else []
        _execute([*command, *FLAGS, *STRICT, "-c", *sources, *named], folder)
        for source in _c_files(harness):
            _execute([*command, *HARNESS_FLAGS, "-c", source], folder)
            objects.append(source.replace(".c", ".o"))
        _execute([*command, *self.linking, "-Wl,--gc-sections", "-T", "link.ld", *objects, "-o", "image.elf"], folder)
        return folder / "image.elf"


@functools.cache
def zig() -> Toolchain:
    """Clang of the package ziglang; without a C library, and without the compiler's own, which takes long to build.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError("ziglang is not installed: pip install 'keras-s4[dev]'.") from None
    target = ("-target", "thumb-freestanding-eabi", "-ffreestanding", "-isystem", str(C / "include"))

    def command(core: Core) -> tuple[str, ...]:
        return (sys.executable, "-m", "ziglang", "cc", *target, f"-mcpu={core.cpu.replace('-', '_')}{core.extensions}")

    return Toolchain("zig", f"ziglang {version}", command, ("-nostdlib",), (C / "memory.c", C / "arithmetic.c"), True)


@functools.cache
def gcc() -> Toolchain:
    """GCC with newlib-nano.

    Raises:
        RuntimeError: it is not installed.
    """
    path = shutil.which("arm-none-eabi-gcc")
    if path is None:
        raise RuntimeError("arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi.")
    version = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()

    def command(core: Core) -> tuple[str, ...]:
        return (path, f"-mcpu={core.cpu}", "-mthumb", *core.flags, "--specs=nano.specs")

    return Toolchain("gcc", f"arm-none-eabi-gcc {version}", command, ("-nostartfiles",))


@functools.cache
def riscv_gcc() -> Toolchain:
    """GCC for RISC-V with picolibc.

    Raises:
        RuntimeError: one of them is not installed.
    """
    missing = "apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"
    path = shutil.which("riscv64-unknown-elf-gcc")
    if path is None:
        raise RuntimeError(f"riscv64-unknown-elf-gcc is not installed: {missing}.")
    probe = [path, "--specs=picolibc.specs", "-E", "-include", "string.h", "-"]
    if subprocess.run(probe, input="", capture_output=True, text=True, check=False).returncode:
        raise RuntimeError(f"riscv64-unknown-elf-gcc has no C library: {missing}.")
    version = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()

    def command(core: Core) -> tuple[str, ...]:
        return (path, f"-march={core.cpu}", *core.flags, "--specs=picolibc.specs")

    return Toolchain("riscv", f"riscv64-unknown-elf-gcc {version}", command, ("-nostartfiles",))


TOOLCHAINS = {"zig": zig, "gcc": gcc, "riscv": riscv_gcc}


def _c_files(sources: dict[str, str]) -> list[str]:
    return sorted(name for name in sources if name.endswith(".c"))


def _execute(command: Sequence[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{result.stderr}")
