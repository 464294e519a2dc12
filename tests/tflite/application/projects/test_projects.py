"""What all kinds of ready-made projects have in common, and what is refused."""

import json

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
