"""Folders that nobody prepared: what `survey` finds in them is what was put there, and its file is ready to run."""

import wave

import numpy as np
import pytest
from recording_files import RATE, folders_of_classes, recording, write_csv

from keras_s4.datasets import read_task
from keras_s4.datasets.surveying import survey


def edge_impulse(folder):
    for index, name in enumerate(("idle", "snake", "wave")):
        for take in range(6):
            side = "testing" if take == 5 else "training"
            write_csv(folder / side / f"{name}.{1000 + 37 * take:x}.csv", recording(seed=10 * index + take))


def wisdm(folder):
    random, lines = np.random.default_rng(0), []
    for person in range(1, 7):
        time = 49_000_000_000_000 * person
        for activity in ("Walking", "Jogging", "Sitting"):
            for _ in range(100):
                time += 50_000_000
                x, y, z = random.normal(size=3)
                lines.append(f"{person},{activity},{time},{x:.6f},{y:.6f},{z:.6f};")
            time += 10_000_000_000
    folder.mkdir()
    (folder / "WISDM_ar_v1.1_raw.txt").write_text("\n".join(lines) + "\n")


def human_activity(folder):
    random = np.random.default_rng(0)
    for split, rows in (("train", 24), ("test", 12)):
        (folder / split / "Inertial Signals").mkdir(parents=True)
        for sensor in ("body_acc_x", "body_acc_y", "body_acc_z"):
            path = folder / split / "Inertial Signals" / f"{sensor}_{split}.txt"
            np.savetxt(path, random.normal(size=(rows, 64)), fmt=" %.7e")
        np.savetxt(folder / split / f"y_{split}.txt", np.arange(rows) % 3 + 1, fmt="%d")
        np.savetxt(
            folder / split / f"subject_{split}.txt", np.arange(rows) // 4 + (1 if split == "train" else 20), fmt="%d"
        )


def events(folder):
    for person in range(5):
        columns = recording(1000, seed=person)
        columns["time"] = columns.pop("timestamp") / 1000
        write_csv(folder / "recordings" / f"p{person}.csv", {"time": columns.pop("time"), **columns})
    rows = [
        f"p{person}.csv,{1 + 4 * k},{3 + 4 * k},{'knock' if k % 2 else 'slide'}"
        for person in range(5)
        for k in range(4)
    ]
    (folder / "events.csv").write_text("\n".join(["file,start,end,label", *rows]) + "\n")


def table(folder):
    rows = ["filename,class,subject"]
    for index in range(18):
        write_csv(folder / f"{index:03d}.csv", recording(seed=index))
        rows.append(f"{index:03d},{'good' if index % 3 else 'bad'},S{index // 3}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")


