"""Imported models compute what their sources did, and go on like models that were trained here.

The sources are written from the papers' equations in `checkpoints/make_pytorch.py` and compute in double precision.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_s4
from keras_s4 import importers
from keras_s4.importers.checkpoint import CheckpointError

CHECKPOINTS = Path(__file__).parent / "checkpoints"
PYTORCH = json.loads((CHECKPOINTS / "pytorch.json").read_text())
FLAX = json.loads((CHECKPOINTS / "flax.json").read_text())
STEPS = 40


def load(name, **options):
    return importers.load(
        CHECKPOINTS / name, check=CHECKPOINTS / f"{name}.npz", **{**(PYTORCH | FLAX)[name], **options}
    )


@pytest.fixture(scope="module")
def imported():
    return load("s4d_model_pre.ckpt", length=STEPS)


@pytest.mark.parametrize("name", sorted({*PYTORCH, *FLAX} - {"s4d_model_pre.ckpt", "annotated_orbax"}))
def test_outputs_are_those_of_the_source(name):
    assert load(name).input_shape[1] is None


def test_orbax_folders_are_read():
    pytest.importorskip("tensorstore")
    load("annotated_orbax")


def test_orbax_folders_ask_for_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(ModuleNotFoundError, match=r"keras-s4\[orbax\]"):
        load("annotated_orbax")


def test_an_imported_model_streams_reduces_and_is_saved(imported, tmp_path):
    x = np.load(CHECKPOINTS / "s4d_model_pre.ckpt.npz")["x"]
    y = keras.ops.convert_to_numpy(imported(x))
    stream = keras_s4.streaming.StreamingModel(imported)
    outputs, _ = stream.chunk(x, stream.initial_state(len(x)))
    np.testing.assert_allclose(np.asarray(outputs)[:, -1], y, atol=1e-6)
    whole = keras_s4.reduce(imported, {"s4_layers_0_dss": 4})
    np.testing.assert_allclose(keras.ops.convert_to_numpy(whole(x)), y, atol=1e-4)
    assert keras_s4.reduce(imported, {"s4_layers_0_dss": 2}).count_params() < imported.count_params()
    imported.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), y, atol=1e-6)


def test_an_imported_model_converts_and_verifies(imported):
    x = np.random.default_rng(0).normal(size=(16, STEPS, 3)).astype("float32")
    verification = keras_s4.tflite.convert(imported, x).verify(imported, x[:2])
    assert verification.bit_exact
    assert "good" in str(verification)


@pytest.mark.parametrize("name", ["annotated_s4d", "s5_model"])
def test_a_model_of_flax_converts_and_verifies(name):
    """Its outputs are logarithms there, of which a device has none."""
    model = importers.load(CHECKPOINTS / name, **FLAX[name], outputs="softmax", length=STEPS)
    x = np.random.default_rng(0).normal(size=(16, STEPS, 3)).astype("float32")
    verification = keras_s4.tflite.convert(model, x).verify(model, x[:2])
    assert verification.bit_exact
    assert verification.verdict == "good"
    np.testing.assert_allclose(verification.values["emulator"], verification.values["keras"], rtol=0, atol=0.05)


def test_shared_states_stream_reduce_and_are_saved(tmp_path):
    model = load("s5_model", length=STEPS)
    x = np.load(CHECKPOINTS / "s5_model.npz")["x"]
    y = keras.ops.convert_to_numpy(model(x))
    stream = keras_s4.streaming.StreamingModel(model)
    outputs, states = stream.chunk(x[:, :17], stream.initial_state(len(x)))
    outputs, _ = stream.chunk(x[:, 17:], states)
    np.testing.assert_allclose(np.asarray(outputs)[:, -1], y, atol=1e-5)
    parts = [name for name in keras_s4.compression.parts_of(model) if "seq" in name]
    assert len(parts) == 2
    small = keras_s4.reduce(model, dict.fromkeys(parts, 4))
    assert small.get_layer(parts[0]).state_size == 4
    found = keras_s4.compression.parts_of(model)[parts[0]]
    error = found.system - small.get_layer(parts[0]).system()
    assert error.hinf_norm() <= found.truncate(4).error_bound * (1 + 1e-4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), y, atol=1e-6)


def test_what_was_recognised_and_assumed_is_said(imported):
    said = str(imported.imported)
    assert "s4_layers.0: S4D of s4d.py, 3 channels of 4 modes" in said
    assert "Assumed: activation gelu, as in s4d.py" in said
    assert "Assumed: eps=1e-05" in said


def test_a_wrong_answer_is_found_by_the_check():
    with pytest.raises(CheckpointError, match="from those recorded"):
        load("s4d_model_post.pt", norm_order="pre")
    with pytest.raises(CheckpointError, match="from those recorded"):
        load("s4_v4.pt", activation="relu")


def test_layers_can_be_put_in_an_order_by_hand():
    """The same model as by its name."""
    order = "encoder [ s4_layers.0 ] norms.0 [ s4_layers.1 ] norms.1 mean decoder"
    load("s4d_model_post.pt", layers=order, norm_order=None, pooling=None)
