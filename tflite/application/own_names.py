"""Names of an application's own, so that one firmware may have several: C has no namespaces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from keras_s4.tflite.application.ends import End
from keras_s4.tflite.c99.names import camel_case, check_file_stem, file_stem

# What the C files of a folder without a name of its own are called.
USUAL = "model"
# Files that each application has; in texts they end in one of these.
_FILES = re.compile(
    r"\b(application|board|board_host|decisions|golden|model_data|sample_ring|sensor_scale|sensors)"
    r"\.(c|h|cc|o)\b"
)
_IDENTIFIERS = """
    application_start application_poll board_start board_wait board_use board_overrun board_refused
    decision_result decision_state decision_reset decision_step golden_first golden_samples golden_results
    golden_decided golden_scores golden_decisions ring_content sample_ring sample_ring_reset sample_ring_put
    sample_ring_gap sample_ring_take sample_ring_lost sensor_gap sensor_sample sensor_sample_ready sensor_scale
    sensor_to_model
"""
_OURS = re.compile(
    rf"\b({'|'.join(_IDENTIFIERS.split())}|board_\w+_scale|WINDOW_SAMPLES|SAMPLES_PER_STEP"
    r"|(?:APPLICATION|BOARD|DECISIONS?|GOLDEN|RING|SAMPLE_RING|SENSOR)_\w+)\b"
)
# Words that have their place in a name already, and what comes instead of them.
_REPLACED = {
    "keras_s4_model.h": "{name}_model.h",
    "keras_s4_model.cc": "{name}_model.cc",
    "keras_s4_model.o": "{name}_model.o",
    "model.tflite": "{name}.tflite",
    "keras_s4_model": "{name}",
    "model_results": "{name}_results",
    "model_inputs": "{name}_inputs",
    "KERAS_S4_ARENA_BYTES": "{NAME}_ARENA_BYTES",
    "KERAS_S4_MODEL_H_": "{NAME}_MODEL_H_",
    "KERAS_S4_MODEL_DATA_H_": "{NAME}_MODEL_DATA_H_",
    "KERAS_S4_GOLDEN_H_": "{NAME}_TFLM_GOLDEN_H_",
}
_WORDS = re.compile(rf"\b({'|'.join(map(re.escape, _REPLACED))})\b")
# Namespaces and functions of C++ and of systems, which a namespace cannot be called.
_NAMESPACES = """
    std tflite abs accept arduino bind clock close connect dup exit free gamma index kill link listen main malloc micro
    open pipe printf puts random read recv remove rename select send signal sleep stat time write
"""
_TAKEN = frozenset(_NAMESPACES.split())
# What the namespace of a model holds besides its class.
_IN_NAMESPACE = """
    Inputs Outputs States ArenaBytes ArenaUsedBytes LeastArenaBytes AddOperators Check Compare CompareDecisions End Fail
    Fits KeptOf Prepare Resolver Saturate Start
"""


def class_name(name: str | None) -> str:
    """The class of a model on TensorFlow Lite Micro: `WakeWord` for "wake_word", and without a name `Model`."""
    if name in (None, USUAL):
        return "Model"
    # Its namespace is called as the name itself.
    return f"{name}Model" if camel_case(name) == name else camel_case(name)


def check_name(name: str, ends: Iterable[End] = ()) -> None:
    """Refuse a name that files, functions, macros, namespace and class of a model cannot have.

    Args:
        name: the name.
        ends: inputs and outputs of the model.

    Raises:
        ValueError: it is no identifier of C, or taken.
    """
    check_file_stem(name)
    functions = [f"{verb}{end.camel}" for end in ends for verb in ("Quantize", "Dequantize", "Probabilities")]
    if name.lower() in _TAKEN or class_name(name) in (*_IN_NAMESPACE.split(), *functions):
        raise ValueError(
            f"Received name={name!r}, which C++, a system, or the class of the model has already; choose another, such "
            f"as {file_stem(f'my_{name}')!r}."
        )


def own_name(text: str, name: str) -> str:
    """A text of the application with the names of its files, functions, types and macros its own.

    Args:
        text: C, C++, a Makefile, or what explains them.
        name: comes in front: `wake_board_start` for `board_start`, `WAKE_GOLDEN_H` for `GOLDEN_H`.
    """

    def replaced(match: re.Match) -> str:
        return _REPLACED[match[0]].format(name=name, NAME=name.upper())

    def prefixed(match: re.Match) -> str:
        return f"{name.upper() if match[0].isupper() else name}_{match[0]}"

    text = _WORDS.sub(replaced, text)
    text = _FILES.sub(lambda match: f"{name}_{match[0]}", text)
    return _OURS.sub(prefixed, text)


def own_names(files: Mapping[str, str], name: str | None) -> dict[str, str]:
    """The texts of an application by the names of their files, both its own; as they are where it has no name.

    Args:
        files: texts by name, in folders or not.
        name: what comes in front; None and "model" are none.
    """
    if name in (None, USUAL):
        return dict(files)
    return {_own_path(path, name): own_name(text, name) for path, text in files.items()}


def _own_path(path: str, name: str) -> str:
    file = PurePosixPath(path)
    return str(file.with_name(own_name(file.name, name)))
