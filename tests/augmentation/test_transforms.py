"""Variations of windows: each does what its name says, to what belongs together, and no more than it was told."""

import numpy as np
import pytest

from keras_s4.augmentation import ChannelDropout, Gain, Jitter, Mirror, Mix, Offset, Rotation, Shift, Vector, Warp
from keras_s4.augmentation.transforms import Features

COUNT, STEPS, FEATURES = 400, 12, 7
# A barometer far from zero, an acceleration, and a magnetic field.
MEAN = np.array([1e5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
DEVIATION = np.array([30.0, 0.5, 0.5, 0.5, 20.0, 20.0, 0.0])
KNOWN = Features(MEAN, DEVIATION, np.array([0, 1, 1, 1, 2, 2, 2]), (Vector((1, 2, 3)), Vector((4, 5, 6), "axial")))


def windows(seed=1):
    return MEAN + DEVIATION * np.random.default_rng(seed).normal(size=(COUNT, STEPS, FEATURES))


def varied(transform, seed=0):
    return transform.apply(windows(), np.random.default_rng(seed), KNOWN)


@pytest.mark.parametrize("transform", [Jitter(), Gain(), Offset(), ChannelDropout(), Rotation(), Mirror()])
def test_equal_generators_give_equal_variations(transform):
    np.testing.assert_array_equal(varied(transform), varied(transform))
    assert np.any(varied(transform) != varied(transform, seed=1))


def test_jitter_is_white_and_as_large_as_the_feature_moves():
    noise = varied(Jitter(0.1)) - windows()
    np.testing.assert_allclose(noise.std(axis=(0, 1))[:6], 0.1 * DEVIATION[:6], rtol=0.05)
    assert np.all(noise[..., 6] == 0.0), "a constant feature stays as it is"
    assert abs(np.mean(noise[:, 1:, 0] * noise[:, :-1, 0])) < 0.05 * 9.0


@pytest.mark.parametrize(
    ("each", "alike"), [("window", [range(7)]), ("sensor", [[0], [1, 2, 3], [4, 5]]), ("feature", [])]
)
def test_gain_is_one_factor_for_what_it_is_drawn_for(each, alike):
    factors = varied(Gain(1.5, each=each)) / np.where(windows() == 0, 1.0, windows())
    np.testing.assert_allclose(factors[..., :6], np.broadcast_to(factors[:, :1, :6], (COUNT, STEPS, 6)), rtol=1e-9)
    assert 1 / 1.5 - 1e-9 <= factors[..., :6].min() < 0.7
    assert 1.43 < factors.max() <= 1.5 + 1e-9
    correlations = np.corrcoef(factors[:, 0, :6].T)
    for group in alike:
        group = [feature for feature in group if feature < 6]
        assert np.all(correlations[np.ix_(group, group)] > 0.999)
    between = np.abs(correlations[0, 1:6]) if each != "window" else np.zeros(1)
    assert np.all(between < 0.3)


def test_gain_about_the_mean_leaves_the_level():
    result = varied(Gain(1.5, about="mean"))
    factors = (result - MEAN)[..., :6] / (windows() - MEAN)[..., :6]
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1], factors.shape), rtol=1e-6)
    np.testing.assert_allclose(result[..., 0].mean(), 1e5, rtol=1e-4)


def test_offset_is_constant_over_a_window():
    moved = varied(Offset(0.5)) - windows()
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-9)
    np.testing.assert_allclose(moved[:, 0].std(axis=0)[:6], 0.5 * DEVIATION[:6], rtol=0.15)


@pytest.mark.parametrize("each", ["feature", "sensor"])
def test_dropped_channels_say_nothing_and_one_is_always_kept(each):
    rate = 0.4
    result = varied(ChannelDropout(rate, each=each))
    dropped = np.all(result == MEAN, axis=1)
    assert np.all(dropped | np.all(result == windows(), axis=1))
    assert not dropped[:, :6].all(axis=1).any()
    assert abs(dropped[:, 1].mean() - rate) < 0.12
    together = np.all(dropped[:, 1:4] == dropped[:, 1:2])
    assert together == (each == "sensor")


