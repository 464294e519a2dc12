"""Random windows: repeatable, and only what the person or the wrist could have done to the signal."""

import numpy as np
import pytest

from keras_s4.augmentation import MIRROR, RandomWindows, random_rotations
from keras_s4.datasets import Recordings

ACCELERATION, TURN = np.array([0.3, -0.5, 0.8]), np.array([1.0, 2.0, -0.5])
LENGTH = 40


def recordings(count=3, steps=200, seed=0):
    random = np.random.default_rng(seed)
    signals = [random.normal(size=(steps + index, 6)).astype(np.float32) for index in range(count)]
    return Recordings(signals, np.arange(count) + 10, np.arange(count))


def constant():
    """One recording that stays at the same acceleration and turn."""
    signal = np.tile(np.concatenate([ACCELERATION, TURN]), (200, 1)).astype(np.float32)
    return Recordings([signal], np.array([0]), np.array([0]))


def plain(data, **arguments):
    """Without any variation but those asked for; mirroring and the place are always random."""
    return RandomWindows(data, **{"length": LENGTH, "rotation": 0.0, "warp": 1.0, "gain": 1.0, **arguments})


def batches(dataset):
    x, y = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    return np.concatenate(x), np.concatenate(y)


def test_shapes_and_labels():
    dataset = RandomWindows(recordings(), LENGTH, windows=50, batch_size=16)
    assert len(dataset) == 4
    assert [dataset[index][0].shape for index in range(4)] == [(16, LENGTH, 6)] * 3 + [(2, LENGTH, 6)]
    x, y = batches(dataset)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert set(y) == {10, 11, 12}


def test_as_many_windows_as_with_a_hop_of_half_a_window():
    data = recordings()
    assert RandomWindows(data, LENGTH).windows == len(data.windows(LENGTH, LENGTH // 2)[1])


def test_windows_carry_the_label_of_their_recording():
    signals = [np.full((100, 6), value, np.float32) for value in (1.0, 2.0, 3.0)]
    data = Recordings(signals, np.array([1, 2, 3]), np.arange(3))
    x, y = batches(plain(data, windows=60))
    np.testing.assert_allclose(np.abs(x), np.broadcast_to(y[:, None, None], x.shape), rtol=1e-6)


def test_long_recordings_are_cut_more_often():
    signals = [np.zeros((900, 6), np.float32), np.zeros((100, 6), np.float32)]
    _, y = batches(plain(Recordings(signals, np.array([0, 1]), np.arange(2)), windows=1000))
    # Expected 0.1; standard deviation sqrt(0.1 * 0.9 / 1000) = 0.0095.
    assert abs(y.mean() - 0.1) < 0.04


def test_equal_seeds_and_epochs_give_equal_windows():
    a, b = (RandomWindows(recordings(), LENGTH, windows=20, seed=4) for _ in range(2))
    np.testing.assert_array_equal(a[0][0], b[0][0])
    np.testing.assert_array_equal(a[0][0], a[0][0])
    a.on_epoch_end()
    assert np.any(a[0][0] != b[0][0])
    b.on_epoch_end()
    np.testing.assert_array_equal(a[0][0], b[0][0])


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 7}])
def test_other_seeds_and_batches_give_other_windows(change):
    a = RandomWindows(recordings(), LENGTH, windows=20, batch_size=10)
    b = RandomWindows(recordings(), LENGTH, windows=20, **{"batch_size": 10, **change})
    assert np.any(a[1][0][:6] != b[1][0][:6])
    assert np.any(a[0][0] != a[1][0])


def test_mirror_is_a_reflection():
    """Of a vector and of an axial vector, which a reflection turns the other way: `det(R) R w`."""
    reflection = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_array_equal(MIRROR[:3], np.diag(reflection))
    np.testing.assert_array_equal(MIRROR[3:], np.linalg.det(reflection) * np.diag(reflection))
    np.testing.assert_array_equal(MIRROR * MIRROR, np.ones(6))


def test_half_of_the_windows_are_mirrored():
    x, _ = batches(plain(constant(), windows=400))
    original = np.concatenate([ACCELERATION, TURN])
    mirrored = np.all(np.isclose(x, original * MIRROR, rtol=1e-5), axis=(1, 2))
    kept = np.all(np.isclose(x, original, rtol=1e-5), axis=(1, 2))
    assert np.all(mirrored ^ kept)
    # Standard deviation of the share: 0.025.
    assert abs(mirrored.mean() - 0.5) < 0.1


