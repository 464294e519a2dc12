"""The saved firmware folder of a model as large as the demo's, on TensorFlow Lite Micro on the host.

Only the files are used, as a firmware project would: no Keras model, no integer program.
"""

import json

import keras
import numpy as np
import pytest

from keras_s4 import models, reduce
from keras_s4.tflite import convert, runtimes
from keras_s4.tflite.flatbuffer.reader import read_summary

TFLITE_BYTES, ARENA_BYTES = 32 * 1024, 24 * 1024


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = reduce(models.classifier((500, 6), classes=7, channels=32, states=32, blocks=2), 8)
    data = np.random.default_rng(0).normal(size=(8, 500, 6))
    return convert(model, data).save(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def manifest(firmware):
    return json.loads((firmware / "manifest.json").read_text())


def test_golden_vectors_come_out_bit_for_bit(firmware):
    golden = np.load(firmware / "golden.npz")
    content = (firmware / "model.tflite").read_bytes()
    outputs, states = runtimes.run_tflm(content, golden["inputs"], keep_states=True)
    np.testing.assert_array_equal(outputs, golden["outputs"])
    for index, state in enumerate(states):
        np.testing.assert_array_equal(state, golden[f"state_{index}"])


def test_file_and_arena_fit_their_budgets(firmware, manifest):
    assert (firmware / "model.tflite").stat().st_size == manifest["tflite_bytes"] <= TFLITE_BYTES
    assert manifest["arena_bytes"] <= ARENA_BYTES


def test_manifest_lists_what_a_resolver_must_register(firmware, manifest):
    summary = read_summary((firmware / "model.tflite").read_bytes())
    assert set(manifest["registrations"]) == set(summary.registrations)
    assert set(manifest["operator_counts"]) == set(summary.operators)
