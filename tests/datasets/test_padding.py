"""Mixed lengths: padding that a model does not see."""

import keras
import numpy as np
import pytest

from keras_s4 import models
from keras_s4.datasets import Live, Recordings, Sensor, Splits, Task
from keras_s4.datasets.padding import PADDING, pad_recordings
from keras_s4.recordings import UNLABELLED

LENGTHS = (3, 10, 6, 25)


def recordings(seed=0, steps=False):
    random = np.random.default_rng(seed)
    signals = [random.normal(size=(length, 2)).astype(np.float32) for length in LENGTHS]
    labels = [np.arange(length) for length in LENGTHS] if steps else np.array([0, 1, 1, 0])
    return Recordings(signals, labels, np.arange(4) + 10 * seed)


def make_task(**changes):
    facts = {"name": "mixed", "title": "", "purpose": "", "read": lambda: Splits(*map(recordings, range(3)))}
    facts |= {"length": 10, "hop": 10, "sensors": (Sensor("x", ("a", "b")),), "classes": ("one", "other")}
    return Task(**facts | {"mixed_lengths": True, "rate": 5.0} | changes)


def test_short_recordings_are_padded_behind_and_long_ones_cut():
    original = recordings()
    padded = pad_recordings(original, 10, 10)
    wanted = [(0, 0, 3), (1, 0, 10), (2, 0, 6), (3, 0, 10), (3, 10, 20)]
    assert len(padded) == len(wanted)
    for signal, label, (index, start, end) in zip(padded.signals, padded.labels, wanted, strict=True):
        np.testing.assert_array_equal(signal[: end - start], original.signals[index][start:end])
        assert (signal[end - start :] == PADDING).all() and len(signal) == 10
        assert label == original.labels[index]


def test_the_label_is_that_of_the_last_real_step():
    assert pad_recordings(recordings(steps=True), 10, 10).labels.tolist() == [2, 9, 5, 9, 19]


def test_windows_that_end_without_a_label_are_left_out():
    some = recordings(steps=True)
    some.labels[0][-1] = some.labels[3][9] = UNLABELLED
    padded = pad_recordings(some, 10, 10)
    assert padded.labels.tolist() == [9, 5, 19] and len(padded.signals) == 3
    for labels in some.labels:
        labels[:] = UNLABELLED
    with pytest.raises(ValueError, match="None of the 5 windows of 10 steps ends where a label is known"):
        pad_recordings(some, 10, 10)


def test_windows_and_batches_have_all_recordings():
    task = make_task()
    x, y = task.windows("train")
    assert x.shape == (5, 10, 2) and y.tolist() == [0, 1, 1, 0, 0]
    found = task.batches(batch_size=5, seed=0)[0]
    assert sorted(found[1].tolist()) == [0, 0, 0, 1, 1] and found[0].shape == x.shape


def test_a_model_gives_what_it_gives_for_the_recordings_alone():
    """Against the same weights without a mask, on each recording at its own length."""
    task = make_task()
    keras.utils.set_random_seed(0)
    masked = models.classifier(task.input_shape, 2, 4, 4, mask_value=task.mask_value)
    free = models.classifier((None, 2), 2, 4, 4)
    free.set_weights(masked.get_weights())
    found = masked.predict(task.windows("test")[0], verbose=0)
    for row, signal in zip(found[:3], task.splits.test.signals[:3], strict=True):
        np.testing.assert_allclose(row, np.asarray(free(signal[None]))[0], atol=1e-5)


def test_steps_that_mean_padding_are_refused():
    spoilt = recordings(0)
    spoilt.signals[1][4] = PADDING
    with pytest.raises(ValueError, match=r"train recordings, have steps of -1e\+06 in all features"):
        _ = make_task(read=lambda: Splits(spoilt, recordings(1), recordings(2))).splits


@pytest.mark.parametrize("changes", [{"horizon": 1, "classes": ()}, {"every_step": True}, {"live": Live()}])
def test_what_has_no_use_for_padding(changes):
    with pytest.raises(ValueError, match="mixed_lengths=True with forecasts, outputs at every step or live"):
        make_task(**changes)


def test_without_mixed_lengths_windows_must_fit():
    assert make_task(mixed_lengths=False).mask_value is None
    with pytest.raises(ValueError, match="No recording holds a window of 30 steps"):
        _ = make_task(mixed_lengths=False, length=30).splits
    assert len(make_task(length=30).windows("train")[0]) == 4
