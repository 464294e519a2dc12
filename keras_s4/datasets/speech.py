"""Spoken keywords from the synthesiser espeak-ng. Synthetic: they say nothing about real speech."""

from __future__ import annotations

import concurrent.futures
import re
import shutil
import subprocess

import numpy as np
import scipy.signal

from keras_s4.datasets.sound import SOUND_RATE, as_features, shape_of
from keras_s4.datasets.task import Task
from keras_s4.recordings import Labelled, Recordings, Splits

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "one", "two")
KEYWORD_RATE = SAMPLES = SOUND_RATE
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
# Words a minute, and espeak-ng's pitch from 0 to 99.
SPEEDS, PITCHES = (120, 220), (20, 80)
# Of the loudest sample: where a word begins and ends.
SILENCE = 0.02
# Noise behind the words, in dB below them.
NOISE = (15.0, 40.0)
# Of the speakers: every seventh is for validation, and every seventh for the test.
SPLIT = FOLDS = 7


def keywords(
    frames: bool = True, utterances: int = 4, seed: int = 0, fold: int = 0
) -> tuple[Labelled, Labelled, Labelled]:
    """Twelve English words, each spoken by all of espeak-ng's voice variants, split by variant.

    Every utterance has an accent, a speed and a pitch of its own, a random place in its second, and some noise. The
    same version of espeak-ng gives the same data for the same arguments.

    Args:
        frames: whether to return frames of 20 ms (`keras_s4.datasets.sound.frames_of`) instead of sound.
        utterances: of each word by each speaker.
        seed: of accents, speeds, pitches, places and noise.
        fold: which seventh of the speakers tests, 0 to 6; the seventh before it validates.

    Returns:
        `(x, y), (x_validation, y_validation), (x_test, y_test)`: x float32 `[W, 50, 20]`, or `[W, 16000, 1]` of sound
        from -1 to 1 at 16 kHz; y integers `[W]`, indices of `KEYWORDS`.

    Raises:
        FileNotFoundError: espeak-ng is not installed.
        ValueError: fewer than one utterance, or another fold.
        RuntimeError: espeak-ng failed; what it said.
    """
    splits = _speak_splits(frames, utterances, seed, fold)
    return tuple((np.stack(recordings.signals), recordings.labels) for recordings in splits)


def keywords_task(frames: bool = True, utterances: int = 4, seed: int = 0, fold: int = 0) -> Task:
    """The keywords as a task; the arguments are those of `keywords`, and it takes minutes to speak them."""
    _check(utterances, fold)
    length, rate, sensors = shape_of(SAMPLES, frames)
    return Task(
        name="keywords",
        title="Twelve synthetic words told apart",
        purpose="to recognise which of twelve words a speech synthesiser says, from "
        + ("the energies in 20 bands every 20 ms" if frames else "its sound"),
        read=lambda: _speak_splits(frames, utterances, seed, fold),
        length=length,
        hop=length,
        sensors=sensors,
        classes=KEYWORDS,
        rate=rate,
        group="speaker",
        folds=FOLDS,
        choices={"frames": frames, "utterances": utterances, "words_seed": seed, "fold": fold},
    )


def _check(utterances: int, fold: int) -> None:
    if utterances < 1:
        raise ValueError(f"keywords got utterances={utterances}; expected at least 1.")
    if fold not in range(FOLDS):
        raise ValueError(f"keywords got fold={fold!r}; expected a whole number from 0 to {FOLDS - 1}.")


def _speak_splits(frames: bool, utterances: int, seed: int, fold: int) -> Splits:
    """The words of all speakers; every seventh speaker is for validation, and every seventh for the test."""
    _check(utterances, fold)
    parts: tuple[list, list, list] = ([], [], [])
    speakers = speaker_variants()
    with concurrent.futures.ThreadPoolExecutor() as pool:  # espeak-ng runs in processes of its own
        jobs = [
            (index, pool.submit(_speak_all, speaker, index, utterances, frames, seed)) for index, speaker in speakers
        ]
        for index, job in jobs:
            parts[{SPLIT - 2: 1, SPLIT - 1: 2}.get((index - fold) % SPLIT, 0)].append((index, *job.result()))
    return Splits(*map(_join_speakers, parts))


def _join_speakers(spoken: list[tuple[int, np.ndarray, np.ndarray]]) -> Recordings:
    """All utterances of some speakers, who are numbered."""
    signals = [signal for _, x, _ in spoken for signal in x]
    labels = np.concatenate([y for _, _, y in spoken])
    return Recordings(signals, labels, np.repeat([index for index, *_ in spoken], [len(y) for _, _, y in spoken]))


def speaker_variants() -> list[tuple[int, str]]:
    """The voice variants of the installed espeak-ng, numbered in the order of their names.

    Raises:
        FileNotFoundError: it is not installed.
    """
    listing = _run("--voices=variant").decode(errors="replace")
    return list(enumerate(sorted(set(re.findall(r"!v/(.*\S)", listing)))))


def _speak_all(variant: str, index: int, utterances: int, frames: bool, seed: int) -> Labelled:
    """All utterances of one speaker."""
    random = np.random.default_rng([seed, index])
    labels = np.tile(np.arange(len(KEYWORDS)), utterances)
    sound = np.stack([_place_in_noise(_speak(KEYWORDS[label], variant, random), random) for label in labels])
    return as_features(sound, frames), labels


def _speak(word: str, variant: str, random: np.random.Generator) -> np.ndarray:
    """One utterance without the silence around it, at 16 kHz, the loudest sample 1."""
    speed, pitch = random.integers(*SPEEDS), random.integers(*PITCHES)
    voice = f"{random.choice(ACCENTS)}+{variant}"
    wave = _run("-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word)
    # A header of 44 bytes, whose lengths are void since it was written before the sound was known; then 16-bit samples.
    rate = int.from_bytes(wave[24:28], "little")
    samples = np.frombuffer(wave[44 : len(wave) // 2 * 2], "<i2").astype(np.float64)
    samples /= max(1.0, np.abs(samples).max())
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    return scipy.signal.resample_poly(samples[loud[0] : loud[-1] + 1] if loud.size else samples, KEYWORD_RATE, rate)


def _place_in_noise(word: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The word somewhere in a second of noise; what does not fit is cut off at the end."""
    word = word[:SAMPLES]
    start = random.integers(0, SAMPLES - len(word) + 1)
    volume = 0.5 * random.uniform(0.3, 1.0)
    level = np.sqrt(np.mean(word**2)) * 10.0 ** (-random.uniform(*NOISE) / 20.0)
    sound = random.normal(0.0, level, SAMPLES)
    sound[start : start + len(word)] += word
    return np.clip(volume * sound, -1.0, 1.0)


def _run(*arguments: str) -> bytes:
    program = shutil.which("espeak-ng")
    if program is None:
        raise FileNotFoundError(
            "The keywords are spoken by espeak-ng, which is not installed: apt install espeak-ng (Debian, Ubuntu) or "
            "brew install espeak-ng (macOS)."
        )
    done = subprocess.run([program, *arguments], capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"espeak-ng {' '.join(arguments)} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
