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
from keras_s4.tflite.application.own_names import USUAL, class_name, own_names
from keras_s4.tflite.application.projects import Export, check_project, project_files
from keras_s4.tflite.application.projects.names import project_name
from keras_s4.tflite.application.sensors import SensorInput, facts_of_sensors
from keras_s4.tflite.application.tflm import FILES as TFLM_FILES
from keras_s4.tflite.application.tflm import render_tflm
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.files import kernel_files
from keras_s4.tflite.flatbuffer import DssForm, check_dss_form
from keras_s4.tflite.program.program import Program

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
    name: str | None = None,
    project: str | None = None,
    recordings: Any = None,
) -> Path:
    """Writes the model, its manifest, its C source, golden vectors and two applications, whole or not at all.

    The same model gives the same bytes. With `dss="custom"` there is a third application in `tflm_custom/`; with a
    decision all applications make it; with sensors the main loop takes their integers. With a name what one firmware
    could not have twice is called by it. With a kind of project the folder is such a project instead, and recordings
    are what it replays.

    Raises:
        ValueError: another kind of project; the folder has files of these names that no save has written there, or
            that were changed since.
        OSError: the folder cannot be written; nothing half-written remains.
        NotImplementedError: the program has an operation in a form that C leaves out, such as a DSS
            layer of more modes than 32 bits add up.
    """
    contents = folder_contents(program, tflite, manifest, dss, decision, sensors, name, project, recordings)
    return save_folder(folder, contents)


def save_c(program: Program, folder: Path, window: int | None = None, name: str | None = None) -> Path:
    """Writes the C source alone, whole or not at all; of a program that averages over windows of so many samples.

    Raises:
        ValueError, OSError, NotImplementedError: see `save`.
    """
    return save_folder(folder, _c_files(c_source(program, name or USUAL, window), program))


def check_folder(folder: Path, name: str | None = None, project: str | None = None) -> None:
    """Refuses a folder whose files `save` must not replace, before there is anything to save.

    Raises:
        ValueError: see `save`.
    """
    check_before(folder, _usual_names(name) if project is None else ["README.md", MANIFEST], MANIFEST)


def check_c_folder(folder: Path, name: str | None = None) -> None:
    """The same for `save_c`.

    Raises:
        ValueError: see `save`.
    """
    names = [path.removeprefix("c99/") for path in _usual_names(name) if path.startswith("c99/")]
    check_before(folder, names, C_RECORD)


def folder_contents(
    program: Program,
    tflite: bytes,
    manifest: Mapping[str, Any],
    dss: DssForm = "operators",
    decision: ProgramDecision | None = None,
    sensors: Sequence[SensorInput] | None = None,
    name: str | None = None,
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
        export = Export(program, manifest, golden, name or project_name(program.name), decision, sensors, recordings)
        return with_record(project_files(project, export), MANIFEST, {**manifest, "project": project})
    c_name, also_custom = name or USUAL, dss == "custom"
    window = windows_of(program, manifest["window_length"]) or None
    sources = c_source(program, c_name, window)
    kernels = sorted(file for file in sources if file in kernel_files() and file.endswith(".c"))
    tflm = render_tflm(
        program,
        manifest,
        tflite,
        golden,
        c_name,
        also_custom=also_custom,
        decision=decision,
        class_name=class_name(name),
    )
    firmware = render_firmware(program, manifest, golden, c_name, decision, sensors, kernels)
    texts = own_names(tflm | {f"firmware/{file}": text for file, text in firmware.items()}, name)
    contents = {f"{c_name}.tflite": tflite, "golden.npz": golden.npz()}
    contents |= {file: text.encode() for file, text in texts.items()}
    contents |= {f"c99/{file}": content for file, content in _c_files(sources, program).items()}
    if also_custom:
        custom = custom_application(program, manifest, golden, name, decision)
        contents |= {f"tflm_custom/{file}": content for file, content in custom.items()}
    return with_record(contents, MANIFEST, manifest)


def _usual_names(name: str | None) -> list[str]:
    """The files of every saved folder."""
    c_name = name or USUAL
    c99 = [f"c99/{file}" for file in (f"{c_name}.h", f"{c_name}.c", *kernel_files(), C_RECORD)]
    application = own_names(dict.fromkeys([*TFLM_FILES, *(f"firmware/{file}" for file in FIRMWARE_FILES)], ""), name)
    return [f"{c_name}.tflite", "golden.npz", *application, *c99, MANIFEST]


def _c_files(sources: Mapping[str, str], program: Program) -> dict[str, bytes]:
    """The C of a program with all kernels: what another model calls as well is the same in every folder."""
    files = {file: text.encode() for file, text in (dict(sources) | kernel_files()).items()}
    return with_record(files, C_RECORD, {"name": program.name})
