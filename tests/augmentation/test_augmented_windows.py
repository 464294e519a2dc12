"""Windows varied anew in every epoch: repeatable, none forgotten, and labels that follow what is done to them."""

import keras
import numpy as np
import pytest

from keras_s4 import models, training
from keras_s4.augmentation import (
    AugmentedWindows,
    ChannelDropout,
    Gain,
    Jitter,
    Mirror,
    Mix,
    Rotation,
    Shift,
    StreamWindows,
    Warp,
)
from keras_s4.datasets import Recordings, Sensor

LENGTH = 20


def clocks(*lengths, labels=None, features=1):
    """Recordings whose features count their steps, a thousand to a recording."""
    signals = [
        (1000.0 * number + np.arange(steps))[:, None].repeat(features, 1).astype(np.float32)
        for number, steps in enumerate(lengths)
    ]
    return Recordings(signals, np.arange(len(lengths)) if labels is None else labels, np.arange(len(lengths)))


def epoch(dataset):
    return [np.concatenate(parts) for parts in zip(*(dataset[index] for index in range(len(dataset))), strict=True)]


def test_an_epoch_has_every_window_once_near_its_place():
    x, y = epoch(AugmentedWindows(clocks(100, 53), LENGTH, 4, hop=10, seed=1))
    starts = np.sort(x[:, 0, 0])
    places = np.array([*range(0, 81, 10), *range(1000, 1031, 10)])
    assert len(starts) == len(places)
    assert np.all(np.abs(starts - places) <= 5)
    assert np.any(starts != places)
    np.testing.assert_array_equal(x[:, :, 0], x[:, :1, 0] + np.arange(LENGTH))
    np.testing.assert_array_equal(y, x[:, 0, 0] >= 1000)
    assert x.dtype == np.float32


def test_equal_seeds_and_epochs_give_equal_windows_in_any_order_of_reading():
    transforms = [Warp(1.2), Jitter(), Gain(), ChannelDropout(), Mix()]
    a, b = (AugmentedWindows(clocks(90, 70), LENGTH, 4, seed=3, transforms=transforms) for _ in range(2))
    for first, second in zip(a[2], [a[index] for index in (0, 1, 2)][2], strict=True):
        np.testing.assert_array_equal(first, second)
    a.on_epoch_end()
    assert np.any(a[0][0] != b[0][0])
    b.epoch = 1
    np.testing.assert_array_equal(a[1][0], b[1][0])
    other = AugmentedWindows(clocks(90, 70), LENGTH, 4, seed=4, transforms=transforms)
    other.epoch = 1
    assert np.any(a[0][0] != other[0][0])


