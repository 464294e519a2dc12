"""Where there is no `tflite-micro` wheel (macOS, Windows, aarch64) all works but the rows of TFLM.

Another process, in which the package cannot be imported, exports a model and says what it found.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_s4 import models
from keras_s4.tflite import convert, engines, runtimes
from keras_s4.tflite.c99 import host
from keras_s4.tflite.verification import comparison, verify

HIDING = '''
import sys

class Hidden:
    """Finds no package of TensorFlow Lite Micro."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tflite_micro":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
'''

EXPORTING = """
import json, warnings
from pathlib import Path
import numpy as np
import keras
import keras_s4.tflite
from keras_s4.cli import app
from keras_s4.tflite.runtimes import TflmRunner
from typer.testing import CliRunner

folder = Path(sys.argv[1])
model, data = keras.saving.load_model(folder / "model.keras"), np.load(folder / "data.npz")
converted = keras_s4.tflite.convert(model, data["x"])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    predicted = converted.predict(data["x"])
verification = converted.verify(model, data["x"], data["y"])
converted.save(folder / "saved", dss="custom")
command = ["convert", "model.keras", "--data", "data.npz", "--verify", "data.npz", "--out", "firmware", "--analyse"]
result = CliRunner().invoke(app, [str(folder / a) if "." in a or a == "firmware" else a for a in command])
try:
    TflmRunner(converted.tflite)
except ImportError as error:
    refusal = str(error)
json.dump({
    "tflite": converted.tflite.hex(),
    "predicted": predicted.tolist(),
    "warnings": [str(warning.message) for warning in caught if "TensorFlow Lite Micro" in str(warning.message)],
    "verification": verification.figures(),
    "text": str(verification),
    "manifest": converted.manifest,
    "measure": keras_s4.tflite.measure(model, data["x"]),
    "command": [result.exit_code, f"{result.output}{result.exception!r}"],
    "refusal": refusal,
}, (folder / "found.json").open("w"))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The model and data, and what the other process says of them."""
    folder = tmp_path_factory.mktemp("export")
    keras.utils.set_random_seed(0)
    model = models.classifier((16, 3), 4, channels=6, states=4, blocks=1)
    x = np.random.default_rng(0).normal(size=(24, 16, 3)).astype("float32")
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", x=x, y=model.predict(x, verbose=0).argmax(axis=1))
    script = HIDING + EXPORTING
    result = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return model, x, folder, json.loads((folder / "found.json").read_text())


def test_the_file_is_the_same(exported):
    model, x, _, found = exported
    converted = convert(model, x)
    assert bytes.fromhex(found["tflite"]) == converted.tflite
    np.testing.assert_array_equal(found["predicted"], converted.predict(x, engine="tflm"))
    assert len(found["warnings"]) == 1
    assert "runs as compiled C99, which gives the same integers" in found["warnings"][0]


def test_emulator_and_c_are_compared(exported):
    found = exported[3]["verification"]
    assert list(found["accuracy"]) == ["keras", "streamed", "emulator", "c", "tensorflow"]
    assert found["bit_exact"]
    assert list(found["missing"]) == ["tflm"]
    assert "emulator and C: equal in all 384 steps" in exported[3]["text"]
    assert "tflm was not run: TensorFlow Lite Micro is not installed" in exported[3]["text"]
    assert "pip install tflite-micro" in exported[3]["refusal"]


def test_the_manifest_says_what_was_not_measured(exported):
    model, x, folder, found = exported
    manifest, measured = found["manifest"], convert(model, x).manifest
    assert manifest["arena_bytes"] is None
    assert manifest["arena_measured_on"].startswith("not measured")
    assert measured["recommended_arena"]["bytes"] < manifest["recommended_arena"]["bytes"]
    assert "arena_bytes" not in found["measure"]
    assert found["measure"]["tflite_bytes"] == measured["tflite_bytes"]
    changed = {"arena_bytes", "arena_measured_on", "recommended_arena", "versions"}
    assert {name for name in measured if measured[name] != manifest[name]} <= changed
    readme = (folder / "saved" / "README.md").read_text()
    assert "The arena is a bound, not an estimate: it was not measured" in readme
    assert f"KERAS_S4_ARENA_BYTES {manifest['recommended_arena']['bytes']}" in (
        folder / "saved" / "keras_s4_model.cc"
    ).read_text().replace("{", "")


def test_the_command_runs(exported):
    code, output = exported[3]["command"]
    assert code == 0, output
    assert "not measured" in output
    assert (exported[2] / "firmware" / "model.tflite").read_bytes() == bytes.fromhex(exported[3]["tflite"])
    assert (exported[2] / "firmware" / "c99" / "model.c").is_file()


@pytest.fixture
def neither(monkeypatch):
    """A computer without wheel and compiler."""

    def missing(*_):
        raise ImportError("no wheel here")

    def no_compiler():
        raise host.CompilerError("No C compiler: install one")

    monkeypatch.setattr(runtimes, "load_tflm", missing)
    monkeypatch.setattr(engines, "compiler", no_compiler)
    monkeypatch.setattr(host, "compiler", no_compiler)


@pytest.mark.usefixtures("neither")
def test_without_a_compiler_the_emulator_is_left(exported):
    model, x, _, found = exported
    converted = convert(model, x)
    with pytest.warns(UserWarning, match="runs as the emulator, slowly.*No C compiler: install one"):
        received = converted.predict(x)
    np.testing.assert_array_equal(received, found["predicted"])
    verified = converted.verify(model, x, np.zeros(24, int))
    assert list(verified.missing) == ["tflm", "c"]
    assert set(verified.agreement) == {"keras", "streamed", "emulator", "tensorflow"}
    assert "The emulator was compared with no other engine." in str(verified)
    assert "c was not run: No C compiler: install one" in str(verified)
    for engine, error in (("tflm", ImportError), ("c", host.CompilerError)):
        with pytest.raises(error, match=r"no wheel here|No C compiler"):
            converted.predict(x, engine=engine)


def test_a_cross_compiler_in_cc_costs_the_row_of_c_alone(exported, monkeypatch, tmp_path):
    """Shells of firmware projects set CC."""
    model, x, *_ = exported
    compiler = tmp_path / "arm-none-eabi-gcc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    verified = convert(model, x).verify(model, x)
    assert "tflm" in verified.agreement
    assert "The C compiler failed" in verified.missing["c"]


def test_without_tensorflow_its_row_is_left_out(exported, monkeypatch):
    def missing(*_):
        raise ImportError("No module named 'tensorflow'")

    model, x, *_ = exported
    monkeypatch.setattr(comparison.runtimes, "TensorFlowRunner", missing)
    verified = verify(convert(model, x), model, x)
    assert set(verified.agreement) == {"keras", "streamed", "emulator", "tflm", "c"}
    assert "tensorflow was not run: TensorFlow is not installed" in str(verified)


def test_the_bound_of_the_arena_suffices(exported):
    """For the files of several kinds of layers; it is not much too large either."""
    x = np.random.default_rng(0).normal(size=(8, 16, 3)).astype("float32")
    layers = keras.layers
    chains = [
        [layers.Dense(4)],
        [layers.Conv1D(8, 3, padding="causal", activation="relu"), layers.GlobalMaxPooling1D(), layers.Dense(3)],
        [layers.GRU(8), layers.Dense(20, "tanh"), layers.Dense(3, "softmax")],
    ]
    programs = [convert(exported[0], exported[1])]
    programs += [convert(keras.Sequential([keras.Input((16, 3)), *chain]), x, steps=4) for chain in chains]
    for states in ("inputs", "variables"):
        programs.append(convert(exported[0], exported[1], states=states))
    for converted in programs:
        measured = runtimes.measure_arena(converted.tflite)
        assert measured <= runtimes.bound_of_arena(converted.tflite) <= 6 * measured
