"""Writes the folder that a firmware project starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_s4.saved_folder import check_before, save_folder, with_record
from keras_s4.tflite.application.custom import custom_application
from keras_s4.tflite.application.decisions import ProgramDecision, facts_of_decision
from keras_s4.tflite.application.firmware import FILES as FIRMWARE_FILES
from keras_s4.tflite.application.firmware import render_firmware, windows_of
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.projects import Export, check_project, project_files
from keras_s4.tflite.application.sensors import SensorInput, facts_of_sensors
from keras_s4.tflite.application.tflm import FILES as TFLM_FILES
from keras_s4.tflite.application.tflm import render_tflm
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.names import file_stem
from keras_s4.tflite.flatbuffer import DssForm, check_dss_form
from keras_s4.tflite.program.program import Program

# What the C files and functions of every saved folder are called, so that another model needs no other firmware.
C_NAME = "model"
# The last file of a folder, with the hashes of all others; of the C source alone, that the two may be told apart.
MANIFEST, C_RECORD = "manifest.json", "files.json"


def save(
    program: Program,
    tflite: bytes,
    manifest: Mapping[str, Any],
    folder: Path,
    dss: DssForm = "operators",
    decision: ProgramDecision | None = None,
    sensors: Sequence[SensorInput] | None = None,
    project: str | None = None,
    recordings: Any = None,
) -> Path:
    """Writes the model, its manifest, its C source, golden vectors and two applications, whole or not at all.

    The same model gives the same bytes. With `dss="custom"` there is a third application in `tflm_custom/`; with a
    decision all applications make it; with sensors the main loop takes their integers. With a kind of project the
    folder is such a project instead, and recordings are what it replays.

    Raises:
        ValueError: another kind of project; the folder has files of these names that no save has written there, or
            that were changed since.
        OSError: the folder cannot be written; nothing half-written remains.
        NotImplementedError: the program has an operation in a form that C leaves out, such as more than 255
            modes of a DSS layer.
    """
    return save_folder(folder, folder_contents(program, tflite, manifest, dss, decision, sensors, project, recordings))


def save_c(program: Program, folder: Path, window: int | None = None) -> Path:
    """Writes the C source alone, whole or not at all; of a program that averages over windows of so many samples.

    Raises:
        ValueError, OSError, NotImplementedError: see `save`.
    """
    return save_folder(folder, _c_files(program, window))


def check_folder(folder: Path, project: str | None = None) -> None:
    """Refuses a folder whose files `save` must not replace, before there is anything to save.

    Raises:
        ValueError: see `save`.
    """
    check_before(folder, _usual_names() if project is None else ["README.md", MANIFEST], MANIFEST)


def check_c_folder(folder: Path) -> None:
    """The same for `save_c`.

    Raises:
        ValueError: see `save`.
    """
    names = [name.removeprefix("c99/") for name in _usual_names() if name.startswith("c99/")]
    check_before(folder, names, C_RECORD)


def folder_contents(
    program: Program,
    tflite: bytes,
    manifest: Mapping[str, Any],
    dss: DssForm = "operators",
    decision: ProgramDecision | None = None,
    sensors: Sequence[SensorInput] | None = None,
    project: str | None = None,
    recordings: Any = None,
) -> dict[str, bytes]:
    """The bytes of each file, by name; `manifest.json`, which holds the hashes of all others, is the last."""
    check_dss_form(dss)
    if decision is not None:
        manifest = {**manifest, "decision": facts_of_decision(decision)}
    if sensors is not None:
        manifest = {**manifest, "sensors": facts_of_sensors(sensors)}
    golden = golden_vectors(program)
    if project is not None:
        check_project(project, dss, recordings)
        export = Export(program, manifest, golden, file_stem(program.name), decision, sensors, recordings)
        return with_record(project_files(project, export), MANIFEST, {**manifest, "project": project})
    also_custom = dss == "custom"
    tflm = render_tflm(program, manifest, tflite, golden, C_NAME, also_custom=also_custom, decision=decision)
    firmware = render_firmware(program, manifest, golden, C_NAME, decision, sensors)
    contents = {"model.tflite": tflite, "golden.npz": golden.npz()}
    contents |= {name: text.encode() for name, text in tflm.items()}
    window = windows_of(program, manifest["window_length"]) or None
    contents |= {f"c99/{name}": content for name, content in _c_files(program, window).items()}
    contents |= {f"firmware/{name}": text.encode() for name, text in firmware.items()}
    if also_custom:
        custom = custom_application(program, manifest, golden, C_NAME, decision)
        contents |= {f"tflm_custom/{name}": content for name, content in custom.items()}
    return with_record(contents, MANIFEST, manifest)


def _usual_names() -> list[str]:
    """The files of every saved folder; a model may need more kernels."""
    c99 = [f"c99/{name}" for name in (f"{C_NAME}.h", f"{C_NAME}.c", C_RECORD)]
    firmware = [f"firmware/{name}" for name in FIRMWARE_FILES]
    return ["model.tflite", "golden.npz", *TFLM_FILES, *c99, *firmware, MANIFEST]


def _c_files(program: Program, window: int | None) -> dict[str, bytes]:
    files = {name: text.encode() for name, text in c_source(program, C_NAME, window).items()}
    return with_record(files, C_RECORD, {"name": program.name})
