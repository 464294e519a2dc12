"""What users install: the sdist and the wheel, whole, and the job run from the wheel in another folder.

The environment has nothing of this checkout; packages that take long to install are those of this one. The packages of
extras are hidden in it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_extras import HIDDEN

ROOT = Path(__file__).parents[1]
# Of the build, not of the project: setuptools reads licences as words since then.
SETUPTOOLS = "setuptools>=77"
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")
FOLDERS = ("keras_s4", "tflite", "tests", "scripts", "firmware_tests")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The folder of a setuptools that builds this project, or None where the one that is here does."""
    import setuptools

    if int(setuptools.__version__.partition(".")[0]) >= 77:
        return None
    folder = tmp_path_factory.mktemp("tools")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, SETUPTOOLS]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("the setuptools here is too old to build this project, and pip finds no other")
    return folder


def build(kind, source, out, tools):
    """The path of what `build_meta` makes of a source tree."""
    path = os.pathsep.join(map(str, [tools] if tools else []))
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(out)]
    variables = {**os.environ, "PYTHONPATH": path, "SETUPTOOLS_USE_DISTUTILS": "local"}
    done = subprocess.run(command, cwd=source, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The checkout, as building leaves traces."""
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def sdist(source, tools, tmp_path_factory):
    return build("sdist", source, tmp_path_factory.mktemp("sdist"), tools)


@pytest.fixture(scope="module")
def wheel(source, tools, sdist, tmp_path_factory):
    return build("wheel", source, tmp_path_factory.mktemp("wheel"), tools)


def contents(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {name: hashlib.sha256(file.read(name)).hexdigest() for name in file.namelist()}


def test_the_wheel_holds_everything_of_the_library_and_nothing_else(wheel):
    expected = {
        str(Path("keras_s4", *(("tflite",) if folder == "tflite" else ()), path.relative_to(ROOT / folder)))
        for folder in ("keras_s4", "tflite")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert found == expected
    assert {"keras_s4/py.typed", "keras_s4/tflite/c99/templates/model.c.jinja"} <= found


def test_the_sdist_builds_the_same_wheel(wheel, sdist, tools, tmp_path):
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert not [name for name in ("tests", "scripts", "firmware_tests") if (unpacked / name).exists()]
    assert {*FILES} <= {path.name for path in unpacked.iterdir()}
    (tmp_path / "wheel").mkdir()
    assert contents(build("wheel", unpacked, tmp_path / "wheel", tools)) == contents(wheel)


def test_the_metadata_says_what_the_project_says(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        head, _, page = file.read(name).decode().partition("\n\n")
    fields = [line.partition(": ")[::2] for line in head.splitlines()]
    many = {key: [value for name, value in fields if name == key] for key, _ in fields}
    assert many["Classifier"] == project["classifiers"]
    assert set(many["Provides-Extra"]) == set(project["optional-dependencies"])
    assert len([line for line in many["Requires-Dist"] if "extra ==" not in line]) == len(project["dependencies"])
    assert page.startswith("# keras-s4")
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE).group(1) == many["Version"][0] == project["version"]


def test_the_citation_is_valid():
    """What citation file format 1.2.0 requires, and nothing that it does not know."""
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    known = {"type", "abstract", "version", "license", "keywords", "references", "repository-code", "url", "doi"}
    assert citation.keys() <= known | {"cff-version", "message", "title", "authors", "date-released"}
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all({"family-names", "given-names"} <= author.keys() for author in reference["authors"])


JOB = """
import sys
import numpy as np
import keras, keras_s4
from keras_s4.datasets import Recordings, Sensor, Splits, Task
from keras_s4.job import pipeline
from keras_s4.job.settings import Settings

def recordings(people, seed):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(2), len(people))
    signals = [np.sin(np.arange(64)[:, None] * (0.2 + label)) + 0.1 * random.normal(size=(64, 3)) for label in labels]
    return Recordings([signal.astype("float32") for signal in signals], labels, np.tile(people, 2))

task = Task(
    name="waves", title="Waves", purpose="to tell two waves apart",
    read=lambda: Splits(recordings(["a", "b"], 0), recordings(["c"], 1), recordings(["d"], 2)),
    length=32, hop=16, sensors=(Sensor("height", ("x", "y", "z"), "m"),), classes=("slow", "fast"), rate=10.0,
    group="person",
)
if __name__ == "__main__":
    print(keras_s4.__file__)
    pipeline.run(task, "run", Settings(epochs=1, retrain_epochs=1, channels=4, states=2, blocks=1, batch_size=4))
"""


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A folder with an environment that has the wheel, and the heavy packages of this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A path alone: files of that folder which add paths themselves, as an editable installation does, are not read.
    (packages / "heavy.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    command = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel]
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="environments have other folders there")
def test_the_job_runs_from_the_wheel_without_any_extra(environment):
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (environment / "job.py").write_text(HIDDEN + JOB)
    python, command = (environment / "env" / "bin" / name for name in ("python", "keras-s4"))
    done = subprocess.run(
        [python, "job.py"], cwd=environment, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path(done.stdout.split()[0]).is_relative_to(environment / "env")
    summary = json.loads((environment / "run" / "summary.json").read_text())
    assert summary["comparison"]["bit_exact"]
    assert "PHN2Zy" in (environment / "run" / "report.html").read_text()  # "<svg", which says what is missing
    assert (environment / "run" / "firmware" / "c99" / "model.c").is_file()
    version = subprocess.run([command, "--version"], env=variables, capture_output=True, text=True, check=True).stdout
    assert version == "keras-s4 0.1.0\n"
