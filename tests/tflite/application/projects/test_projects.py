"""What all kinds of ready-made projects have in common, and what is refused."""

import json
import re
import zipfile
from pathlib import Path

import pytest

from keras_s4.files import hash_bytes
from keras_s4.testing import programs
from keras_s4.tflite.application.projects import KINDS
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import to_tflite


@pytest.fixture(scope="module")
def converted():
    program = programs.model(lowered=True)
    return Converted(program, to_tflite(program), 60)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_gives_the_same_bytes_and_no_path_is_absolute(converted, kind, tmp_path):
    first, second = (converted.save(tmp_path / name, project=kind) for name in ("a", "b"))
    record = json.loads((first / "manifest.json").read_bytes())
    assert record["project"] == kind
    found = {path.relative_to(first).as_posix(): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert {name: (second / name).read_bytes() for name in found} == found
    assert set(found) == {*record["files"], "manifest.json"}
    assert all(hash_bytes(found[name]) == entry["sha256"] for name, entry in record["files"].items())
    assert {"README.md", "LICENSE"} <= set(found)
    assert not any(str(tmp_path).encode() in content for content in found.values())


# Headers that an ecosystem brings.
BROUGHT = {"esp_err.h", "esp_timer.h", "FreeRTOS.h", "task.h", "RTE_Components.h"}


def texts_of(folder: Path) -> dict[str, str]:
    """All texts of a project, those in packs too, by their names."""
    found = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for pack in folder.glob("*.pack"):
        with zipfile.ZipFile(pack) as archive:
            found |= {Path(name).name: archive.read(name) for name in archive.namelist()}
    return {name: content.decode() for name, content in found.items() if not name.endswith(".pack")}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "web"])
def test_everything_is_called_by_the_name_and_every_header_is_there(converted, kind, tmp_path):
    texts = texts_of(converted.save(tmp_path / "saved", name="WakeWord", project=kind))
    assert {"WakeWord.c", "WakeWord.h", "WakeWord_application.c", "WakeWord_golden.h"} <= set(texts)
    assert {"keras_s4_kernels.h", "keras_s4_diagonal.c"} <= set(texts)
    sources = {name: text for name, text in texts.items() if Path(name).suffix in (".c", ".h", ".cpp", ".ino")}
    for name, text in sources.items():
        assert name.startswith(("WakeWord", "keras_s4_", "main.", "sensor.", "selfcheck.", "startup.")), name
        included = {Path(header).name for header in re.findall(r'#include "(.+)"', text)}
        assert included <= set(texts) | BROUGHT, name
        assert "WAKEWORD" in text or "WakeWord" in text or name.startswith(("keras_s4_", "startup."))
        # Of the application nothing keeps a name that another model's has as well.
        assert not re.search(
            r"(?<![\w/])(application_|board_(?!host)|sensor_sample|sensor_gap|golden_|decision_)", text
        )


@pytest.mark.parametrize("kind", ["arduino", "zephyr"])
def test_names_that_an_ecosystem_has_are_refused(converted, kind, tmp_path):
    with pytest.raises(ValueError, match="name='Servo', which a header or component"):
        converted.save(tmp_path / "saved", name="Servo", project=kind)
    assert not (tmp_path / "saved").exists()


def test_another_kind_takes_the_place_of_what_was_saved(converted, tmp_path):
    converted.save(tmp_path / "saved")
    converted.save(tmp_path / "saved", project="make")
    assert not (tmp_path / "saved" / "model.tflite").exists()
    (tmp_path / "saved" / "Makefile").write_text("mine")
    with pytest.raises(ValueError, match="holds Makefile, changed since"):
        converted.save(tmp_path / "saved")


@pytest.mark.parametrize("kind", ["Arduino", "esp32", "", 3])
def test_unknown_kinds_are_refused(converted, kind, tmp_path):
    with pytest.raises(ValueError, match=r"Received project=.*; expected one of 'arduino', .*'make'"):
        converted.save(tmp_path / "saved", project=kind)
    assert not (tmp_path / "saved").exists()


def test_a_project_has_no_custom_operator(converted, tmp_path):
    with pytest.raises(ValueError, match="project='make' with dss='custom'"):
        converted.save(tmp_path / "saved", "custom", project="make")
    assert not (tmp_path / "saved").exists()