def test_the_last_channel_is_kept():
    result = varied(ChannelDropout(0.99))
    kept = np.any(result != MEAN, axis=1)
    assert np.all(kept[:, :6].any(axis=1))
    assert kept.mean() < 0.2


def test_rotation_turns_all_vectors_alike_and_nothing_else():
    before, after = windows(), varied(Rotation(1.0))
    np.testing.assert_array_equal(after[..., 0], before[..., 0])
    for vector in KNOWN.vectors:
        lengths = [np.linalg.norm(each[..., list(vector.features)], axis=-1) for each in (before, after)]
        np.testing.assert_allclose(*lengths, rtol=1e-9)
    products = [np.sum(each[..., 1:4] * each[..., 4:7], axis=-1) for each in (before, after)]
    np.testing.assert_allclose(*products, rtol=1e-6, atol=1e-6)
    assert np.abs(after[..., 1:4] - before[..., 1:4]).max() > 0.5


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_mirrored_axial_vectors_are_cross_products_of_mirrored_polar_ones(axis):
    """What tells the two kinds apart: the cross product of two polar vectors is an axial one."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 5, 3))
    polar, axial = Vector((0, 1, 2)).mirror(axis), Vector((0, 1, 2), "axial").mirror(axis)
    np.testing.assert_allclose(np.cross(a * polar, b * polar), np.cross(a, b) * axial, rtol=1e-12)
    assert np.prod(polar) == -1.0


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_so_many_windows_are_mirrored(rate):
    before, after = windows(), varied(Mirror("y", rate))
    signs = np.array([1, 1, -1, 1, -1, 1, -1.0])
    mirrored = np.all(after == before * signs, axis=(1, 2))
    assert np.all(mirrored | np.all(after == before, axis=(1, 2)))
    assert abs(mirrored.mean() - rate) <= (0.08 if 0 < rate < 1 else 0.0)


def test_times_run_forward_over_what_they_shall_reach():
    warp = Warp(1.5, drift=0.3)
    random = np.random.default_rng(0)
    speeds = [warp.speed(random) for _ in range(500)]
    assert 1 / 1.5 <= min(speeds) < 0.7 < 1.4 < max(speeds) <= 1.5
    for steps in (1, 2, 50):
        times = warp.times(steps, 30.0, random)
        assert len(times) == steps
        assert times[0] == 0.0
        assert np.all(np.diff(times) > 0)
        assert steps == 1 or times[-1] == pytest.approx(30.0)


def test_shifts_reach_their_part_of_a_window():
    random = np.random.default_rng(0)
    found = {Shift(0.1).steps(50, random) for _ in range(300)}
    assert found == set(range(-5, 6))


def test_shares_of_a_mixture_favour_the_window_itself():
    partners, shares = Mix(0.2).shares(300, np.random.default_rng(0))
    assert sorted(partners) == list(range(300))
    assert 0.5 <= shares.min() < 0.6
    assert shares.max() <= 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Warp(0.5), "Warp got factor=0.5"),
        (lambda: Gain(1.2, each="all"), "each='all'"),
        (lambda: Gain(1.2, about="median"), "about='median'"),
        (lambda: Jitter(-1), "Jitter got deviation=-1"),
        (lambda: Jitter(np.nan), "Jitter got deviation=nan"),
        (lambda: ChannelDropout(1.0), "nothing is left"),
        (lambda: Shift(2.0), "Shift got part=2.0"),
        (lambda: Mix(0.0), "nothing is mixed"),
        (lambda: Mirror("w"), "Mirror got axis='w'"),
        (lambda: Mirror("x", 1.5), "Mirror got rate=1.5"),
        (lambda: Vector((0, 1, 2), "pseudo"), "kind='pseudo'"),
        (lambda: Vector((0, 1)), "expected three"),
        (lambda: Warp(1.2, keeps_targets="no"), "keeps_targets='no'"),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
