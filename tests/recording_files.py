"""Folders of recordings as users bring them: tiny files, whose content says where it comes from."""

import numpy as np

from keras_s4.recordings.layout import Groups, Labels, Layout, Source

RATE = 50.0


def walk(steps=120, seed=0, columns=3):
    """Signals `[steps, columns]`, none of them like another's."""
    return np.random.default_rng(seed).normal(size=(steps, columns)).round(4)


def write_csv(path, columns, delimiter=",", decimal=".", header=True):
    """A CSV file of columns by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [delimiter.join(columns)] if header else []
    for row in zip(*columns.values(), strict=True):
        fields = [text if isinstance(text, str) else f"{text:.10g}".replace(".", decimal) for text in row]
        lines.append(delimiter.join(fields))
    path.write_text("\n".join(lines) + "\n")
    return path


def recording(steps=120, seed=0, rate=RATE):
    """Times in ms and three accelerations, as Edge Impulse exports them."""
    axes = dict(zip(("accX", "accY", "accZ"), walk(steps, seed).T, strict=True))
    return {"timestamp": np.arange(steps) * 1000.0 / rate, **axes}


def folders_of_classes(folder, classes=("rest", "run", "walk"), people=5, steps=120):
    """`walk/person3_1.csv`: a folder a class, a file a person."""
    for index, name in enumerate(classes):
        for person in range(people):
            write_csv(folder / name / f"person{person}_1.csv", recording(steps, seed=100 * index + person))
    return folder


def write_toml(path, text):
    """A task file; `{` and `}` of its patterns stay as they are."""
    path.write_text(text)
    return path


def layout(folder, labels=None, groups=None, channels=(), aim="classes", **source):
    """What is said of CSV files with times in ms, section by section."""
    return Layout(
        source=Source(folder=folder, **({"path": "*.csv", "time": "timestamp", "time_unit": "ms"} | source)),
        labels=Labels(**(labels or {})),
        groups=Groups(**(groups or {})),
        channels=tuple(channels),
        aim=aim,
    )


def write_all(folder, count=4, steps=120, **columns):
    """`0.csv`, `1.csv` and so on, with further columns."""
    for index in range(count):
        write_csv(folder / f"{index}.csv", recording(steps, seed=index) | columns)
    return folder
