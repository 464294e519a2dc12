"""What names of columns, files and folders tell of what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keras_s4.recordings.loading import SPLIT_NAMES

TIME = {
    "time",
    "timestamp",
    "timestamps",
    "ts",
    "t",
    "date",
    "datetime",
    "epoch",
    "utc",
    "millis",
    "micros",
    "elapsed",
    "zeit",
}
LABEL = {
    *("label", "labels", "class", "classes", "category", "activity", "target", "y", "event", "state", "gesture"),
    *("word", "type", "condition", "annotation", "truth", "gt", "appliance", "exercise", "status", "name"),
}
# What no sensor is called.
TRUTH = {
    "label",
    "labels",
    "target",
    "targets",
    "class",
    "classes",
    "activity",
    "category",
    "annotation",
    "truth",
    "gt",
}
GROUP = {
    *("group", "subject", "subj", "sub", "person", "user", "participant", "patient", "speaker", "machine", "device"),
    *("animal", "house", "home", "room", "site", "kit", "rider", "driver", "vehicle", "worker", "volunteer", "actor"),
    *("pid", "uid", "subjectid", "userid", "player", "wearer", "motor", "pump", "bearing", "unit"),
}
RECORDING = {
    *("recording", "session", "trial", "experiment", "exp", "run", "rep", "repetition", "segment", "sequence", "take"),
    *("file", "filename", "wav", "path", "recordingid", "series", "measurement"),
}
FILE = {"file", "filename", "path", "recording", "wav", "name", "sample", "audio", "fname", "slice", "id"}
SPLIT = {"split", "subset", "partition", "set", "usage"}
INDEX = {
    "index",
    "idx",
    "row",
    "n",
    "counter",
    "count",
    "step",
    "nr",
    "no",
    "seq",
    "frame",
    "number",
    "unnamed",
    "sample",
}
START = {"start", "begin", "onset", "from", "starttime", "begintime", "first", "t0", "tmin", "startsample"}
END = {"end", "stop", "offset", "to", "endtime", "stoptime", "finish", "last", "t1", "tmax", "endsample"}
# The class that means that nothing happens.
BACKGROUND = (
    "background",
    "idle",
    "noise",
    "silence",
    "unknown",
    "none",
    "null",
    "nothing",
    "rest",
    "other",
    "no_event",
)
AXES = {"x", "y", "z", "w"}
QUANTITIES = {
    "acc": "acceleration",
    "accel": "acceleration",
    "accelerometer": "acceleration",
    "a": "acceleration",
    "gyr": "angular velocity",
    "gyro": "angular velocity",
    "gyroscope": "angular velocity",
    "g": "angular velocity",
    "mag": "magnetic field",
    "magnetometer": "magnetic field",
    "m": "magnetic field",
}
# Files of several sensors of a recording are named by them.
SENSORS = {
    *("acc", "accel", "accelerometer", "gyr", "gyro", "gyroscope", "mag", "magnetometer", "imu", "ecg", "emg", "eda"),
    *("ppg", "bvp", "temp", "temperature", "pressure", "current", "voltage", "vibration", "linacc", "gravity"),
}
UNITS = {"s", "sec", "seconds", "ms", "us", "ns", "min", "millis", "micros", "nanos", "milliseconds", "hz"}
TIME_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "seconds", "second"), "s"),
    **dict.fromkeys(("ms", "millis", "milliseconds", "msec"), "ms"),
    **dict.fromkeys(("us", "µs", "micros", "microseconds", "usec"), "us"),
    **dict.fromkeys(("ns", "nanos", "nanoseconds", "nsec"), "ns"),
    **dict.fromkeys(("min", "minutes"), "min"),
    **dict.fromkeys(("h", "hours"), "h"),
}
_WORD = re.compile(r"[A-ZÄÖÜ]?[a-zäöüµ]+|[A-ZÄÖÜ]+(?![a-zäöü])|\d+")


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: of "accX_ms" acc, x, ms."""
    return [word.casefold() for word in _WORD.findall(name)]


def means(name: str, meaning: set[str]) -> bool:
    """Whether a name is one of these words, or begins or ends with one."""
    words = words_of(name)
    joined = "".join(words)
    if joined in meaning:
        return True
    words = [word for word in words if not word.isdigit()]
    return bool(words) and (words[0] in meaning or words[-1] in meaning) and len(words) <= 3


def best_name(names: Iterable[str], meaning: set[str]) -> str:
    """The name that means it best: exactly, or as the first of its words; "" if none does."""
    names = list(names)
    for fits in (
        lambda name: "".join(words_of(name)) in meaning,
        lambda name: means(name, meaning),
    ):
        found = [name for name in names if fits(name)]
        if found:
            return found[0]
    return ""


def are_splits(names: Iterable[str]) -> bool:
    """Whether these are names of splits, training and test among them."""
    sides = {side for name in names for side in [split_of(name)]}
    return "" not in sides and {"train", "test"} <= sides


def split_of(name: str) -> str:
    """The split that a name means; "" if none."""
    return next((split for split, words in SPLIT_NAMES.items() if name.casefold() in words), "")


def background_of(classes: Sequence[str]) -> str:
    """The class that means that nothing happens; "" if none does."""
    return next((name for word in BACKGROUND for name in classes if name.casefold().strip("_") == word), "")


def looks_like_groups(names: Sequence[str]) -> bool:
    """Whether these are persons or machines by number: "person3", "S01"; or by number alone."""
    found = [re.fullmatch(r"([^\W\d]*?)[ _-]*(\d+)", name) for name in names]
    if len(names) < 2 or not all(found):
        return False
    prefixes = {match[1].casefold() for match in found}
    return len(prefixes) == 1 and (prefixes <= GROUP | {"", "p", "s", "u", "m", "d", "id"})


def split_axis(name: str) -> tuple[str, str]:
    """Quantity and axis of a column: of "accX" acceleration and x; "" if there is no axis."""
    bare = re.sub(r"\s*[(\[].*$", "", name).strip()
    words = words_of(bare)
    numbered = re.fullmatch(r"(.*[^\W\d])[ _.\-]*(\d+)", bare)
    if numbered:
        return numbered[1].strip(" _.-"), numbered[2]
    if len(words) > 1 and words[-1] in AXES:
        quantity, axis = words[:-1], words[-1]
    elif len(words) > 1 and words[0] in AXES and len(words[0]) == 1:
        quantity, axis = words[1:], words[0]
    elif len(words) == 1 and len(words[0]) == 2 and words[0][1] in AXES and words[0][0] in QUANTITIES:
        quantity, axis = [words[0][0]], words[0][1]
    elif len(words) == 1 and words[0][-1] in AXES and words[0][:-1] in QUANTITIES:
        quantity, axis = [words[0][:-1]], words[0][-1]
    elif len(words) == 1 and words[0] in AXES:
        quantity, axis = [], words[0]
    else:
        return bare, ""
    text = " ".join(QUANTITIES.get(word, word) for word in quantity if word not in UNITS)
    return text or "sensor", axis
