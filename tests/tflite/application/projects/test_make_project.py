"""The project with a Makefile: on this computer, and on a Cortex-M4 in QEMU."""

import functools
import re
import shutil
import subprocess

import pytest
from project_cases import run, save

pytestmark = pytest.mark.skipif(not shutil.which("make") or not shutil.which("cc"), reason="needs make and cc")
CASES = ("windows", "several", "class", "labels", "modes")
BIASES = r"(?m)^(static const int32_t constant_\d+\[\d+\] = \{\n +)"
UNDEFINED = "-O0 -fsanitize=undefined -fno-sanitize-recover=all"
FLAGS = {"windows": UNDEFINED, "modes": UNDEFINED}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The project of a case, built."""

    def folder(case):
        project = save(case, "make", tmp_path_factory.mktemp("saved") / "project")
        flags = FLAGS.get(case, "-O0")
        link = flags.removeprefix("-O0 ") if "sanitize" in flags else ""
        run("make", "all", f"CFLAGS={flags} -Wconversion -Wshadow", f"LDFLAGS={link}", cwd=project)
        return project

    return functools.cache(folder)


@pytest.mark.parametrize("case", CASES)
def test_the_selfcheck_finds_nothing(saved, case):
    said = run(saved(case) / "build" / "host" / "selfcheck.elf").splitlines()[-1]
    assert re.fullmatch(r"\w+: 0 differences in [1-9]\d* results", said)


@pytest.mark.parametrize("case", CASES)
def test_the_example_runs_a_recording(saved, case):
    said = run("sh", "-c", "build/host/sensor.elf < sensor/recording.txt", cwd=saved(case))
    assert said or case != "windows"
    assert "lost" not in said
    if case == "class":
        assert set(said.split()) <= {"rest", "left", "right", "up", "down"}


@pytest.mark.parametrize(
    ("case", "file", "old", "new", "message"),
    [
        ("windows", "gesture/gesture.c", BIASES, r"\g<1>1000000 + ", r"result 0: \w+\[\d\] is -?\d+ instead of"),
        ("class", "gesture/gesture_decisions.c", "state->count >= 2U", "state->count >= 3U", r"said\[0\] is"),
    ],
)
def test_what_differs_is_named(saved, tmp_path, case, file, old, new, message):
    project = shutil.copytree(saved(case), tmp_path / "project")
    text, count = re.subn(old, new, (project / file).read_text(), count=1)
    assert count == 1
    (project / file).write_text(text)
    flags = FLAGS.get(case, "-O0")
    done = subprocess.run(
        ["make", "check", f"LDFLAGS={flags}"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert re.search(message, done.stdout), done.stdout + done.stderr
    assert re.search(r"gesture: [1-9]\d* differences in \d+ results", done.stdout)


@pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs arm-none-eabi-gcc, newlib and qemu-system-arm",
)
def test_the_selfcheck_runs_on_a_cortex_m4(saved):
    assert "gesture: 0 differences in 24 results" in run("make", "qemu", cwd=saved("class"))
    assert "turbine: 0 differences in 96 results" in run("make", "qemu", cwd=saved("modes"))


BOTH = """
#include "gesture_selfcheck.h"
#include "station_selfcheck.h"
int main(void)
{
    return gesture_selfcheck() + station_selfcheck() == 0UL ? 0 : 1;
}
"""


def test_two_models_link_with_one_library_of_kernels(saved, tmp_path):
    projects = {"gesture": saved("class"), "station": saved("several")}
    (tmp_path / "main.c").write_text(BOTH)
    kernels = [project / "build/host/libkeras_s4_kernels.a" for project in projects.values()]
    assert kernels[0].read_bytes() == kernels[1].read_bytes()
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", tmp_path / "main.c"]
    for name, project in projects.items():
        folders = (project / name, project / "keras_s4_kernels", project / "selfcheck")
        command += [f"-I{folder}" for folder in folders]
        command.append(project / "selfcheck" / f"{name}_selfcheck.c")
    libraries = [project / f"build/host/lib{name}.a" for name, project in projects.items()]
    run(*command, *libraries, kernels[0], "-o", tmp_path / "both")
    assert run(tmp_path / "both").splitlines() == [
        "gesture: 0 differences in 24 results",
        "station: 0 differences in 96 results",
    ]
