"""Libraries of PlatformIO and components of ESP-IDF, packed and checked by their own tools, without a network."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from cpp_compiler import COMPILER, FLAGS, needs_compiler
from project_cases import run, save

from keras_s4.tflite.c99.host import compiler

# What `pio` runs, one command after the other, with the list of licences that it would fetch.
PIO = """
import json
import sys
from platformio.package.manifest import schema
schema.ManifestSchema.load_spdx_licenses = staticmethod(lambda: {"licenses": [{"licenseId": "Apache-2.0"}]})
from platformio.__main__ import main
for command in json.loads(sys.argv[1]):
    if main(["pio", *command]):
        sys.exit(1)
"""
# The interpreter of the environment that `pio` lies in.
PYTHON = Path(shutil.which("pio") or "pio").resolve().parent / "python"
needs_pio = pytest.mark.skipif(
    not shutil.which("pio") or not PYTHON.exists(), reason="needs PlatformIO in an environment: pip install platformio"
)
needs_compote = pytest.mark.skipif(
    not shutil.which("compote"), reason="needs compote: pip install idf-component-manager"
)


def pio(*commands: list[str | Path], home: Path) -> str:
    listed = json.dumps([list(map(str, command)) for command in commands])
    return run(PYTHON, "-c", PIO, listed, PLATFORMIO_CORE_DIR=str(home), PLATFORMIO_SETTING_ENABLE_TELEMETRY="no")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return save("class", "platformio", tmp_path_factory.mktemp("pio") / "saved")


def test_libraries_of_platformio_name_what_is_there(project):
    for folder in (project / "lib").iterdir():
        facts = json.loads((folder / "library.json").read_text())
        assert facts["name"] == folder.name and not set(facts["name"]) & set(":;/,@<>")
        assert all((folder / "src" / header).exists() for header in facts["headers"])
        assert facts["license"] == "Apache-2.0" and facts["platforms"] == facts["frameworks"] == "*"


@needs_compiler
def test_the_selfcheck_of_platformio_runs_here_as_its_native_environment_builds_it(project, tmp_path):
    libraries = [project / "lib" / name / "src" for name in ("gesture", "keras_s4_kernels")]
    includes = [f"-I{folder}" for folder in libraries]
    for source in (path for folder in libraries for path in folder.glob("*.c")):
        run(*compiler(), "-std=c99", "-O0", "-c", *includes, source, cwd=tmp_path)
    example = sorted((project / "lib" / "gesture" / "examples" / "selfcheck").glob("*.cpp"))
    run(*COMPILER, *FLAGS, "-O0", *includes, *example, *tmp_path.glob("*.o"), "-o", tmp_path / "program")
    assert run(tmp_path / "program") == "gesture: 0 differences in 24 results\n"


@needs_pio
def test_platformio_packs_libraries_and_those_of_arduino(project, tmp_path):
    """Its parser reads library.properties too."""
    arduino = save("class", "arduino", tmp_path / "arduino")
    folders = [*sorted((project / "lib").iterdir()), *(arduino / name for name in ("gesture", "keras_s4_kernels"))]
    targets = [tmp_path / f"{index}.tar.gz" for index in range(len(folders))]
    packing = [["pkg", "pack", folder, "-o", target] for folder, target in zip(folders, targets, strict=True)]
    pio(*packing, home=tmp_path / "home")
    for folder, target in zip(folders, targets, strict=True):
        with tarfile.open(target) as archive:
            there = set(archive.getnames())
        assert {"LICENSE", "README.md"} <= there
        assert {"library.json", "library.properties"} & there
        assert any(name.startswith("src/") for name in there), folder


@needs_pio
def test_platformio_reads_the_project(project, tmp_path):
    said = pio(["project", "config", "-d", project, "--json-output"], home=tmp_path / "home")
    sections = {name: dict(options) for name, options in json.loads(said[said.index("[[") :])}
    assert {"env:sensor", "env:selfcheck", "env:native"} <= set(sections)
    assert Path(sections["platformio"]["src_dir"]) == project / "lib" / "gesture" / "examples"
    chosen = [filter for section in sections.values() for filter in section.get("build_src_filter", [])]
    assert len(chosen) == 3
    assert all((project / "lib/gesture/examples" / filter.strip("+<>/")).is_dir() for filter in chosen)


@needs_compote
def test_compote_lints_and_packs_components(tmp_path):
    components = save("class", "esp-idf", tmp_path / "saved") / "components"
    home = {"IDF_TOOLS_PATH": str(tmp_path / "home"), "IDF_COMPONENT_CACHE_PATH": str(tmp_path / "cache")}
    for folder in components.iterdir():
        run("compote", "component", "pack", "--name", folder.name, "--dest-dir", tmp_path, cwd=folder, **home)
        with tarfile.open(next(tmp_path.glob(f"{folder.name}_*.tgz"))) as archive:
            there = {name.removeprefix("./") for name in archive.getnames()}
        assert {"CMakeLists.txt", "idf_component.yml", "LICENSE"} <= there
    run("compote", "manifest", "lint", cwd=components / "gesture", **home)
