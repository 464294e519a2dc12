import dataclasses
import errno
import hashlib
import json
import os

import numpy as np
import pytest

from keras_s4.testing.programs import single
from keras_s4.tflite import runtimes
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.program.operations import DiagonalStep, FullyConnected


@pytest.fixture(scope="module")
def folder(converted, tmp_path_factory):
    return converted.save(tmp_path_factory.mktemp("saved") / "new" / "firmware")


@pytest.fixture(scope="module")
def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_saved_folder_is_complete_and_consistent(converted, folder, manifest):
    content = (folder / "model.tflite").read_bytes()
    assert content == converted.tflite
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["tflite_bytes"] == len(content)
    operators = read_summary(content).operators
    assert manifest["operators"] == len(operators) == sum(manifest["operator_counts"].values())
    assert set(manifest["registrations"]) == {OPERATORS[name].registration for name in manifest["operator_counts"]}
    assert manifest["window_length"] == 60
    assert manifest["averages_over_windows"]["reset_after"] == 60
    assert manifest["output_activations"] == ["softmax"]


def test_the_header_says_when_outputs_of_a_window_count(converted, folder, tmp_path):
    """And none does where nothing is averaged over windows."""
    assert "#define MODEL_WINDOW 60\n" in (folder / "c99" / "model.h").read_text()
    assert "#define WORD_WINDOW 60\n" in converted.c_source("word")["word.h"]
    assert "#define MODEL_WINDOW 60\n" in (converted.save_c(tmp_path / "c99") / "model.h").read_text()
    endless = dataclasses.replace(converted, program=single("diagonal_step", lowered=True))
    assert "WINDOW" not in endless.c_source("word")["word.h"]


def test_manifest_has_the_hash_of_every_other_file(folder, manifest):
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    contents = {name: path.read_bytes() for name, path in files.items() if name != "manifest.json"}
    hashes = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in contents.items()}
    assert manifest["files"] == hashes


def test_tensors_are_those_of_the_file(converted, manifest):
    summary = read_summary(converted.tflite)
    ends = [summary.tensors[index] for index in (*summary.inputs, *summary.outputs)]
    listed = [*manifest["inputs"], *manifest["states"], *manifest["outputs"], *manifest["states"]]
    assert [(tensor["type"], tensor["bytes"]) for tensor in listed] == [(tensor.type, tensor.bytes) for tensor in ends]
    scaled = [(t, end) for t, end in zip(listed, ends, strict=True) if end.scales]
    assert len(scaled) == len(manifest["inputs"]) + len(manifest["outputs"])
    for tensor, end in scaled:
        assert (np.float32(tensor["scale"]), tensor["zero_point"]) == (np.float32(end.scales[0]), end.zero_points[0])
    assert manifest["state_bytes"] == sum(state["bytes"] for state in manifest["states"])


def test_recommended_arena_adds_a_margin_and_is_aligned(converted, manifest):
    arena, recommended = manifest["arena_bytes"], manifest["recommended_arena"]
    assert recommended["bytes"] == arena + recommended["margin_bytes"]
    assert recommended["bytes"] % 16 == 0
    int8_outputs = sum(
        operation.output.shape[0]
        for operation in converted.program.operations
        if isinstance(operation, FullyConnected) and operation.input.type == "int8"
    )
    ends = 2 + 2 * len(converted.program.states)
    assert 0 <= recommended["margin_bytes"] - 4 * int8_outputs - 64 * ends < 16
    runtimes.TflmRunner(converted.tflite, recommended["bytes"])


def test_arena_is_enough_and_a_little_less_is_not(converted):
    arena = converted.manifest["arena_bytes"]
    runtimes.TflmRunner(converted.tflite, arena)
    with pytest.raises(ValueError, match="refused the file with an arena"):
        runtimes.TflmRunner(converted.tflite, arena - 64)


def test_multiply_accumulates_count_every_weight_once(converted):
    channels, modes = 8, 3
    dense = sum(op.weights.data.size for op in converted.program.operations if isinstance(op, FullyConnected))
    assert dense == 3 * channels + 2 * 2 * channels**2 + channels * 4
    steps = [op for op in converted.program.operations if isinstance(op, DiagonalStep)]
    states = len(steps) * (8 * modes + 1) * channels
    normalisation_and_gates = 2 * (channels + channels)
    assert converted.manifest["multiply_accumulates_per_step"] == dense + states + normalisation_and_gates


def test_unwritable_folder_leaves_nothing_behind(converted, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="Choose a folder that you can write to"):
        converted.save(tmp_path / "taken" / "firmware")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_full_disk_leaves_nothing_behind(converted, tmp_path, monkeypatch):
    written = []

    def fail_at_the_fifth_file(descriptor):
        written.append(descriptor)
        if len(written) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail_at_the_fifth_file)
    with pytest.raises(OSError, match="No space left on device"):
        converted.save(tmp_path / "firmware")
    assert list((tmp_path / "firmware").iterdir()) == []