def test_labels_of_steps_are_read_where_the_window_is_read():
    """The label of a step is the tens of its clock; a warped window has those of the places it was read at."""
    data = clocks(200, labels=[(np.arange(200) // 10).astype(int)])
    x, y = epoch(AugmentedWindows(data, LENGTH, 4, hop=5, transforms=[Warp(1.5)], every_step=True))
    np.testing.assert_array_equal(y, np.rint(x[:, :, 0]).astype(int) // 10)
    x, y = epoch(AugmentedWindows(data, LENGTH, 4, hop=5, transforms=[Warp(1.5)]))
    np.testing.assert_array_equal(y, np.rint(x[:, -1, 0]).astype(int) // 10)


def test_quantities_of_steps_are_interpolated():
    data = clocks(200, labels=[np.stack([np.arange(200.0), -2 * np.arange(200.0)], 1)])
    warp = Warp(1.5, keeps_targets=True)
    x, y = epoch(AugmentedWindows(data, LENGTH, 4, transforms=[warp], every_step=True))
    np.testing.assert_allclose(y, x * [1.0, -2.0], rtol=1e-4, atol=1e-3)
    x, y = epoch(AugmentedWindows(data, LENGTH, 4, transforms=[warp]))
    np.testing.assert_allclose(y, x[:, -1] * [1.0, -2.0], rtol=1e-4, atol=1e-3)


def test_windows_end_where_a_label_is_known():
    labels = np.full(300, -1)
    labels[100:110] = 1
    data = clocks(300, labels=[labels])
    _, y = epoch(AugmentedWindows(data, LENGTH, 4, hop=5, transforms=[Warp(1.1)]))
    assert set(y) == {1}
    _, y = epoch(AugmentedWindows(data, LENGTH, 4, hop=5, every_step=True))
    assert set(y.ravel()) == {-1, 1}
    with pytest.raises(ValueError, match="ends where a label is known"):
        AugmentedWindows(clocks(300, labels=[np.full(300, -1)]), LENGTH)


def test_forecasts_are_what_follows_in_the_varied_signal():
    dataset = AugmentedWindows(clocks(200), LENGTH, 4, horizon=3, transforms=[Warp(1.3), Gain(1.5), Jitter(0.01)])
    x, y = epoch(dataset)
    assert y.shape == (len(x), 3, 1)
    # The signal is a ramp through 0, whatever its speed and gain: what follows lies on the same line.
    slope = np.diff(x[:, -6:, 0], axis=1).mean(axis=1)
    np.testing.assert_allclose(y[:, 0, 0], x[:, -1, 0] + slope, atol=4.0)
    assert np.all(np.diff(y[:, :, 0], axis=1) > 0)
    plain = AugmentedWindows(clocks(200), LENGTH, 4, horizon=3)
    x, y = epoch(plain)
    np.testing.assert_array_equal(y[:, :, 0], x[:, -1:, 0] + [1, 2, 3])
    x, y = epoch(AugmentedWindows(clocks(200), LENGTH, 4, horizon=3, every_step=True))
    np.testing.assert_array_equal(y[..., 0], x + np.array([1, 2, 3]))


def test_noise_is_for_inputs_and_not_for_forecasts():
    constant = Recordings(
        [np.ones((100, 2), np.float32) * [1, 0], np.zeros((100, 2), np.float32)], np.zeros(2, int), [0, 1]
    )
    x, y = epoch(AugmentedWindows(constant, LENGTH, 4, horizon=2, transforms=[Jitter(0.5)]))
    assert np.std(x[..., 0] - np.rint(x[..., 0])) > 0.1
    assert set(np.unique(y)) <= {0.0, 1.0}


def test_mixed_windows_have_mixed_labels():
    signals = [np.full((60, 1), value, np.float32) for value in (0.0, 1.0)]
    data = Recordings(signals, np.array([0, 2]), np.arange(2))
    x, y = epoch(AugmentedWindows(data, LENGTH, 12, hop=1, transforms=[Mix(1.0)], classes=4))
    assert y.shape == (len(x), 4)
    np.testing.assert_allclose(y[:, 2], x[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=1e-5)
    assert np.any((y[:, 2] > 0.1) & (y[:, 2] < 0.9))
    several = Recordings(signals, np.array([[1, 0], [1, 1]]), np.arange(2))
    x, y = epoch(AugmentedWindows(several, LENGTH, 12, hop=1, transforms=[Mix(1.0)]))
    np.testing.assert_allclose(y, np.stack([np.ones(len(x)), x[:, 0, 0]], 1), rtol=1e-5)
    measured = Recordings(signals, np.array([5.0, 7.0]), np.arange(2))
    x, y = epoch(AugmentedWindows(measured, LENGTH, 12, hop=1, transforms=[Mix(1.0)]))
    np.testing.assert_allclose(y, 5.0 + 2.0 * x[:, 0, 0], rtol=1e-5)


def test_a_mixture_with_something_unknown_is_unknown():
    labels = [np.zeros(60, int), np.repeat([-1, 1], 30)]
    signals = [np.zeros((60, 1), np.float32), np.repeat([[5.0], [1.0]], 30, axis=0).astype(np.float32)]
    dataset = AugmentedWindows(
        Recordings(signals, labels, np.arange(2)), LENGTH, 12, hop=1, transforms=[Mix(1.0)], every_step=True
    )
    x, y = epoch(dataset)
    unknown = (y == -1).all(axis=-1)
    assert 0.1 < unknown.mean() < 0.9
    np.testing.assert_allclose(y.sum(axis=-1)[~unknown], 1.0, rtol=1e-5)
    np.testing.assert_allclose(y[..., 1][~unknown], x[..., 0][~unknown], atol=1e-5)


def test_shifted_windows_reach_beyond_the_recording():
    data = clocks(LENGTH, LENGTH, labels=[np.full(LENGTH, 1), np.full(LENGTH, 2)])
    dataset = AugmentedWindows(data, LENGTH, 2, hop=LENGTH, transforms=[Shift(0.25)], every_step=True)
    seen = set()
    for number in range(60):
        dataset.epoch = number
        x, y = epoch(dataset)
        clock = x[..., 0] % 1000
        first = np.argmax(y >= 0, axis=1)
        for row, label in zip(clock, y, strict=True):
            known = label >= 0
            np.testing.assert_array_equal(np.diff(row[known]), 1.0)
            assert np.all(np.isin(row[~known], (0, LENGTH - 1)))
        seen |= set(first)
    assert seen == set(range(6))


@pytest.mark.parametrize("buckets", [1, 3])
def test_recordings_of_mixed_lengths_are_windows_of_their_own(buckets):
    lengths = (5, 8, 30, 50, 12, 1, 20)
    dataset = AugmentedWindows(clocks(*lengths), 30, 2, hop=30, mask_value=-1.0, buckets=buckets)
    found = {}
    for index in range(len(dataset)):
        x, y = dataset[index]
        assert x.shape[1] <= 30
        for row, label in zip(x[..., 0], y, strict=True):
            real = row != -1.0
            assert np.all(np.diff(real.astype(int)) <= 0), "padded behind its end"
            found[label] = real.sum()
            np.testing.assert_array_equal(np.diff(row[real]), 1.0)
    assert found == {label: min(steps, 30) for label, steps in enumerate(lengths)}
    longest = max(dataset[index][0].shape[1] for index in range(len(dataset)))
    shortest = min(dataset[index][0].shape[1] for index in range(len(dataset)))
    assert longest == 30
    assert (shortest < 30) == (buckets > 1)


def test_a_warped_recording_of_its_own_length_becomes_longer_or_shorter():
    dataset = AugmentedWindows(clocks(*[15] * 30), 30, 30, mask_value=-1.0, transforms=[Warp(1.5)])
    x, _ = dataset[0]
    real = (x[..., 0] != -1.0).sum(axis=1)
    assert real.min() < 13 < 17 < real.max()
    last = np.take_along_axis(x[..., 0], real[:, None] - 1, axis=1)[:, 0]
    np.testing.assert_allclose(last % 1000, 14.0, rtol=1e-4)  # played to its end, however fast


def test_classes_weigh_what_they_are_told():
    data = clocks(60, 60, 60)
    for weights in ([1.0, 2.0, 0.5], {0: 1.0, 1: 2.0, 2: 0.5}):
        _, y, w = epoch(AugmentedWindows(data, LENGTH, 4, class_weights=weights))
        np.testing.assert_array_equal(w, np.array([1.0, 2.0, 0.5])[y])
    labels = [np.repeat([-1, 0, 1], 20)] * 3
    dataset = AugmentedWindows(clocks(60, 60, 60, labels=labels), LENGTH, 4, every_step=True, class_weights=[1.0, 3.0])
    _, y, w = epoch(dataset)
    np.testing.assert_array_equal(w, np.array([1.0, 3.0, 0.0])[y])


def test_every_batch_of_padded_quantities_has_weights():
    """A batch without padding too, since Keras fixes the structure of a batch once for all."""
    lengths = (30, 30, 12, 30, 7, 30, 30, 30)
    labels = [np.arange(steps) / 10.0 for steps in lengths]
    dataset = AugmentedWindows(clocks(*lengths, labels=labels), 30, 2, hop=30, mask_value=-1.0, every_step=True)
    batches = [dataset[index] for index in range(len(dataset))]
    assert any((x != -1.0).all() for x, *_ in batches)
    for x, y, weights in batches:
        np.testing.assert_array_equal(weights, x[..., 0] != -1.0)
        np.testing.assert_allclose(y, np.where(weights, x[..., 0] % 1000 / 10.0, 0.0), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, bool])
@pytest.mark.parametrize("labels", ["recordings", "steps", "rows"])
def test_unsigned_labels_are_those_that_are_signed(dtype, labels):
    lengths = (60, 13, 60)
    values = {
        "recordings": np.array([0, 1, 1]),
        "steps": [np.arange(steps) // 7 % 2 for steps in lengths],
        "rows": np.array([[0, 1], [1, 1], [1, 0]]),
    }[labels]
    unsigned = [each.astype(dtype) for each in values] if labels == "steps" else values.astype(dtype)
    weights = None if labels == "rows" else [1.0, 3.0]
    for arguments in (
        {"every_step": True, "mask_value": -1.0},
        {"every_step": True, "transforms": [Shift(0.5), Mix()]},
        {"transforms": [Mix()]},
        {},
    ):
        arguments |= {"batch_size": 3, "class_weights": weights}
        pair = [AugmentedWindows(clocks(*lengths, labels=each), LENGTH, **arguments) for each in (values, unsigned)]
        for signed, found in zip(*map(epoch, pair), strict=True):
            np.testing.assert_array_equal(found, signed)
    pair = [StreamWindows(clocks(*lengths, labels=each), LENGTH, warm_up=3) for each in (values, unsigned)]
    for signed, found in zip(*map(epoch, pair), strict=True):
        np.testing.assert_array_equal(found, signed)


def test_transforms_are_done_in_their_order():
    """Noise behind a mixture is not mixed: its deviation stays whole."""
    data = Recordings([np.zeros((4000, 1), np.float32), np.ones((4000, 1), np.float32)], np.arange(2), np.arange(2))
    for transforms, deviation in (([Mix(9.0), Jitter(1.0)], 0.5), ([Jitter(1.0), Mix(9.0)], 0.36)):
        x, _ = epoch(AugmentedWindows(data, 400, 64, transforms=transforms))
        assert x.std(axis=1).mean() == pytest.approx(deviation, rel=0.1)


def test_rotation_and_mirror_know_the_vectors_of_sensors():
    random = np.random.default_rng(0)
    data = Recordings([random.normal(size=(100, 4)).astype(np.float32)], np.array([0]), np.array([0]))
    sensors = [Sensor("pressure", ("",)), Sensor("field", ("x", "y", "z"), vector="axial")]
    transforms = [Mirror("x", 1.0)]
    dataset, plain = (AugmentedWindows(data, LENGTH, 8, transforms=t, sensors=sensors) for t in (transforms, []))
    np.testing.assert_array_equal(dataset[0][0], plain[0][0] * np.float32([1, 1, -1, -1]))
    with pytest.raises(ValueError, match="no sensor whose three axes are a vector"):
        AugmentedWindows(data, LENGTH, transforms=[Rotation()])
    with pytest.raises(ValueError, match="sensors of 1 axes and recordings of 4"):
        AugmentedWindows(data, LENGTH, sensors=sensors[:1])


@pytest.mark.parametrize("transform", [Warp(), Gain(), Rotation(), Mirror()])
def test_what_may_change_quantities_is_refused_for_them(transform):
    data = clocks(60, labels=np.array([1.5]), features=3)
    sensor = [Sensor("a", ("x", "y", "z"), vector="polar")]
    with pytest.raises(ValueError, match="keeps_targets=True"):
        AugmentedWindows(data, LENGTH, transforms=[transform], sensors=sensor)
    allowed = type(transform)(keeps_targets=True)
    assert len(AugmentedWindows(data, LENGTH, transforms=[allowed, Jitter()], sensors=sensor))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"length": 0}, ValueError, "length=0"),
        ({"length": 500}, ValueError, "No recording holds a window of 500 steps; the longest has 60"),
        ({"hop": 0}, ValueError, "hop=0"),
        ({"transforms": ["jitter"]}, TypeError, "'jitter' among its transforms"),
        ({"transforms": [Warp(), Warp()]}, ValueError, "2 transforms Warp"),
        ({"transforms": [Mix()], "mask_value": -1.0}, ValueError, "unlike lengths cannot be mixed"),
        ({"mask_value": 5.0}, ValueError, "mask_value=5.0, which 1 steps"),
        ({"buckets": 2}, ValueError, "buckets=2 and no mask_value"),
        ({"horizon": 2, "transforms": [Shift()]}, ValueError, "horizon=2 and Shift"),
        ({"classes": 1}, ValueError, "classes=1 and label 1"),
        ({"class_weights": [1.0]}, ValueError, "for 2 classes"),
        ({"class_weights": {0: 1.0}}, ValueError, "for 2 classes"),
        ({"class_weights": [1.0, -1.0]}, ValueError, "for 2 classes"),
        ({"recordings": np.zeros((3, 4))}, TypeError, "expected keras_s4.datasets.Recordings"),
    ],
)
def test_refused_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        AugmentedWindows(**{"recordings": clocks(60, 60), "length": LENGTH, **arguments})


def test_a_classifier_of_every_step_learns_from_mixed_windows():
    """A level takes turns in noise; half of the steps have no label."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    signals, labels = [], []
    for _ in range(8):
        classes = np.repeat(random.integers(0, 2, 12), 20)
        level = np.where(classes == 1, 1.0, -1.0)[:, None] * [1.0, -1.0]
        signals.append((level + 0.3 * random.normal(size=level.shape)).astype(np.float32))
        labels.append(np.where(random.random(240) < 0.5, classes, -1))
    data = Recordings(signals, labels, np.arange(8))
    model = models.sequence_to_sequence((60, 2), 2, 8, 4, 1, dropout=0.0, output_activation="softmax")
    windows = AugmentedWindows(data, 60, 8, hop=20, transforms=[Gain(1.1), Mix(0.1)], every_step=True)
    training.fit_windows(model, windows, epochs=10, learning_rate=1e-2, jit_compile=False)
    x, y = epoch(AugmentedWindows(data, 60, 8, every_step=True))
    assert np.mean((np.argmax(model(x), axis=-1) == y)[y >= 0]) > 0.8
