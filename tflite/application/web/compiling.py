"""C as a module of WebAssembly, by the Clang of the package ziglang."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping

from keras_s4 import extras
from keras_s4.files import temporary_folder

TARGET = ("-target", "wasm32-freestanding", "-ffreestanding", "-nostdlib", "-std=c99", "-O2", "-s")
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
STACK = 65_536
PATIENCE = 600
# Functions that are called from outside have a prototype, which says so, on a line of its own.
PROTOTYPE = re.compile(r"^\w+ \*?(\w*page_\w+)\(void\);$", re.MULTILINE)


def check_compiler() -> None:
    """Refuses to begin where there is no compiler for pages.

    Raises:
        ModuleNotFoundError: ziglang is missing; the message says how to install it.
    """
    extras.require("web", "Pages that run a model")


def compile_wasm(sources: Mapping[str, str]) -> bytes:
    """A module without imports; the same sources give the same bytes.

    Args:
        sources: C files and headers, by name; what has `page_` in its name, and a prototype, is exported.

    Raises:
        ModuleNotFoundError: ziglang is missing.
        RuntimeError: it refuses the sources.
    """
    check_compiler()
    exports = [name for text in sources.values() for name in PROTOTYPE.findall(text)]
    linking = ["-Wl,--no-entry", f"-Wl,-z,stack-size={STACK}", *(f"-Wl,--export={name}" for name in exports)]
    names = sorted(name for name in sources if name.endswith(".c"))
    with temporary_folder() as folder:
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "ziglang", "cc", *TARGET, *STRICT, "-isystem", ".", *linking, *names]
        done = subprocess.run(
            [*command, "-o", "page.wasm"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise RuntimeError(f"ziglang refuses the C of a page:\n{done.stderr}")
        return (folder / "page.wasm").read_bytes()
