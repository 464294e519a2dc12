"""Arduino libraries: built for a Mega by Arduino's own builder, and run on simavr, one model and three."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from project_cases import run, save

HARDWARE = ("/usr/share/arduino-builder", "/usr/share/arduino/hardware")
needs_builder = pytest.mark.skipif(
    not shutil.which("arduino-builder") or not Path(HARDWARE[1], "arduino", "avr").is_dir(),
    reason="needs arduino-builder and arduino-core-avr",
)
needs_simavr = pytest.mark.skipif(not shutil.which("simavr"), reason="needs simavr")
# Patience with simavr, which does not end by itself.
SECONDS = 60


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder of libraries: three models and the kernels that they share."""
    folder = tmp_path_factory.mktemp("arduino")
    for case in ("class", "several", "modes"):
        saved = save(case, "arduino", folder / case)
        for library in saved.iterdir():
            if library.is_dir():
                shutil.copytree(library, folder / "libraries" / library.name, dirs_exist_ok=True)
    return folder / "libraries"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def build(libraries: Path, sketch: Path, folder: Path, cache: Path) -> tuple[Path, str]:
    """The image of a sketch, and what the builder says."""
    folder.mkdir()
    preferences = {
        # Of Debian's compiler and its core, which is older.
        "build.extra_flags": "-DDECIMAL_DIG=__DECIMAL_DIG__",
        "runtime.tools.avr-gcc.path": "/usr",
        "runtime.tools.ctags.path": "/usr",
    }
    hardware = [part for path in HARDWARE for part in ("-hardware", path)]
    said = run(
        *("arduino-builder", "-compile", *hardware, "-tools", "/usr/bin", "-libraries", libraries),
        *("-fqbn", "arduino:avr:mega:cpu=atmega2560", "-build-path", folder, "-build-cache", cache, "-warnings", "all"),
        *(f"-prefs={key}={value}" for key, value in preferences.items()),
        sketch,
    )
    return folder / f"{sketch.name}.elf", said


def simulate(image: Path, until: re.Pattern[str], log: Path) -> str:
    """What an image says over its serial line until it has said something."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["simavr", "-m", "atmega2560", "-f", "16000000", str(image)], stdout=file, stderr=subprocess.STDOUT
        )
        try:
            for _ in range(SECONDS * 10):
                time.sleep(0.1)
                said = log.read_text(errors="replace")
                if until.search(said):
                    return said
        finally:
            process.kill()
            process.wait()
    raise AssertionError(f"{image} has not said what was expected: {said[-2000:]}")


def test_libraries_are_as_the_specification_has_them(libraries):
    for folder in libraries.iterdir():
        lines = (folder / "library.properties").read_text().splitlines()
        properties = dict(line.split("=", 1) for line in lines)
        assert all(properties[key] for key in ("name", "author", "maintainer", "sentence", "paragraph", "url"))
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,62}", properties["name"])
        assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
        assert properties["category"] == "Data Processing" and properties["architectures"] == "*"
        assert (folder / "src" / f"{properties['name']}.h").exists()
        assert all((folder / "src" / header).exists() for header in properties["includes"].split(","))
        assert {"LICENSE", "README.md"} <= {path.name for path in folder.iterdir()}
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        for sketch in folder.glob("examples/*"):
            assert (sketch / f"{sketch.name}.ino").exists()
        for depends in properties.get("depends", "").split(","):
            assert not depends or (libraries / depends / "library.properties").exists()
    assert {path.name for path in libraries.iterdir()} == {"gesture", "station", "turbine", "keras_s4_kernels"}


@needs_builder
def test_the_example_reads_a_sensor(libraries, tmp_path, cache):
    image, said = build(libraries, libraries / "gesture/examples/sensor/sensor.ino", tmp_path / "build", cache)
    assert "Sketch uses" in said
    assert image.exists()


ALL = """
#include <gesture.h>
#include <station.h>
#include <turbine.h>
#include "gesture_selfcheck.h"
#include "station_selfcheck.h"
#include "turbine_selfcheck.h"
void setup()
{
    Serial.begin(115200);
    gesture_selfcheck();
    station_selfcheck();
    turbine_selfcheck();
}
void loop() {}
"""


@needs_builder
@needs_simavr
def test_models_in_one_sketch_share_kernels_and_give_no_differences(libraries, tmp_path, cache):
    sketch = tmp_path / "all"
    sketch.mkdir()
    (sketch / "all.ino").write_text(ALL)
    for model in ("gesture", "station", "turbine"):
        for path in (libraries / model / "examples" / "selfcheck").glob(f"{model}_*"):
            shutil.copy(path, sketch)
    image, _ = build(libraries, sketch / "all.ino", tmp_path / "build", cache)
    said = simulate(image, re.compile(r"turbine: \d+ differences"), tmp_path / "log")
    assert re.search(r"gesture: 0 differences in 24 results", said)
    assert re.search(r"station: 0 differences in 96 results", said)
    assert re.search(r"turbine: 0 differences in 96 results", said)
    symbols = run("avr-nm", image).split()
    assert symbols.count("s4_diagonal_step_int8") <= 1 and any(name.startswith("s4_") for name in symbols)
