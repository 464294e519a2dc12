"""MISRA C:2012 by the addon of Cppcheck: no rule is violated that `tflite/c99/MISRA.md` does not give a reason for.

Skipped where there is no Cppcheck, or another version than the table is of: others find more, or less.
"""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import keras_s4.tflite.c99
from keras_s4.decisions import Decision
from keras_s4.testing.programs import model, single
from keras_s4.tflite.application.decisions import decision_of
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.files import kernel_files

TABLE = (Path(keras_s4.tflite.c99.__file__).parent / "MISRA.md").read_text()
REASONS = re.findall(r"^\| (\d+\.\d+) \| (advisory|required|mandatory) \| .+ \| .+ \|$", TABLE, re.MULTILINE)
RULE = re.compile(r"^(\S+):\d+:misra-c2012-(\d+\.\d+)$", re.MULTILINE)
# One configuration of the preprocessor each, since all of them take minutes.
PLAIN = ["-U__GNUC__", "-U__ARM_FEATURE_DSP", "-U__ARM_FEATURE_SAT", "-DLOAD(x)=(x)", "-DSTORE(x,y)=((x)=(y))"]
DSP = ["-D__GNUC__=12", "-D__ARM_FEATURE_DSP=1", "-D__ARM_FEATURE_SAT=1"]
BOTH = ["-U__cplusplus", "-U__AVR__", "-UNULL", "-U__ARM_FEATURE_MVE", "-U__clang__"]


@pytest.fixture(scope="module", autouse=True)
def tools():
    """Skips, with the reason, where Cppcheck is missing or another one."""
    wanted = re.search(r"addon of Cppcheck ([\d.]+)", TABLE)[1]
    if not shutil.which("cppcheck"):
        pytest.skip("cppcheck is not installed: apt-get install cppcheck")
    found = subprocess.run(["cppcheck", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    if found != wanted:
        pytest.skip(f"cppcheck {found}, and MISRA.md is of {wanted}")


def rules_of(folder: Path, sources: dict[str, str], flags: list[str]) -> dict[str, set[str]]:
    """The violated rules, and the files that violate each."""
    for name, text in sources.items():
        (folder / name).write_text(text)
    names = sorted(name for name in sources if name.endswith(".c"))
    # Kernels are looked at by themselves.
    names = [name for name in names if name not in kernel_files()] or names
    command = ["cppcheck", "--addon=misra", "--std=c99", "--platform=unix32", "-q", *BOTH, *flags]
    done = subprocess.run(
        [*command, "--template={file}:{line}:{id}", *names], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "rror" not in done.stderr, done.stderr
    found = {}
    for file, rule in RULE.findall(done.stderr):
        found.setdefault(rule, set()).add(file)
    return found


def application(kind: str) -> dict[str, str]:
    """A model of two blocks with all that the saved application has for a board."""
    program = dataclasses.replace(model(1, blocks=2, lowered=True), output_activations=("softmax",))
    decision = decision_of(program, None, Decision(kind=kind, every=3, smoothing=2.0, background=0))
    files = render_firmware(program, {"window_length": None}, golden_vectors(program, 1, 24), "model", decision)
    del files["board_host.c"], files["golden.h"], files["Makefile"]
    return files | c_source(program, "model")


CASES = {
    "kernels": (kernel_files, PLAIN),
    "kernels with DSP": (kernel_files, DSP),
    "application": (lambda: application("class"), PLAIN),
    "labels": (
        lambda: {name: text for name, text in application("labels").items() if "s.c" in name or ".h" in name},
        PLAIN,
    ),
    "averages": (
        lambda: {
            file: text
            for name in ("sliding_sum", "recent_mean")
            for file, text in c_source(single(name, 1, lowered=True), f"one_{name}").items()
        },
        PLAIN,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_deviation_has_a_reason(case, tmp_path):
    sources, flags = CASES[case]
    found = rules_of(tmp_path, sources(), flags)
    assert found
    assert {rule: files for rule, files in found.items() if rule not in dict(REASONS)} == {}


def test_no_mandatory_rule_is_deviated_from():
    assert REASONS and "mandatory" not in dict(REASONS).values()


def test_a_violation_is_found(tmp_path):
    """An octal constant, and `goto`."""
    text = "int f(int x);\nint f(int x)\n{\nagain:\n    if (x > 010) {\n        --x;\n        goto again;\n    }\n"
    text += "    return x;\n}\n"
    found = rules_of(tmp_path, {"f.c": text}, PLAIN).keys() - dict(REASONS).keys()
    assert {"7.1", "15.1"} <= found