def test_rotations_are_rotations():
    rotations = random_rotations(50, 0.25, np.random.default_rng(0))
    assert rotations.shape == (50, 3, 3)
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-14
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, rtol=1e-14)


def test_rotation_angles_have_the_deviation_asked_for_and_no_preferred_axis():
    rotations = random_rotations(4000, 0.25, np.random.default_rng(0))
    angles = np.arccos((np.trace(rotations, axis1=1, axis2=2) - 1) / 2)
    assert np.sqrt(np.mean(angles**2)) == pytest.approx(0.25, rel=0.05)
    # The mean of normal deviates of 0.25 / sqrt(3): standard deviation 0.0023.
    skew = (rotations - rotations.transpose(0, 2, 1))[:, [2, 0, 1], [1, 2, 0]] / 2
    np.testing.assert_allclose(skew.mean(axis=0), 0.0, atol=0.01)


def test_rotation_acts_on_both_vectors_alike():
    x, _ = batches(plain(constant(), windows=50, rotation=0.5))
    acceleration, turn = x[:, 0, :3].astype(float), x[:, 0, 3:].astype(float)
    np.testing.assert_allclose(np.linalg.norm(acceleration, axis=1), np.linalg.norm(ACCELERATION), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(turn, axis=1), np.linalg.norm(TURN), rtol=1e-5)
    # A common rotation keeps the angle between them; a mirror image turns its sign.
    np.testing.assert_allclose(np.abs((acceleration * turn).sum(axis=1)), abs(ACCELERATION @ TURN), rtol=1e-4)
    assert np.std(acceleration, axis=0).min() > 0.05
    np.testing.assert_allclose(x, np.broadcast_to(x[:, :1], x.shape), rtol=1e-5)  # one rotation a window


def test_gain_scales_a_whole_window_within_its_bounds():
    x, _ = batches(plain(constant(), windows=200, gain=1.5))
    factors = np.linalg.norm(x, axis=2) / np.linalg.norm(np.concatenate([ACCELERATION, TURN]))
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-5)
    assert 1 / 1.5 - 1e-6 < factors.min() < 0.75
    assert 1.3 < factors.max() < 1.5 + 1e-6


@pytest.mark.parametrize(("steps", "warp"), [(400, 1.0), (400, 1.25), (45, 1.25), (20, 1.25)])
def test_time_runs_forward_at_a_bounded_speed(steps, warp):
    """The last two recordings are shorter than a window may need; they are played slowly enough to fit."""
    time = np.arange(steps, dtype=np.float32)[:, None] * np.ones(6, np.float32)
    x, _ = batches(plain(Recordings([time], np.array([0]), np.array([0])), windows=100, warp=warp))
    times = np.abs(x[:, :, 0].astype(float))
    spans = times[:, -1] - times[:, 0]
    assert np.all(np.diff(times) > 0)
    assert times.min() >= 0
    assert times.max() <= steps - 1 + 1e-3
    assert spans.max() <= min(warp * (LENGTH - 1), steps - 1) + 1e-3
    assert spans.min() >= min((LENGTH - 1) / warp, steps - 1) - 1e-3
    # The speed drifts by a factor exp(0.1) to both sides of its average over the window.
    speeds = np.diff(times) / (spans[:, None] / (LENGTH - 1))
    assert np.exp(-0.25) < speeds.min() < speeds.max() < np.exp(0.25)


def test_windows_come_from_everywhere():
    time = np.arange(400, dtype=np.float32)[:, None] * np.ones(6, np.float32)
    x, _ = batches(plain(Recordings([time], np.array([0]), np.array([0])), windows=300))
    starts = np.abs(x[:, 0, 0])
    assert starts.min() < 10
    assert starts.max() > 400 - LENGTH - 10


@pytest.mark.parametrize("length", [1, 0, -5])
def test_refused_lengths(length):
    with pytest.raises(ValueError, match=f"length={length}; expected windows of at least 2 steps"):
        RandomWindows(recordings(), length, windows=4)


def test_refused_features():
    data = Recordings([np.zeros((100, 3), np.float32)], np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match=r"recordings of \[3\] features; expected 6"):
        RandomWindows(data, LENGTH)