def arrays(folder):
    folder.mkdir()
    x = np.random.default_rng(0).normal(size=(30, 80, 3))
    np.savez(folder / "data.npz", x=x, y=np.arange(30) % 3, groups=np.arange(30) // 5)


def rows(folder):
    folder.mkdir()
    values = np.random.default_rng(0).normal(size=(40, 96))
    np.savetxt(folder / "ECG.csv", np.column_stack([np.arange(40) % 2, values]), delimiter=",", fmt="%.5g")


def persons(folder):
    for person in range(5):
        for index, name in enumerate(("jump", "lunge", "squat")):
            for take in range(2):
                seed = 100 * person + 10 * index + take
                write_csv(folder / f"person_{person:02d}" / f"{name}_{take + 1}.csv", recording(seed=seed))


def sounds(folder):
    random = np.random.default_rng(0)
    for word in ("no", "yes"):
        for speaker in range(5):
            path = folder / word / f"speaker{speaker}_{word}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(random.integers(-3000, 3000, 4000 + 100 * speaker).astype("<i2").tobytes())


def one_log(folder):
    label = np.where(np.arange(3000) // 100 % 2, "on", "off").tolist()
    write_csv(folder / "log.csv", recording(3000) | {"label": label})


@pytest.mark.parametrize(
    ("make", "classes", "groups", "rate", "features", "split"),
    [
        (folders_of_classes, ("rest", "run", "walk"), 5, RATE, 3, "group"),
        (edge_impulse, ("idle", "snake", "wave"), None, RATE, 3, "given"),
        (wisdm, ("Jogging", "Sitting", "Walking"), 6, 20.0, 3, "group"),
        (human_activity, ("1", "2", "3"), 9, None, 3, "given"),
        (events, ("background", "knock", "slide"), None, RATE, 3, "group"),
        (table, ("bad", "good"), 6, RATE, 3, "group"),
        (arrays, ("0", "1", "2"), 6, None, 3, "group"),
        (rows, ("0", "1"), None, None, 1, "group"),
        (persons, ("jump", "lunge", "squat"), 5, RATE, 3, "group"),
        (sounds, ("no", "yes"), 5, 8000.0, 1, "group"),
        (one_log, ("off", "on"), None, RATE, 3, "time"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_layouts(tmp_path, make, classes, groups, rate, features, split):
    make(tmp_path / "data")
    found = survey(tmp_path / "data", tmp_path / "task.toml")
    assert not found.problem
    (tmp_path / "task.toml").write_text(found.text)
    task = read_task(tmp_path / "task.toml")
    assert task.classes == classes and tuple(found.classes) == classes
    assert task.rate == rate and task.input_shape[1] == features and task.choices["split"] == split
    front = task.settings.get("front", 0)
    assert (task.live is None) == (rate is None or bool(front))
    assert bool(front) == (task.length > 2000) and (
        not front or (task.length % front == 0 and task.length / front > 200)
    )
    sizes = tuple(len(part) for part in task.splits)
    assert sizes == found.splits and min(sizes) > 0
    if groups is None:
        assert task.group is None
    else:
        assert len({group for part in task.splits for group in part.subjects.tolist()}) == groups
    x, y = task.windows("train")
    assert x.shape[1:] == task.input_shape and set(y) == set(range(len(classes)))


def faults(folder):
    random = np.random.default_rng(0)
    for index, name in enumerate(("low", "high")):
        for person in range(5):
            columns = recording(300, seed=10 * index + person)
            columns["timestamp"] = columns["timestamp"] + np.cumsum(random.normal(0, 4, 300))
            columns["timestamp"][150:] += 5000
            columns["accX"][20:22] = np.nan
            columns["accY"][100:130] = np.nan
            columns["accZ"] = np.clip(2 * columns["accZ"], -1.5, 1.5)
            columns |= {"battery": np.full(300, 3.3), "code": np.full(300, index + 1.0), "index": np.arange(300.0)}
            texts = {
                key: ["" if value != value else f"{value:.7g}" for value in values] for key, values in columns.items()
            }
            write_csv(folder / name / f"subject{person}.csv", texts)
    columns = (folder / "low" / "subject0.csv").read_bytes()
    (folder / "low" / "subject5.csv").write_bytes(columns)


def test_faults_are_found_and_mended(tmp_path):
    faults(tmp_path / "data")
    found = survey(tmp_path / "data", tmp_path / "task.toml")
    assert not found.problem
    for line in (
        'irregular = "resample"',
        'missing = "interpolate"',
        'duplicates = "drop"',
        "accZ is CLIPPED in 11 recordings",
        "'battery' is left out: always 3.3",
        "'index' is left out: numbers of the steps",
        "'code' is left out: one value a class",
        "11 gaps in time, the longest of 5",
        "352 missing values, up to 30 in a row",
        "1 recording copied from others, such as low/subject0.csv = low/subject5.csv",
    ):
        assert line in found.text, line
    assert found.task.features == ("acceleration x", "acceleration y", "acceleration z")
    # Each recording is cut at its gap and where 30 values are missing: 100, 20 and 150 steps are left, more or less by
    # the random walk of their times.
    lengths = [len(signal) for part in found.task.splits for signal in part.signals]
    assert len(lengths) == 30 and all(min(abs(length - whole) for whole in (20, 100, 150)) < 10 for length in lengths)


def test_a_folder_without_labels_says_what_to_write(tmp_path):
    for index in range(6):
        write_csv(tmp_path / "data" / f"{index}.csv", recording(seed=index))
    found = survey(tmp_path / "data", tmp_path / "task.toml")
    assert "No labels were found" in found.problem and "NOT READY TO RUN" in found.text
    (tmp_path / "task.toml").write_text(found.text)
    with pytest.raises(ValueError, match=r"\[labels\] table is .*labels\.csv, which is no file; expected a CSV file"):
        read_task(tmp_path / "task.toml")
    rows = [f"{index}.csv,{'odd' if index % 2 else 'even'}" for index in range(6)]
    (tmp_path / "data" / "labels.csv").write_text("\n".join(["file,label", *rows]))
    task = read_task(tmp_path / "task.toml")
    assert task.classes == ("even", "odd")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    folders_of_classes(tmp_path / "data")
    (tmp_path / "data" / "run" / "person1_1.csv").write_bytes(b"\x00\x01\x02" * 100)
    found = survey(tmp_path / "data", tmp_path / "task.toml")
    assert "run/person1_1.csv is no text" in found.problem and found.task is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is empty; expected recordings"),
        (("a.mp3", "b.mp3"), r"has no file of recordings: a\.mp3, b\.mp3; .* Convert it to WAV"),
        (("a.mat",), r"Save its arrays as \.npz"),
    ],
)
def test_folders_without_recordings(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=message):
        survey(tmp_path)
