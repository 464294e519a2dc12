"""Random variations of windows: what could have happened to a signal without another label.

Each draws from the generator that it is given and from nothing else, so that equal generators give equal variations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from keras_s4.augmentation.vectors import AXES, Vector
from keras_s4.checks import choice, number, truth_value

WINDOW, SENSOR, FEATURE = ("window", "sensor", "feature")


@dataclasses.dataclass(frozen=True)
class Features:
    """What transforms know of the features of the recordings.

    Args:
        mean: of each on the training recordings, `[F]`.
        deviation: of each about its mean, `[F]`.
        sensors: for each feature the number of its sensor, `[F]`.
        vectors: features that belong together.
    """

    mean: np.ndarray
    deviation: np.ndarray
    sensors: np.ndarray
    vectors: tuple[Vector, ...] = ()

    @classmethod
    def of(cls, signals: Sequence[np.ndarray], sensors: Sequence[int] | None, vectors: tuple[Vector, ...]) -> Features:
        """The features of signals `[steps, F]`; `sensors` are the numbers of features of each sensor, None for one."""
        steps = sum(len(signal) for signal in signals)
        mean = sum(np.sum(signal, axis=0, dtype=np.float64) for signal in signals) / steps
        square = sum(np.sum((signal - mean) ** 2, axis=0, dtype=np.float64) for signal in signals) / steps
        groups = sensors or [len(mean)]
        return cls(mean, np.sqrt(square), np.repeat(np.arange(len(groups)), groups), vectors)


class Transform:
    """A variation of a batch of windows; frozen dataclasses with a method `apply` are transforms.

    Three have none, as they are done elsewhere: `Warp` and `Shift` say where a window is cut, `Mix` changes labels too.

    Attributes:
        inputs_only: whether it is done to what a model reads and not to what it is to forecast.
        may_change_targets: whether it may change quantities that are measured from a signal.
        needs_vectors: whether it is about features that belong together.
    """

    inputs_only: ClassVar[bool] = False
    may_change_targets: ClassVar[bool] = False
    needs_vectors: ClassVar[bool] = False

    def apply(self, windows: np.ndarray, random: np.random.Generator, features: Features) -> np.ndarray:
        """Windows `[B, T, F]`, float64, varied; those given may be changed.

        Raises:
            NotImplementedError: of `Warp` and `Shift`, which choose where a window is read, and are never applied.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply(windows, random, features).")


@dataclasses.dataclass(frozen=True)
class Warp(Transform):
    """Played faster or slower, at a speed that drifts within the window.

    Args:
        factor: largest change of the playing speed, as a factor above 1.
        drift: how far the speed moves about that within a window, as a logarithm.
        keeps_targets: of tasks that measure quantities, whether they are independent of it.
    """

    factor: float = 1.4
    drift: float = 0.1
    keeps_targets: bool = False
    may_change_targets = True

    def __post_init__(self):
        number(self.factor, "Warp got factor=", 1.0)
        number(self.drift, "Warp got drift=", 0.0)
        truth_value(self.keeps_targets, "Warp got keeps_targets=")

    def speed(self, random: np.random.Generator) -> float:
        """Steps of the recording a step of the window."""
        return float(np.exp(random.uniform(-1, 1) * np.log(self.factor)))

    def times(self, steps: int, reach: float, random: np.random.Generator) -> np.ndarray:
        """Places from 0 to `reach` of so many steps, `[steps]`, increasing."""
        if steps < 2:
            return np.zeros(steps)
        phase = random.random() + random.uniform(0.5, 2) * np.linspace(0, 1, steps)
        passed = np.cumsum(np.exp(self.drift * np.sin(2 * np.pi * phase)))
        return (passed - passed[0]) / (passed[-1] - passed[0]) * reach


@dataclasses.dataclass(frozen=True)
class Shift(Transform):
    """Moved to and fro, beyond the ends of a recording if need be, where its first or last value stays.

    For recordings that are no longer than a window; windows of long recordings are cut at random places anyway.

    Args:
        part: the largest shift, as a part of the window, 0 to 1.
    """

    part: float = 0.1

    def __post_init__(self):
        number(self.part, "Shift got part=", 0.0, 1.0)

    def steps(self, length: int, random: np.random.Generator) -> int:
        """Steps to shift a window of so many steps by."""
        most = int(self.part * length)
        return int(random.integers(-most, most + 1))


@dataclasses.dataclass(frozen=True)
class Jitter(Transform):
    """White noise on every feature.

    Args:
        deviation: of the noise, as a part of the deviation of each feature on the training recordings.
    """

    deviation: float = 0.05
    inputs_only = True

    def __post_init__(self):
        number(self.deviation, "Jitter got deviation=", 0.0)

    def apply(self, windows, random, features):
        """Adds it."""
        return windows + random.normal(size=windows.shape) * (self.deviation * features.deviation)


@dataclasses.dataclass(frozen=True)
class Gain(Transform):
    """Amplitudes multiplied by a factor that is drawn evenly on a logarithmic scale.

    Args:
        factor: largest change, as a factor above 1.
        each: "window", "sensor" or "feature" has a factor of its own.
        about: "zero", or the "mean" of each feature on the training recordings: of what is far from zero, such as the
            pressure of the air, only the deviation is multiplied.
        keeps_targets: of tasks that measure quantities, whether they are independent of it.
    """

    factor: float = 1.2
    each: str = WINDOW
    about: str = "zero"
    keeps_targets: bool = False
    may_change_targets = True

    def __post_init__(self):
        number(self.factor, "Gain got factor=", 1.0)
        choice(self.each, "Gain got each=", (WINDOW, SENSOR, FEATURE))
        choice(self.about, "Gain got about=", ("zero", "mean"))
        truth_value(self.keeps_targets, "Gain got keeps_targets=")

    def apply(self, windows, random, features):
        """Multiplies."""
        groups = _groups(self.each, features)
        drawn = np.exp(random.uniform(-1, 1, (len(windows), 1, groups.max() + 1)) * np.log(self.factor))
        if self.about == "zero":
            return windows * drawn[..., groups]
        return (windows - features.mean) * drawn[..., groups] + features.mean


