"""Hits on drums, as kits of the drum machine Hydrogen hold them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from keras_s4.datasets.places import require_folder
from keras_s4.datasets.sound import FRAME, as_features, fit_samples, read_sound, shape_of
from keras_s4.datasets.task import Task
from keras_s4.extras import require
from keras_s4.recordings import Recordings, Splits, split_by_group

DRUMS = ("kick", "snare", "tom", "closed hat", "open hat", "ride", "crash")
FOLDS = 5
# Of a hit, 0.64 s.
SAMPLES = 32 * FRAME
# Of its loudest sample: where it begins. And what that sample becomes.
SILENCE, LOUDEST = 0.05, 0.5
FOLDER_VARIABLE = "KERAS_S4_DRUMS"
# Where Debian's package hydrogen-drumkits puts its kits, and where Hydrogen keeps a user's own.
INSTALLED = (Path("/usr/share/hydrogen/data/drumkits"), Path.home() / ".hydrogen/data/drumkits")
ADVICE = (
    "Install Debian's package hydrogen-drumkits, or unpack it, and name its folder usr/share/hydrogen/data/drumkits by "
    f"the variable {FOLDER_VARIABLE}."
)
# Names of instruments, in order: the first that fits says the class; those of none are other sounds, or say too little.
NAMES = (
    (r"clap|stick|click|roll|noise|fx", None),
    (r"hat|\bhh\b|\b(cl|op|pd)\b", "hat"),
    (r"crash.*ride|ride.*crash", None),
    (r"snare", "snare"),
    (r"kick|bass ?drum|\bbd\b", "kick"),
    (r"\btom", "tom"),
    (r"ride", "ride"),
    (r"crash", "crash"),
)
HATS = ((r"clos|\bcl\b|ped|\bpd\b|foot", "closed hat"), (r"open|\bop\b|swish", "open hat"))


def drums(fold: int = 0, frames: bool = True, folder: Path | str | None = None) -> Splits:
    """Hits on seven drums and cymbals, split by kit: each kit was recorded, or synthesised, by somebody else.

    A hit is 0.64 s from where it begins, the loudest sample 0.5: frames of 20 ms (`keras_s4.datasets.sound.frames_of`),
    or sound at 16 kHz. Its class is in the name of its instrument in the kit's `drumkit.xml`; hats are closed, which a
    pedal makes too, or open. Other sounds, and names that do not say which, are left out, as are all but one of equal
    files.

    Args:
        fold: which kits test and validate, 0 to 4; see `keras_s4.recordings.split_by_group`.
        frames: whether to return frames instead of sound.
        folder: with a folder for each kit; by default that of the variable KERAS_S4_DRUMS, or that of Hydrogen.

    Returns:
        Recordings whose labels index `DRUMS` and whose subjects are the names of the kits.

    Raises:
        FileNotFoundError: there are no kits, or a kit lacks a file.
        ModuleNotFoundError: the extra "sound" is not installed.
        ValueError: a file cannot be read, or another fold.
    """
    recordings = drum_recordings(frames, folder)
    return split_by_group(recordings, fold, FOLDS, names=DRUMS)


def drum_recordings(frames: bool = True, folder: Path | str | None = None) -> Recordings:
    """The hits of all kits; see `drums`."""
    place = require_folder(folder, FOLDER_VARIABLE, INSTALLED, "*/drumkit.xml", ADVICE)
    require("sound", "Drum hits")
    signals, labels, kits, known = [], [], [], set()
    for description in sorted(place.glob("*/drumkit.xml")):
        for path, label in sorted(_list_hits(description).items()):
            content = path.read_bytes()
            if content in known:
                continue
            known.add(content)
            sound = _cut_hit(read_sound(path))
            if sound is not None:
                signals.append(as_features(sound, frames))
                labels.append(DRUMS.index(label))
                kits.append(description.parent.name)
    if not signals:
        raise FileNotFoundError(f"The kits in {place} hold none of {', '.join(DRUMS)}. {ADVICE}")
    return Recordings(signals, np.array(labels), np.array(kits))


def drums_task(fold: int = 0, frames: bool = True, folder: Path | str | None = None) -> Task:
    """The drums as a task, classes weighed alike; the arguments are those of `drums`."""
    length, rate, sensors = shape_of(SAMPLES, frames)
    return Task(
        name="drums",
        title="Seven drums told apart",
        purpose="to recognise which of seven drums or cymbals is hit, from "
        + ("the energies in 20 bands every 20 ms" if frames else "its sound"),
        read=lambda: drums(fold, frames, folder),
        length=length,
        hop=length,
        sensors=sensors,
        classes=DRUMS,
        balance=True,
        rate=rate,
        group="kit",
        choices={"fold": fold, "frames": frames},
    )


def drum_of(instrument: str) -> str | None:
    """The class of an instrument by its name in a kit; None of other sounds, and of names that do not say it."""
    name = re.sub(r"[-_]+", " ", instrument.lower())
    found = next((label for pattern, label in NAMES if re.search(pattern, name)), None)
    if found == "hat":
        return next((label for pattern, label in HATS if re.search(pattern, name)), None)
    return found


def _list_hits(description: Path) -> dict[Path, str]:
    """The files of a kit and their classes; a file that is several drums' is of the first."""
    try:
        root = ElementTree.parse(description).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{description.parent.name}/{description.name} is damaged ({error}).") from error
    hits: dict[Path, str] = {}
    for instrument in root.iter():
        if _tag(instrument) == "instrument":
            label = drum_of(next((child.text or "" for child in instrument if _tag(child) == "name"), ""))
            files = [element.text for element in instrument.iter() if _tag(element) == "filename" and element.text]
            for file in files if label else ():
                hits.setdefault(description.parent / file, label)
    return hits


def _tag(element: ElementTree.Element) -> str:
    """Without its namespace, which older kits do not have."""
    return element.tag.rpartition("}")[2]


def _cut_hit(sound: np.ndarray) -> np.ndarray | None:
    """The hit from where it begins, the loudest sample `LOUDEST`; None of silence."""
    loudest = np.abs(sound).max(initial=0.0)
    if not loudest:
        return None
    start = int(np.argmax(np.abs(sound) > SILENCE * loudest))
    return LOUDEST / loudest * fit_samples(sound[start:], SAMPLES)
