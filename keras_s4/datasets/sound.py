"""Sound as sequences: samples at 16 kHz, or the energies in bands every 20 ms; and files of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.signal

from keras_s4.datasets.task import Sensor
from keras_s4.extras import needed_for
from keras_s4.recordings.layout import Source
from keras_s4.recordings.readers.wav_files import read_wav

SOUND_RATE = 16_000
FRAME, BANDS = 320, 20
LOWEST, HIGHEST = 100.0, 7_000.0


def frames_of(sound: np.ndarray) -> np.ndarray:
    """Frames of sound: `[.., samples]` at 16 kHz to `[.., samples / 320, 20]`.

    A frame of 20 ms holds the logarithms of the energies in 20 bands from 100 to 7,000 Hz, equally wide on the mel
    scale, brought to about -1 to 1.
    """
    pieces = sound.reshape(*sound.shape[:-1], -1, FRAME) * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(pieces, axis=-1)) ** 2
    return ((np.log10(power @ _bands().T + 1e-3) + 0.5) / 3.0).astype(np.float32)


def as_features(sound: np.ndarray, frames: bool) -> np.ndarray:
    """Samples `[.., samples]` as float32: frames of them, or one feature, `[.., samples, 1]`."""
    return frames_of(sound) if frames else sound[..., None].astype(np.float32)


def shape_of(samples: int, frames: bool) -> tuple[int, float, tuple[Sensor, ...]]:
    """Steps of so many samples, steps a second, and what the features are."""
    if not frames:
        return samples, float(SOUND_RATE), (Sensor("sound", ("",)),)
    bands = tuple(f"band {band}" for band in range(1, BANDS + 1))
    return samples // FRAME, SOUND_RATE / FRAME, (Sensor("energy", bands),)


def fit_samples(sound: np.ndarray, samples: int) -> np.ndarray:
    """Sound of exactly so many samples: cut at its end, or with silence behind it."""
    return np.pad(sound[:samples], (0, max(0, samples - len(sound))))


def read_sound(path: Path) -> np.ndarray:
    """The mean of a file's channels at 16 kHz, from -1 to 1: WAV, AIFF, FLAC and more.

    Raises:
        ModuleNotFoundError: the extra "sound" is not installed.
        ValueError: the file cannot be read.
    """
    with needed_for("Files of compressed sound", "sound"):
        import soundfile
    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path.name} cannot be read as sound: {error}") from error
    return scipy.signal.resample_poly(samples.mean(axis=1), SOUND_RATE, rate)


def read_wav_file(path: Path) -> tuple[np.ndarray, float]:
    """The mean of a WAV file's channels, from -1 to 1, and its rate.

    Raises:
        ValueError: the file cannot be read.
    """
    (frame,) = read_wav(path, path.name, Source(mono=True))
    return frame.columns["sound"], frame.rate


def _bands() -> np.ndarray:
    """Triangular weights of the bands `[20, 161]`, equally wide on the mel scale (O'Shaughnessy 1987)."""
    mel = np.linspace(*(2595.0 * np.log10(1.0 + np.array([LOWEST, HIGHEST]) / 700.0)), BANDS + 2)
    edges = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    frequencies = np.fft.rfftfreq(FRAME, 1.0 / SOUND_RATE)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    # The lowest bands are narrower than a bin: each gets at least the bin at its centre.
    weights = np.maximum(0.0, np.minimum(rising, falling))
    nearest = np.abs(frequencies - edges[1:-1, None]).argmin(axis=1)
    weights[np.arange(BANDS), nearest] = np.maximum(weights[np.arange(BANDS), nearest], 0.5)
    return weights