@dataclasses.dataclass(frozen=True)
class Offset(Transform):
    """A constant added to each feature for a whole window, as of a sensor that is calibrated badly.

    Args:
        deviation: of the constant, as a part of the deviation of each feature on the training recordings.
        keeps_targets: of tasks that measure quantities, whether they are independent of it.
    """

    deviation: float = 0.1
    keeps_targets: bool = False
    may_change_targets = True

    def __post_init__(self):
        number(self.deviation, "Offset got deviation=", 0.0)
        truth_value(self.keeps_targets, "Offset got keeps_targets=")

    def apply(self, windows, random, features):
        """Adds it."""
        drawn = random.normal(size=(len(windows), 1, windows.shape[-1]))
        return windows + drawn * (self.deviation * features.deviation)


@dataclasses.dataclass(frozen=True)
class ChannelDropout(Transform):
    """Features that say nothing for a whole window: they stay at their mean on the training recordings.

    Args:
        rate: with which each is dropped, 0 to below 1; one that moves is always kept.
        each: "feature", or "sensor" for all features of one at once.
    """

    rate: float = 0.1
    each: str = FEATURE
    inputs_only = True

    def __post_init__(self):
        if number(self.rate, "ChannelDropout got rate=", 0.0, 1.0) == 1.0:
            raise ValueError("ChannelDropout got rate=1.0, with which nothing is left; expected a number below 1.")
        choice(self.each, "ChannelDropout got each=", (SENSOR, FEATURE))

    def apply(self, windows, random, features):
        """Drops some."""
        groups = _groups(self.each, features)
        drawn = random.random((len(windows), groups.max() + 1))
        moving = np.bincount(groups, features.deviation) > 0
        best = np.where(moving | ~moving.any(), drawn, -1.0)
        kept = (drawn >= self.rate) | (best == best.max(axis=1, keepdims=True))
        return np.where(kept[:, None, groups], windows, features.mean)


@dataclasses.dataclass(frozen=True)
class Rotation(Transform):
    """All vectors rotated alike, about an axis of random direction, as if the device sat differently.

    Args:
        deviation: of the angle, in radians.
        keeps_targets: of tasks that measure quantities, whether they are independent of it.
    """

    deviation: float = 0.5
    keeps_targets: bool = False
    may_change_targets = True
    needs_vectors = True

    def __post_init__(self):
        number(self.deviation, "Rotation got deviation=", 0.0)
        truth_value(self.keeps_targets, "Rotation got keeps_targets=")

    def apply(self, windows, random, features):
        """Rotates."""
        order = [feature for vector in features.vectors for feature in vector.features]
        rotations = random_rotations(len(windows), self.deviation, random)
        vectors = windows[..., order].reshape(*windows.shape[:2], -1, 3)
        windows[..., order] = np.einsum("bij,btkj->btki", rotations, vectors).reshape(*windows.shape[:2], -1)
        return windows


@dataclasses.dataclass(frozen=True)
class Mirror(Transform):
    """All vectors mirrored alike, as if the device sat on the other arm or leg.

    Args:
        axis: that is turned around: "x", "y" or "z".
        rate: with which a window is mirrored, 0 to 1.
        keeps_targets: of tasks that measure quantities, whether they are independent of it.
    """

    axis: str = "x"
    rate: float = 0.5
    keeps_targets: bool = False
    may_change_targets = True
    needs_vectors = True

    def __post_init__(self):
        choice(self.axis, "Mirror got axis=", AXES)
        number(self.rate, "Mirror got rate=", 0.0, 1.0)
        truth_value(self.keeps_targets, "Mirror got keeps_targets=")

    def apply(self, windows, random, features):
        """Mirrors some."""
        signs = np.ones(windows.shape[-1])
        for vector in features.vectors:
            signs[list(vector.features)] = vector.mirror(self.axis)
        mirrored = random.random(len(windows)) >= 1.0 - self.rate
        return windows * np.where(mirrored[:, None, None], signs, 1.0)


@dataclasses.dataclass(frozen=True)
class Mix(Transform):
    """Each window mixed with another of its batch, and their labels alike.

    Source: Zhang et al. 2018 (mixup, arXiv 1710.09412).

    Args:
        alpha: of the Beta distribution of the shares; the smaller, the more often one of the two is nearly alone.
    """

    alpha: float = 0.2

    def __post_init__(self):
        if not number(self.alpha, "Mix got alpha=", 0.0):
            raise ValueError("Mix got alpha=0, with which nothing is mixed; expected a number above 0.")

    def shares(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """For each of so many windows the other one, and the share of its own, at least one half."""
        share = random.beta(self.alpha, self.alpha, count)
        return random.permutation(count), np.maximum(share, 1.0 - share)


def random_rotations(count: int, deviation: float, random: np.random.Generator) -> np.ndarray:
    """Rotations about axes of random direction by normal angles (in radians): `[count, 3, 3]`."""
    from scipy.spatial.transform import Rotation as Rotations

    axes = random.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return Rotations.from_rotvec(axes * random.normal(scale=deviation, size=(count, 1))).as_matrix()


def _groups(each: str, features: Features) -> np.ndarray:
    """For each feature the number of what it shares a draw with, `[F]`."""
    if each == FEATURE:
        return np.arange(len(features.sensors))
    return features.sensors if each == SENSOR else np.zeros_like(features.sensors)
