"""A6 to A8: folders that are saved again, killed, linked, and names that clash."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_s4
import keras_s4.tflite
from keras_s4.layers import DSS
from user_cases.case import Wrong, case, expect_refusal

DATA = np.random.default_rng(0).normal(size=(8, 20, 2)).astype("float32")


def firmware(units: int = 6, name: str = "model") -> keras_s4.tflite.Converted:
    """A small one."""
    keras.utils.set_random_seed(units)
    model = keras.Sequential(
        [
            keras.Input((20, 2)),
            keras.layers.Dense(units),
            DSS(4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ],
        name=name,
    )
    return keras_s4.tflite.convert(model, DATA)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


SAVER = """
import pickle, sys
converted = pickle.load(open(sys.argv[2], "rb"))
converted.manifest
print("ready", flush=True)
converted.save(sys.argv[1])
print("done", flush=True)
"""


@case("A6", "kill -9 while an older save is replaced: old, new, or recovered by the next")
def killed() -> None:
    """At a dozen moments."""
    import pickle

    old, new = firmware(6), firmware(9)
    with tempfile.TemporaryDirectory() as parent:
        parent = Path(parent)
        (parent / "new.pickle").write_bytes(pickle.dumps(new))
        whole = {name: contents(c.save(parent / name)) for name, c in (("a", old), ("b", new))}
        mixed = 0
        start = time.perf_counter()
        new.save(parent / "timed")
        for delay in np.linspace(0.0, 1.2 * (time.perf_counter() - start), 12):
            folder = parent / f"at_{delay:.3f}"
            old.save(folder)
            process = subprocess.Popen(
                [sys.executable, "-c", SAVER, str(folder), str(parent / "new.pickle")],
                stdout=subprocess.PIPE,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            now = contents(folder) if folder.exists() else {}
            mixed += now not in whole.values()
            if contents(new.save(folder)) != whole["b"]:
                raise Wrong("the next save does not mend it")
        if mixed:
            raise Wrong(f"{mixed} of 12 kills left a mixture")


@case("A6", "a README.md and a Makefile of the user's are not replaced")
def foreign() -> None:
    """Refused, and left as they are."""
    for name in ("README.md", "Makefile", "main.cc"):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_text("mine")
            expect_refusal(lambda folder=folder: firmware().save(folder), name)
            if (Path(folder) / name).read_text() != "mine":
                raise Wrong(f"{name} was replaced")


@case("A6", "files of an older save that the new one has not, go")
def stale() -> None:
    """Another name of the model, another file of C."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "f"
        firmware(6, "first").save(folder)
        firmware(6, "second").save(folder)
        if left := [name for name in contents(folder) if "first" in name]:
            raise Wrong(f"left behind: {left}")


@case("A6", "a symbolic link in the folder is not followed")
def linked() -> None:
    """What it points to stays."""
    with tempfile.TemporaryDirectory() as parent:
        outside, folder = Path(parent) / "outside.txt", Path(parent) / "f"
        outside.write_text("mine")
        folder.mkdir()
        (folder / "model.tflite").symlink_to(outside)
        with contextlib.suppress(ValueError, OSError):
            firmware().save(folder)
        if outside.read_text() != "mine":
            raise Wrong("a file outside of the folder was written")


@case("A6", "a file edited since the last save is not lost in silence")
def edited() -> None:
    """Refused, or kept beside."""
    with tempfile.TemporaryDirectory() as folder:
        path = firmware(6).save(folder) / "main.cc"
        path.write_text("// my changes\n" + path.read_text())
        try:
            firmware(9).save(folder)
        except (ValueError, OSError):
            return
        if not any(b"my changes" in data for data in contents(Path(folder)).values()):
            raise Wrong("the changes are gone")


CLASHING = (
    "keras_s4_dense",
    "keras_s4_arithmetic",
    "main",
    "string",
    "KERAS_S4_DENSE",
    "int",
    "model.v2",
    "größe",
    "3d",
)
for name in CLASHING:

    @case("A8", f"a model named {name!r} compiles", may_refuse=True)
    def named(name=name):
        """In C, and every file is there."""
        converted = firmware(6, name)
        expected = converted.predict(DATA)
        if not np.array_equal(expected, converted.predict(DATA, engine="c")):
            raise Wrong("C differs")
        with tempfile.TemporaryDirectory() as folder:
            converted.save(folder)
            sources = converted.c_source()
            lowered = [file.lower() for file in contents(Path(folder))]
            if len(set(lowered)) != len(lowered) or len({file.lower() for file in sources}) != len(sources):
                raise Wrong("two files differ in case alone")
            manifest = json.loads((Path(folder) / "manifest.json").read_text())
            if not manifest:
                raise Wrong("no manifest")


@case("A8", "windows of another length are refused")
def other_length() -> None:
    """An average over 20 steps is none over 30."""
    converted = firmware()
    longer = np.concatenate([DATA, DATA[:, :10]], axis=1)
    expect_refusal(lambda: converted.predict(longer), "20")
    expect_refusal(lambda: converted.predict(DATA[:, :10]), "20")


@case("A8", "complex samples are refused")
def complex_samples() -> None:
    """I and Q are two features."""
    converted = firmware()
    expect_refusal(lambda: converted.predict(DATA + 1j), "complex")
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((20, 2)), keras.layers.GRU(4)])
    expect_refusal(lambda: keras_s4.tflite.convert(model, DATA + 1j), "complex")


@case("A8", "booleans, words and objects are refused as samples")
def other_samples() -> None:
    """Not cast without a word."""
    converted = firmware()
    expect_refusal(lambda: converted.predict(DATA.astype(str)), "")
    expect_refusal(lambda: converted.predict(np.full(DATA.shape, None)), "")


@case("A8", "a window without a batch axis is refused with a hint")
def no_batch() -> None:
    """`[L, features]`."""
    expect_refusal(lambda: firmware().predict(DATA[0]), "[b")
