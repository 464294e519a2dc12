"""Names and versions by each ecosystem's rules, and the licence."""

import re
import shutil
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from project_cases import gesture, run

from keras_s4.costs.boards import boards
from keras_s4.tflite.application.projects.cmsis_pack import group_of
from keras_s4.tflite.application.projects.memory import AVR_BOARDS, Memory, memory_of
from keras_s4.tflite.application.projects.names import arduino_name, check_project_name, project_name, version
from keras_s4.tflite.application.projects.parts import licence
from keras_s4.tflite.c99 import c_source


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Wake Word 2", "wake_word_2"),
        ("servo", "model_servo"),
        ("driver", "model_driver"),
        ("esp_net", "model_esp_net"),
    ],
)
def test_a_model_that_nobody_has_named_hides_no_header_and_no_component(model, name):
    assert project_name(model) == name
    check_project_name(name)


@pytest.mark.parametrize("name", ["Servo", "wire", "esp_timer", "freertos_task", "mqtt", "zephyr_x"])
def test_names_that_an_ecosystem_has_are_refused_with_another(name):
    with pytest.raises(ValueError, match=rf"name='{name}'.* such as 'model_{name.lower()}'"):
        check_project_name(name)


@pytest.mark.parametrize(
    ("name", "library"),
    [("gesture", "gesture"), ("my_arduino_library", "my"), ("Arduino_2", "model_2"), ("library", "model")],
)
def test_names_of_arduino_libraries_have_no_forbidden_words(name, library):
    assert arduino_name(name) == library


def test_groups_of_packs_have_2_to_32_characters_and_stay_apart():
    names = ["a", "ab", "a" * 32, "a" * 33, "a" * 63, "a" * 62 + "b"]
    groups = [group_of(name) for name in names]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_ ]{1,31}", group) for group in groups)
    assert len(set(groups)) == len(names)
    assert groups[1:3] == names[1:3]


@pytest.mark.parametrize(
    ("found", "expected"),
    [("0.1.0", "0.1.0"), ("1.2", "1.2.0"), ("2.0.0.dev3+g12", "2.0.0"), ("3", "3.0.0")],
)
def test_versions_are_three_numbers(monkeypatch, found, expected):
    monkeypatch.setattr("importlib.metadata.version", lambda name: found)
    assert version() == expected


def test_small_boards_are_told_what_fits():
    told = Memory(constants=1500, state=300).avr_advice
    assert told == "an Uno has 2,048, which is too small, and a Mega has 8,192, which is enough"


def test_small_boards_are_those_of_the_table():
    assert {"an Uno": boards()["arduino-uno"].ram_bytes, "a Mega": boards()["arduino-mega"].ram_bytes} == AVR_BOARDS


@pytest.mark.skipif(not shutil.which("cc"), reason="needs cc")
def test_memory_is_what_a_compiler_finds(tmp_path):
    sources = c_source(gesture(), "gesture")
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "states.c").write_text('#include "gesture.h"\ngesture_state state;\n')
    run("cc", "-c", "-O0", "gesture.c", "states.c", cwd=tmp_path)
    sizes = {}
    for name in ("gesture.o", "states.o"):
        with (tmp_path / name).open("rb") as file:
            symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
            sizes |= {each.name: each["st_size"] for each in symbols if each["st_info"]["type"] == "STT_OBJECT"}
    memory = memory_of(sources, "gesture")
    # A compiler aligns members of the state.
    assert memory.state <= sizes.pop("state") < memory.state + 8
    assert memory.constants == sum(size for name, size in sizes.items() if not name.endswith("_layer"))


def test_the_licence_is_that_of_the_package():
    assert licence() == (Path(__file__).parents[4] / "LICENSE").read_text()
