"""Random variations of inertial recordings, so that a network learns the movement and not the person."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_s4.augmentation.augmented_windows import AugmentedWindows, Place
from keras_s4.augmentation.transforms import Gain, Mirror, Rotation, Warp
from keras_s4.augmentation.vectors import AXIAL, POLAR, Vector
from keras_s4.checks import is_whole, number, quote, whole_number
from keras_s4.recordings import Recordings


class _Triple(NamedTuple):
    axes: tuple[str, str, str]
    vector: str


SENSORS = (_Triple(("x", "y", "z"), POLAR), _Triple(("x", "y", "z"), AXIAL))
# Left and right arm are mirror images: acceleration is a vector, angular velocity an axial one.
MIRROR = np.concatenate([Vector((0, 1, 2), sensor.vector).mirror("x") for sensor in SENSORS]).astype(np.float32)


class RandomWindows(AugmentedWindows):
    """Batches of windows cut anew in every epoch from recordings of acceleration and angular velocity.

    Each window is cut at a random place, played faster or slower, mirrored to the other arm half of the time, rotated
    as if the watch sat differently on the wrist, and scaled. Windows with equal seeds and epochs are equal.

    Unlike with other `AugmentedWindows` each window is drawn anew from all places of all recordings.

    Args:
        recordings: signals `[steps, 6]`: acceleration x, y, z and angular velocity x, y, z.
        length: steps of a window.
        windows: how many an epoch; by default as many as there are with a hop of half a window.
        batch_size: B.
        rotation: standard deviation of the rotation about a random axis, in radians.
        warp: largest change of the playing speed, as a factor above 1.
        gain: largest change of the amplitude, as a factor above 1.
        seed: whole number.

    Raises:
        TypeError: no recordings.
        ValueError: windows shorter than 2 steps, numbers out of range, or recordings of other than 6 features.
    """

    def __init__(
        self,
        recordings: Recordings,
        length: int = 500,
        windows: int | None = None,
        batch_size: int = 32,
        rotation: float = 0.5,
        warp: float = 1.4,
        gain: float = 1.2,
        seed: int = 0,
        **kwargs,
    ):
        if not is_whole(length) or length < 2:
            raise ValueError(f"RandomWindows got length={quote(length)}; expected windows of at least 2 steps.")
        if windows is not None:
            windows = whole_number(windows, "RandomWindows got windows=")
        self.rotation = number(rotation, "RandomWindows got rotation=", 0.0)
        self.warp, self.gain = (
            number(factor, f"RandomWindows got {name}=", 1.0) for name, factor in (("warp", warp), ("gain", gain))
        )
        self._asked = windows
        _check_features(recordings)
        transforms = (Warp(self.warp), Mirror("x"), Rotation(self.rotation), Gain(self.gain))
        super().__init__(recordings, length, batch_size, seed, transforms=transforms, sensors=SENSORS, **kwargs)
        self.windows = windows or len(self._places)
        lengths = np.array([len(signal) for signal in recordings.signals], np.float64)
        self._probabilities = lengths / lengths.sum()

    def __len__(self) -> int:
        return -(-self.windows // self.batch_size)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch: windows `[B, length, 6]` and labels `[B]`."""
        random = np.random.default_rng((self.seed, self.epoch, index))
        size = min(self.batch_size, self.windows - index * self.batch_size)
        drawn = random.choice(len(self.recordings), size, p=self._probabilities)
        return self._make([Place(int(recording), 0) for recording in drawn], self.length, random)

    def _find_places(self) -> list[Place]:
        # Recordings shorter than a window are played slowly enough to fill one, as long as somebody says how many.
        return [] if self._asked else super()._find_places()

    def _start(self, place: Place, slack: float, random: np.random.Generator) -> float:
        return random.uniform(0, slack)


def _check_features(recordings: Recordings) -> None:
    if not isinstance(recordings, Recordings):
        return  # which is refused later
    features = {signal.shape[1] for signal in recordings.signals}
    if features != {len(MIRROR)}:
        raise ValueError(
            f"RandomWindows got recordings of {sorted(features)} features; expected 6: acceleration x, y, z and "
            "angular velocity x, y, z."
        )
