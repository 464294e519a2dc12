"""Speech Commands, the user's own copy: one folder a word, in the split that was published with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_s4.checks import number
from keras_s4.datasets.live import Live
from keras_s4.datasets.places import require_folder
from keras_s4.datasets.sound import SOUND_RATE, as_features, fit_samples, read_wav_file, shape_of
from keras_s4.datasets.task import Task
from keras_s4.recordings import Recordings, Splits

# The ten words of the published benchmark, of 35 that version 2 holds; with "unknown" and "silence" twelve classes.
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "unknown", "silence"
NOISE_FOLDER = "_background_noise_"
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SPLITS = ("train", *LISTS)
# Of speakers, where there are no lists; as published.
VALIDATION_PERCENT = TEST_PERCENT = 10.0
LARGEST_HASH = 2**27 - 1
# Of each recording of noise, by time, in the order of SPLITS.
NOISE_PARTS = (0.8, 0.9, 1.0)
SAMPLES = SOUND_RATE
FOLDER_VARIABLE = "KERAS_S4_SPEECH_COMMANDS"
ADVICE = (
    "Download download.tensorflow.org/data/speech_commands_v0.02.tar.gz (2.3 GB), unpack it into a folder of its own, "
    f"and name that folder by the variable {FOLDER_VARIABLE}."
)


def speech_commands(
    folder: Path | str | None = None,
    words: Sequence[str] = WORDS,
    unknown: float = 1.0,
    silence: float = 1.0,
    frames: bool = True,
    seed: int = 0,
) -> Splits:
    """Spoken words of one second, with other words as "unknown" and background noise as "silence".

    Split as published, by speaker: `validation_list.txt` and `testing_list.txt` say which files validate and test, or
    where a copy lacks both, the hash of the speaker does. Seconds of noise are cut at random places, for training out
    of the first 80% of each recording of noise, for validation and test out of the next and the last 10%.

    Args:
        folder: with a folder for each word; by default that of the variable KERAS_S4_SPEECH_COMMANDS.
        words: to be told apart.
        unknown: how many utterances of other words, drawn at random, for each word's mean; 0 for no such class.
        silence: how many seconds of noise, for each word's mean; 0 for no such class.
        frames: whether to return frames of 20 ms (`keras_s4.datasets.sound.frames_of`) instead of sound at 16 kHz.
        seed: of what is drawn.

    Returns:
        Recordings whose labels index `words`, then "unknown" and "silence"; whose subjects are speakers, and recordings
        of noise; of 50 steps of 20 features, or 16,000 of one.

    Raises:
        FileNotFoundError: there is no such folder, or not a folder for each word.
        ValueError: a file cannot be read, or is not at 16 kHz; a list names a file that is not there.

    Source: Warden 2018 (arXiv 1804.03209).
    """
    names = class_names(words, unknown, silence)
    place = _find_words(folder, words)
    parts = _split_files(place)
    random = np.random.default_rng(seed)
    made = []
    for part, split in enumerate(SPLITS):
        files = [(path, words.index(path.parent.name)) for path in parts[split] if path.parent.name in words]
        mean = len(files) / len(words)
        if unknown:
            others = [path for path in parts[split] if path.parent.name not in words]
            count = min(len(others), round(unknown * mean))
            chosen = random.choice(len(others), count, replace=False) if others else ()
            files += [(others[index], names.index(UNKNOWN)) for index in sorted(chosen)]
        signals = [as_features(_read_second(path), frames) for path, _ in files]
        labels = [label for _, label in files]
        speakers = [speaker_of(path.name) for path, _ in files]
        if silence:
            noise, sources = _cut_noise(place, part, round(silence * mean), random)
            signals += [as_features(second, frames) for second in noise]
            labels += [names.index(SILENCE)] * len(noise)
            speakers += [f"{source}, {split}" for source in sources]
        if not signals:
            raise ValueError(f"{place} holds nothing for {split} of {', '.join(words)}. {ADVICE}")
        made.append(Recordings(signals, np.array(labels), np.array(speakers)))
    return Splits(*made)


def speech_commands_task(
    folder: Path | str | None = None,
    words: Sequence[str] = WORDS,
    unknown: float = 1.0,
    silence: float = 1.0,
    frames: bool = True,
    seed: int = 0,
    live: Live | None = None,
) -> Task:
    """Speech Commands as a task; the arguments are those of `speech_commands`.

    Args:
        live: what a decision is in a live stream, for example with `background="silence"`; None if the model is asked
            at the end of a second.
    """
    names = class_names(words, unknown, silence)
    length, rate, sensors = shape_of(SAMPLES, frames)
    return Task(
        name="speech-commands",
        title=f"{len(words)} spoken words told apart",
        purpose=f"to recognise which of {len(words)} words is spoken, from "
        + ("the energies in 20 bands every 20 ms" if frames else "its sound"),
        read=lambda: speech_commands(folder, words, unknown, silence, frames, seed),
        length=length,
        hop=length,
        sensors=sensors,
        classes=names,
        live=live,
        rate=rate,
        group="speaker",
        choices={"unknown": unknown, "silence": silence, "frames": frames, "words_seed": seed},
    )


def class_names(words: Sequence[str], unknown: float, silence: float) -> tuple[str, ...]:
    """The words and what else is told apart.

    Raises:
        ValueError: no words, or one twice; shares below 0.
    """
    if isinstance(words, str) or not words or len(set(words)) < len(words) or {UNKNOWN, SILENCE} & set(words):
        raise ValueError(f"speech_commands got words={words!r}; expected different words, such as {WORDS}.")
    shares = ((UNKNOWN, unknown), (SILENCE, silence))
    return (*words, *(name for name, share in shares if number(share, f"speech_commands got {name}=", 0.0)))


def speaker_of(name: str) -> str:
    """Who spoke a file: what its name has before "_nohash_"."""
    return re.sub(r"_nohash_.*$", "", name)


def hashed_split(name: str) -> str:
    """Training, validation or test by the published rule: the SHA-1 of the speaker, as a percentage."""
    digits = int(hashlib.sha1(speaker_of(name).encode()).hexdigest(), 16)
    percentage = digits % (LARGEST_HASH + 1) * (100.0 / LARGEST_HASH)
    if percentage < VALIDATION_PERCENT:
        return "validation"
    return "test" if percentage < VALIDATION_PERCENT + TEST_PERCENT else "train"


def _find_words(folder: Path | str | None, words: Iterable[str]) -> Path:
    place = require_folder(folder, FOLDER_VARIABLE, (), "*/*.wav", ADVICE)
    if missing := [word for word in words if not any((place / word).glob("*.wav"))]:
        found = sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("_"))
        raise FileNotFoundError(
            f"{place} holds no WAV files of {', '.join(missing)}; it holds {', '.join(found) or 'no words'}. {ADVICE}"
        )
    return place


def _split_files(place: Path) -> dict[str, list[Path]]:
    """All utterances, in the order of their names, by split."""
    files = {
        path.relative_to(place).as_posix(): path
        for path in sorted(place.glob("*/*.wav"))
        if not path.parent.name.startswith("_")
    }
    lists = {split: place / name for split, name in LISTS.items()}
    there = [path for path in lists.values() if path.is_file()]
    if not there:
        splits = {name: hashed_split(path.name) for name, path in files.items()}
    elif len(there) == len(lists):
        splits = dict.fromkeys(files, "train")
        for split, path in lists.items():
            listed = path.read_text().split()
            if unknown := [name for name in listed if name not in files]:
                raise ValueError(
                    f"{path.name} names {unknown[0]} ({len(unknown)} in all), which is not there: the copy is not "
                    f"whole. {ADVICE}"
                )
            splits |= dict.fromkeys(listed, split)
    else:
        raise ValueError(f"{place} holds {there[0].name} and not the other of {', '.join(LISTS.values())}. {ADVICE}")
    return {split: [path for name, path in files.items() if splits[name] == split] for split in SPLITS}


def _read_second(path: Path) -> np.ndarray:
    return fit_samples(_read(path), SAMPLES)


def _read(path: Path) -> np.ndarray:
    sound, rate = read_wav_file(path)
    if rate != SOUND_RATE:
        raise ValueError(f"{path.parent.name}/{path.name} is at {rate:g} Hz; expected {SOUND_RATE:,}, as published.")
    return sound


def _cut_noise(place: Path, part: int, count: int, random: np.random.Generator) -> tuple[list[np.ndarray], list[str]]:
    """Seconds out of a part of each recording of noise, at random volumes, and the names of the recordings."""
    files = sorted((place / NOISE_FOLDER).glob("*.wav"))
    if not files:
        raise FileNotFoundError(f"{place} has no folder {NOISE_FOLDER} with WAV files. Say silence=0, or: {ADVICE}")
    sounds = [_read(path) for path in files]
    seconds, names = [], []
    for index in range(count):
        sound, name = sounds[index % len(files)], files[index % len(files)].name
        start, end = (round(edge * len(sound)) for edge in ((0.0, *NOISE_PARTS)[part], NOISE_PARTS[part]))
        if end - start < SAMPLES:
            raise ValueError(f"{NOISE_FOLDER}/{name} has {len(sound):,} samples; expected ten seconds or more.")
        first = random.integers(start, end - SAMPLES + 1)
        seconds.append(random.uniform(0.0, 1.0) * sound[first : first + SAMPLES])
        names.append(name)
    return seconds, names
