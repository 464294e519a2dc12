"""Components of ESP-IDF and modules of Zephyr, configured and compiled by CMake with stand-ins for both, and run."""

import re
import shutil
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest
from project_cases import run, save

from keras_s4.tflite.c99.host import compiler

STUBS = Path(__file__).parent / "stubs"
needs_cmake = pytest.mark.skipif(not shutil.which("cmake") or not shutil.which("cc"), reason="needs cmake and cc")
ZERO = re.compile(r"gesture: 0 differences in [1-9]\d* results\n")
DECIDED = re.compile(r"((rest|left|right|up|down)\n)+")


def build(source: Path, folder: Path, *definitions: str, **environment: str):
    run("cmake", "-S", source, "-B", folder, *definitions, **environment)
    run("cmake", "--build", folder, "-j2", **environment)


@pytest.fixture(scope="module")
def idf(tmp_path_factory):
    return save("class", "esp-idf", tmp_path_factory.mktemp("idf") / "saved") / "components"


@needs_cmake
@pytest.mark.parametrize(("example", "says"), [("selfcheck", ZERO), ("sensor", DECIDED)])
def test_examples_of_esp_idf(idf, tmp_path, example, says):
    build(idf / "gesture" / "examples" / example, tmp_path, IDF_PATH=str(STUBS / "esp_idf"))
    assert says.fullmatch(run(tmp_path / "firmware"))


BOTH = {
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.16)
set(EXTRA_COMPONENT_DIRS "{gesture}" "{station}")
include($ENV{{IDF_PATH}}/tools/cmake/project.cmake)
project(both)
""",
    "main/CMakeLists.txt": """
idf_component_register(
    SRCS main.c gesture_selfcheck.c station_selfcheck.c
    INCLUDE_DIRS .
    REQUIRES gesture station)
""",
    "main/main.c": """
#include "gesture_selfcheck.h"
#include "station_selfcheck.h"
void app_main(void)
{{
    (void)gesture_selfcheck();
    (void)station_selfcheck();
}}
""",
}


@needs_cmake
def test_two_models_in_one_project_of_esp_idf(idf, tmp_path):
    folders = {"gesture": idf, "station": save("several", "esp-idf", tmp_path / "saved") / "components"}
    (tmp_path / "main").mkdir()
    for name, text in BOTH.items():
        (tmp_path / name).write_text(text.format(**folders))
    for name, folder in folders.items():
        for path in (folder / name / "examples" / "selfcheck" / "main").glob(f"{name}_*"):
            shutil.copy(path, tmp_path / "main")
    build(tmp_path, tmp_path / "build", IDF_PATH=str(STUBS / "esp_idf"))
    said = run(tmp_path / "build" / "firmware")
    assert said == "gesture: 0 differences in 24 results\nstation: 0 differences in 96 results\n"


def kconfig(module: Path) -> dict[str, list[str]]:
    """The lines below each option of a module's Kconfig."""
    options, name = {}, ""
    for line in (module / "zephyr" / "Kconfig").read_text().splitlines():
        if line.startswith("config "):
            name = line.split()[1]
            options[name] = []
        elif line:
            assert line.startswith("\t"), line
            options[name].append(line.strip())
    return options


@pytest.fixture(scope="module")
def zephyr(tmp_path_factory):
    return save("class", "zephyr", tmp_path_factory.mktemp("zephyr") / "saved")


def test_options_of_zephyr_select_the_kernels(zephyr):
    model, kernels = kconfig(zephyr / "gesture"), kconfig(zephyr / "keras_s4_kernels")
    assert "select KERAS_S4_KERNELS" in model["KERAS_S4_GESTURE"]
    assert {"depends on KERAS_S4_GESTURE", "default y"} <= set(model["KERAS_S4_GESTURE_APPLICATION"])
    assert list(kernels) == ["KERAS_S4_KERNELS"]
    for module in ("gesture", "keras_s4_kernels"):
        lines = (zephyr / module / "zephyr" / "module.yml").read_text().splitlines()
        assert f"name: {module}" in lines
        assert {"  cmake: zephyr", "  kconfig: zephyr/Kconfig"} <= set(lines)
        used = re.findall(r"\.\./src/\S+", (zephyr / module / "zephyr" / "CMakeLists.txt").read_text())
        there = {f"../src/{path.name}" for path in (zephyr / module / "src").glob("*.c")}
        assert sorted(path.rstrip(")") for path in used) == sorted(there)
    assert "CONFIG_KERAS_S4_GESTURE=y" in (zephyr / "gesture/samples/sensor/prj.conf").read_text()


