"""A C++ compiler of this computer, and the warnings that a firmware project asks for."""

import importlib.util
import shutil
import sys

import pytest


def find_compiler() -> list[str]:
    """The command of a C++ compiler; empty if there is none."""
    found = [path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))]
    if not found and importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return found[:1]


COMPILER = find_compiler()
needs_compiler = pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler: c++, g++, clang++ or ziglang")
FLAGS = ["-std=c++11", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
