"""The kinds of projects that a model can be saved as: one module of this folder each, found by its name here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_s4.checks import choice
from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.arduino import arduino_project
from keras_s4.tflite.application.projects.cmsis_pack import cmsis_pack_project
from keras_s4.tflite.application.projects.esp_idf import esp_idf_project
from keras_s4.tflite.application.projects.make import make_project
from keras_s4.tflite.application.projects.names import check_project_name
from keras_s4.tflite.application.projects.platformio import platformio_project
from keras_s4.tflite.application.projects.web import web_project
from keras_s4.tflite.application.projects.zephyr import zephyr_project
from keras_s4.tflite.application.web.compiling import check_compiler

# Each gives the files of a whole folder by name, README.md among them; the record of their hashes is added.
KINDS: dict[str, Callable[[Export], dict[str, bytes]]] = {
    "arduino": arduino_project,
    "platformio": platformio_project,
    "esp-idf": esp_idf_project,
    "zephyr": zephyr_project,
    "cmsis-pack": cmsis_pack_project,
    "make": make_project,
    "web": web_project,
}
# What shows recordings.
REPLAYS = ("web",)


def check_project(kind: str, dss: str = "operators", recordings: Any = None, name: str | None = None) -> None:
    """Refuses what is no kind of project, before there is anything to save.

    Raises:
        ValueError: it is another word, or goes with a form of DSS steps that is TensorFlow Lite Micro's alone, or
            shows no recordings; an ecosystem has the name already.
        ModuleNotFoundError: a package that it needs is missing; the message says how to install it.
    """
    choice(kind, "Received project=", KINDS)
    if name is not None:
        check_project_name(name)
    if dss != "operators":
        raise ValueError(
            f"Received project={kind!r} with dss={dss!r}, which is of TensorFlow Lite Micro; projects hold the model "
            "as C99. Leave out one of the two, or save twice."
        )
    if recordings is not None and kind not in REPLAYS:
        raise ValueError(f"Received recordings with project={kind!r}; of all projects {', '.join(REPLAYS)} shows some.")
    if kind == "web":
        check_compiler()


def project_files(kind: str, export: Export) -> dict[str, bytes]:
    """The bytes of each file of a project, by name.

    Raises:
        ValueError: see `check_project`.
        NotImplementedError: the program has an operation in a form that C leaves out.
    """
    check_project(kind)
    return KINDS[kind](export)