@needs_cmake
@pytest.mark.parametrize(("sample", "says"), [("selfcheck", ZERO), ("sensor", DECIDED)])
def test_samples_of_zephyr(zephyr, tmp_path, sample, says):
    chosen = ("-DCONFIG_KERAS_S4_KERNELS=y", "-DCONFIG_KERAS_S4_GESTURE_APPLICATION=y")
    build(zephyr / "gesture" / "samples" / sample, tmp_path, f"-DCMAKE_PREFIX_PATH={STUBS / 'zephyr'}", *chosen)
    assert says.fullmatch(run(tmp_path / "zephyr"))


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """The folders of the packs of model and kernels, unpacked, each with its description."""
    folder = tmp_path_factory.mktemp("packs")
    found = []
    for path in sorted(save("class", "cmsis-pack", folder / "saved").glob("*.pack")):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            archive.extractall(folder / path.stem)
        description = ET.parse(next((folder / path.stem).glob("*.pdsc"))).getroot()
        vendor, name = description.findtext("vendor"), description.findtext("name")
        version = description.find("releases/release").get("version")
        assert path.name == f"{vendor}.{name}.{version}.pack"
        assert (folder / path.stem / f"{vendor}.{name}.pdsc").exists()
        found.append((folder / path.stem, description))
    return found


def test_packs_have_all_that_they_name(packs):
    (_, description), (_, of_kernels) = packs
    for folder, root in packs:
        required = {"vendor", "name", "description", "url", "license", "releases", "taxonomy", "components"}
        assert required <= {child.tag for child in root}
        named = {element.get("name") for element in root.iter("file")} | {root.findtext("license")}
        assert all((folder / name).exists() for name in named)
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert there - named == {next(folder.glob("*.pdsc")).name}
    needed = description.find("requirements/packages/package").attrib
    assert needed["name"] == of_kernels.findtext("name") and needed["vendor"] == of_kernels.findtext("vendor")
    offered = [tuple(each.get(key) for key in ("Cclass", "Cgroup", "Csub")) for each in of_kernels.iter("component")]
    wanted = [tuple(each.get(key) for key in ("Cclass", "Cgroup", "Csub")) for each in description.iter("require")]
    own = [tuple(each.get(key) for key in ("Cclass", "Cgroup", "Csub")) for each in description.iter("component")]
    assert set(wanted) <= {*offered, *own}
    conditions = {each.get("id") for each in description.iter("condition")}
    assert {each.get("condition") for each in description.iter("component")} <= conditions


@pytest.mark.skipif(not shutil.which("cc"), reason="needs cc")
@pytest.mark.parametrize(("template", "says"), [("selfcheck", ZERO), ("sensor", DECIDED)])
def test_components_of_packs_compile_with_their_templates(packs, tmp_path, template, says):
    sources, folders = [], [STUBS / "cmsis"]
    for folder, root in packs:
        for element in root.iter("file"):
            of_template = element.get("attr") == "template"
            if element.get("category") == "sourceC" and (not of_template or f"/{template}/" in element.get("name")):
                sources.append(folder / element.get("name"))
            elif element.get("category") == "include":
                folders.append(folder / element.get("name"))
        folders.append(folder / "templates" / template)
    sources += [STUBS / "cmsis" / "device.c"] if template == "sensor" else []
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O0"]
    run(*compiler(), *options, *(f"-I{folder}" for folder in folders), *sources, "-o", tmp_path / "firmware")
    assert says.fullmatch(run(tmp_path / "firmware"))
