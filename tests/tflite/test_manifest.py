import hashlib
import json

import pytest

from keras_s4.tflite import runtimes
from keras_s4.tflite.flatbuffer_reader import read_summary
from keras_s4.tflite.program import DiagonalStep, FullyConnected


def test_saved_folder_is_complete_and_consistent(converted, tmp_path):
    converted.save(tmp_path / "firmware")
    content = (tmp_path / "firmware" / "model.tflite").read_bytes()
    manifest = json.loads((tmp_path / "firmware" / "manifest.json").read_text())
    assert content == converted.tflite
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["tflite_bytes"] == len(content)
    assert manifest["operators"] == len(read_summary(content).operators) == sum(manifest["operator_counts"].values())


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
