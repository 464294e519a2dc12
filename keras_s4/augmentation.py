"""What is trained on: windows in a new order each epoch; or random variations of inertial recordings, so that a network
learns the movement and not the person."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.checks import is_whole, number, quote, whole_number
from keras_s4.recordings import Recordings

# Left and right arm are mirror images: acceleration is a vector, angular velocity an axial one.
MIRROR = np.array([-1.0, 1.0, 1.0, 1.0, -1.0, -1.0], np.float32)


class ShuffledWindows(keras.utils.PyDataset):
    """Batches of windows as they are, in another order in every epoch. Equal seeds and epochs give equal orders.

    Args:
        recordings: signals `[steps, features]`.
        length: steps of a window.
        hop: steps from one window to the next; by default half a window.
        batch_size: B.
        seed: whole number.

    Raises:
        ValueError: no recording holds a window; sizes below 1.
    """

    def __init__(
        self,
        recordings: Recordings,
        length: int,
        hop: int | None = None,
        batch_size: int = 32,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.batch_size = whole_number(batch_size, "ShuffledWindows got batch_size=")
        self.seed = whole_number(seed, "ShuffledWindows got seed=", 0)
        self.epoch = 0
        self._x, self._y = recordings.windows(length, hop or max(1, length // 2))

    def __len__(self) -> int:
        return -(-len(self._x) // self.batch_size)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch: windows `[B, length, features]` and labels `[B]`."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self._x))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        return self._x[chosen], self._y[chosen]

    def on_epoch_end(self):
        """Makes the next epoch use another order."""
        self.epoch += 1


class RandomWindows(keras.utils.PyDataset):
    """Batches of windows cut anew in every epoch from recordings of acceleration and angular velocity.

    Each window is cut at a random place, played faster or slower, mirrored to the other arm half of the time, rotated
    as if the watch sat differently on the wrist, and scaled. Windows with equal seeds and epochs are equal.

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
        super().__init__(**kwargs)
        if not isinstance(recordings, Recordings):
            raise TypeError(
                f"RandomWindows got recordings={quote(recordings)}; expected keras_s4.datasets.Recordings(signals, "
                "labels, subjects)."
            )
        if not is_whole(length) or length < 2:
            raise ValueError(f"RandomWindows got length={quote(length)}; expected windows of at least 2 steps.")
        batch_size = whole_number(batch_size, "RandomWindows got batch_size=")
        if windows is not None:
            windows = whole_number(windows, "RandomWindows got windows=")
        rotation = number(rotation, "RandomWindows got rotation=", 0.0)
        warp, gain = (
            number(factor, f"RandomWindows got {name}=", 1.0) for name, factor in (("warp", warp), ("gain", gain))
        )
        seed = whole_number(seed, "RandomWindows got seed=", 0)
        features = {signal.shape[1] for signal in recordings.signals}
        if features != {6}:
            raise ValueError(
                f"RandomWindows got recordings of {sorted(features)} features; expected 6: acceleration x, y, z and "
                "angular velocity x, y, z."
            )
        self.recordings = recordings
        self.length = length
        self.windows = windows or len(recordings.windows(length, max(1, length // 2))[1])
        self.batch_size = batch_size
        self.rotation = rotation
        self.warp = warp
        self.gain = gain
        self.seed = seed
        self.epoch = 0
        lengths = np.array([len(signal) for signal in recordings.signals], np.float64)
        self._probabilities = lengths / lengths.sum()

    def __len__(self) -> int:
        return -(-self.windows // self.batch_size)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch: windows `[B, length, 6]` and labels `[B]`."""
        random = np.random.default_rng((self.seed, self.epoch, index))
        size = min(self.batch_size, self.windows - index * self.batch_size)
        chosen = random.choice(len(self.recordings), size, p=self._probabilities)
        windows = np.stack([self._cut(self.recordings.signals[number], random) for number in chosen])
        windows *= np.where(random.random(size) < 0.5, 1.0, MIRROR[:, None]).T[:, None, :]
        rotations = random_rotations(size, self.rotation, random)
        pairs = windows.reshape(size, self.length, 2, 3)
        windows = np.einsum("bij,btkj->btki", rotations, pairs).reshape(size, self.length, 6)
        windows *= np.exp(random.uniform(-1, 1, (size, 1, 1)) * np.log(self.gain))
        return windows.astype(np.float32), self.recordings.labels[chosen]

    def on_epoch_end(self):
        """Makes the next epoch draw other windows."""
        self.epoch += 1

    def _cut(self, signal: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A window at a random place, resampled to a random speed that drifts within the window."""
        speed = np.exp(random.uniform(-1, 1) * np.log(self.warp))
        drift = np.cumsum(
            np.exp(
                0.1 * np.sin(2 * np.pi * (random.random() + random.uniform(0.5, 2) * np.linspace(0, 1, self.length)))
            )
        )
        times = (drift - drift[0]) / (drift[-1] - drift[0]) * min(speed * (self.length - 1), len(signal) - 1)
        times += random.uniform(0, len(signal) - 1 - times[-1])
        before = np.minimum(times.astype(np.int64), len(signal) - 2)
        fraction = (times - before)[:, None]
        return signal[before] * (1 - fraction) + signal[before + 1] * fraction


def random_rotations(count: int, deviation: float, random: np.random.Generator) -> np.ndarray:
    """Rotations about axes of random direction by normal angles (in radians): `[count, 3, 3]`."""
    from scipy.spatial.transform import Rotation

    axes = random.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return Rotation.from_rotvec(axes * random.normal(scale=deviation, size=(count, 1))).as_matrix()
