"""C for compilers other than GCC and Clang, and for C++: headers, sources, and words of compilers of their own."""

import re
import subprocess
import sys

import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, model, random_inputs, single
from keras_s4.testing.targets.toolchains import C
from keras_s4.tflite.c99 import CRunner, c_source
from keras_s4.tflite.c99.files import LIBRARY
from keras_s4.tflite.c99.host import STRICT, compiler
from keras_s4.tflite.emulator import Emulator

WARNINGS = [flag for flag in STRICT if not flag.startswith("-std")]
# A compiler that knows nothing of GNU's C.
STRANGER = ("-O1", "-U__GNUC__", "-U__clang__")
COPY = """
static void copy_bytes(void *to, const void *from, unsigned long size)
{
    unsigned char *t = (unsigned char *)to;
    const unsigned char *f = (const unsigned char *)from;
    while (size-- > 0U) {
        *t++ = *f++;
    }
}
#define S4_COPY(to, from, size) copy_bytes(to, from, size)
"""
# Refers to every kernel, so that it links only if C++ knows them as functions of C.
CALLER = """
{includes}
typedef void (*function)(void);
int main()
{{
    const function kernels[] = {{{kernels}}};
    int missing = 0;
    for (unsigned i = 0; i < sizeof kernels / sizeof *kernels; ++i) {{
        missing += kernels[i] == nullptr;
    }}
    return missing;
}}
"""
WITHOUT_EXTENSIONS = ["model", "fully_connected_int8", "fully_connected_int16", "depthwise_product"]
WITHOUT_EXTENSIONS += ["modal_step", "modal_step_fed_back"]
FUNCTION = re.compile(r"^\w+ (s4_\w+)\(.*\);$", re.MULTILINE)
STRUCT = re.compile(r"typedef struct \{([^}]*)\} (s4_\w+);")


def program_of(name):
    return model(1, blocks=2, lowered=True) if name == "model" else single(name, 1, lowered=True)


def run(*command, folder):
    done = subprocess.run(list(command), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_header_is_for_c_plus_plus_as_well():
    headers = {path.name: path.read_text() for path in LIBRARY.glob("*.h")} | c_source(program_of("model"), "model")
    for name, text in headers.items():
        # Which declares nothing.
        if name.endswith(".h") and name != "keras_s4_kernels.h":
            assert 'extern "C" {' in text, name


@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_kernels_of_c_are_linked_to_c_plus_plus(standard, tmp_path):
    headers = sorted(LIBRARY.glob("*.h"))
    kernels = [name for path in headers for name in FUNCTION.findall(path.read_text())]
    assert len(kernels) >= 10
    includes = "\n".join(f'#include "{path.name}"' for path in headers)
    addresses = ", ".join(f"reinterpret_cast<function>({name})" for name in kernels)
    (tmp_path / "caller.cc").write_text(CALLER.format(includes=includes, kernels=addresses))
    # That they are called as another type than their own is what the test does, not what it is about.
    flags = [*WARNINGS, "-Wno-cast-function-type", "-I", str(LIBRARY)]
    run(*compiler(), "-x", "c++", f"-std={standard}", *flags, "-c", "caller.cc", folder=tmp_path)
    sources = [str(path) for path in sorted(LIBRARY.glob("*.c"))]
    run(*compiler(), "-std=c99", *sources, "caller.o", "-o", "caller", folder=tmp_path)
    run(str(tmp_path / "caller"), folder=tmp_path)


def test_sources_are_c_plus_plus_17(tmp_path):
    for name in [*SINGLE, "model"]:
        for file, text in c_source(program_of(name), f"one_{name}").items():
            (tmp_path / file).write_text(text)
    sources = sorted(path.name for path in tmp_path.glob("*.c"))
    run(*compiler(), "-x", "c++", "-std=c++17", *WARNINGS, "-fsyntax-only", *sources, folder=tmp_path)


@pytest.mark.parametrize("name", [*SINGLE, "model"])
def test_initialisers_are_in_the_order_of_the_structs(name):
    """Which C++ before C++20 could not be told by their names."""
    structs = {
        struct: re.findall(r"(\w+);", fields)
        for path in LIBRARY.glob("*.h")
        for fields, struct in STRUCT.findall(path.read_text())
    }
    text = c_source(program_of(name), "model")["model.c"]
    for struct, values in re.findall(r"static const (s4_\w+) \w+ = \{\n(.*?)\};", text, re.DOTALL):
        assert re.findall(r", /\* (\w+) \*/\n", values) == structs[struct]


@pytest.mark.parametrize("name", WITHOUT_EXTENSIONS)
def test_compilers_without_extensions_compute_the_same(name, tmp_path):
    """Without a word of theirs about copies, and with one."""
    program = program_of(name)
    inputs = random_inputs(program, 2, 20)
    expected = Emulator(program).trace(inputs, record=[]).outputs
    (tmp_path / "compiler.h").write_text(COPY)
    for flags in ((), ("-include", str(tmp_path / "compiler.h"), "-Wno-unused-function")):
        outputs = CRunner(program, (*STRANGER, *flags)).run(inputs)
        for ours, theirs in zip(outputs if isinstance(outputs, tuple) else (outputs,), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_copies_are_those_of_the_compiler_that_has_them(tmp_path):
    """Cores with DSP instructions take words from any address."""
    pytest.importorskip("ziglang")
    ELFFile = pytest.importorskip("elftools.elf.elffile").ELFFile
    (tmp_path / "compiler.h").write_text(
        "void their_copy(void *to, const void *from, unsigned long size);\n#define S4_COPY their_copy\n"
    )
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-O2"]
    source = str(LIBRARY / "keras_s4_dense.c")
    run(
        *command,
        "-ffreestanding",
        "-isystem",
        str(C / "include"),
        "-include",
        "compiler.h",
        "-c",
        source,
        "-o",
        "dense.o",
        folder=tmp_path,
    )
    with (tmp_path / "dense.o").open("rb") as file:
        symbols = {symbol.name for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}
    assert "their_copy" in symbols
    assert "memcpy" not in symbols
