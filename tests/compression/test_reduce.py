import keras
import numpy as np
import pytest

import keras_s4
from keras_s4.compression.parts import parts_of
from keras_s4.surgery.cloning import dss_layers


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(1).normal(size=(16, 40, 3)).astype("float32")


def test_full_rank_leaves_every_output_as_it_is(trained_classifier, windows):
    same = keras_s4.reduce(trained_classifier, 6)
    np.testing.assert_array_equal(np.asarray(same(windows)), np.asarray(trained_classifier(windows)))


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_reduced_layers_hold_the_balanced_truncation(trained_classifier, rank):
    reduced = keras_s4.reduce(trained_classifier, rank)
    for name, layer in dss_layers(reduced).items():
        expected = parts_of(trained_classifier)[name].truncate(rank).system.impulse_response(40)
        np.testing.assert_allclose(layer.system().impulse_response(40), expected, atol=1e-5 * np.abs(expected).max())
        assert layer.state_size == rank


def test_all_other_weights_are_copied(trained_classifier):
    reduced = keras_s4.reduce(trained_classifier, 2)
    for name in ("encoder", "head"):
        for old, new in zip(trained_classifier.get_layer(name).weights, reduced.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(old, new)
    old, new = trained_classifier.get_layer("block_2"), reduced.get_layer("block_2")
    for part in ("normalization", "value", "gate"):
        for before, after in zip(getattr(old, part).weights, getattr(new, part).weights, strict=True):
            np.testing.assert_array_equal(before, after)


def test_ranks_by_name_leave_the_other_parts_alone(trained_classifier):
    reduced = keras_s4.reduce(trained_classifier, {"block_1/dss": 2})
    assert {name: layer.state_size for name, layer in dss_layers(reduced).items()} == {
        "block_1/dss": 2,
        "block_2/dss": 6,
    }
    assert not dss_layers(reduced)["block_2/dss"].per_channel_poles


def test_reduced_model_trains_on_and_can_be_reduced_again(trained_classifier, windows):
    labels = np.arange(16) % 4
    reduced = keras_s4.reduce(trained_classifier, 3)
    reduced.run_eagerly = True  # three batches, which are not worth a compilation
    before = reduced.evaluate(windows, labels, verbose=0)[0]
    reduced.fit(windows, labels, epochs=3, verbose=0)
    assert reduced.evaluate(windows, labels, verbose=0)[0] < before
    again = keras_s4.reduce(reduced, 2)
    assert np.all(np.isfinite(np.asarray(again(windows))))


def test_reduced_model_is_saved_and_loaded(trained_classifier, windows, tmp_path):
    reduced = keras_s4.reduce(trained_classifier, 2)
    reduced.save(tmp_path / "reduced.keras")
    loaded = keras.saving.load_model(tmp_path / "reduced.keras")
    np.testing.assert_array_equal(np.asarray(loaded(windows)), np.asarray(reduced(windows)))


def test_nan_weights_are_refused_by_layer_and_weight(trained_classifier):
    broken = keras_s4.reduce(trained_classifier, 6)
    broken.get_layer("block_1").dss.residues.assign(np.full((8, 6, 2), np.nan))
    with pytest.raises(ValueError, match=r"'dss' holds 96 NaN or infinite numbers in residues"):
        keras_s4.reduce(broken, 2)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (0, "got rank 0; expected a whole number from 1 to 6"),
        (7, "got rank 7; expected a whole number from 1 to 6"),
        ({"block_1/dss": 2.0}, "got rank 2.0"),
        ({"block_9/dss": 2}, "No part is called block_9/dss; the parts are encoder/kernel, block_1/dss"),
        ({"block_1/value/kernel": 5}, "rank 5, at which its factors are no smaller.*1 to 3, or 8 to leave it whole"),
    ],
)
def test_ranks_out_of_range_are_refused(trained_classifier, ranks, message):
    with pytest.raises(ValueError, match=message):
        keras_s4.reduce(trained_classifier, ranks)


def test_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="not built"):
        keras_s4.reduce(keras.Sequential([keras_s4.layers.S4Block(4)]), 2)
