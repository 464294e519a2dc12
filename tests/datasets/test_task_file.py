"""Tasks from TOML files: what they say is what the task is, and what they cannot say is refused by name."""

import numpy as np
import pytest
from recording_files import RATE, folders_of_classes, recording, write_csv, write_toml

from keras_s4.datasets import read_task, task_of_arrays

PLAIN = """
[recordings]
folder = "data"
path = "{label}/person{group}_*.csv"
time = "timestamp"
time_unit = "ms"

[groups]
source = "path"
name = "person"

[windows]
seconds = 1.0
"""


@pytest.fixture
def folder(tmp_path):
    folders_of_classes(tmp_path / "data")
    return tmp_path


def test_a_folder_of_classes(folder):
    task = read_task(write_toml(folder / "movements.toml", PLAIN))
    assert task.name == "movements" and task.classes == ("rest", "run", "walk") and task.group == "person"
    assert task.rate == RATE and (task.length, task.hop) == (50, 25)
    assert task.features == ("accX", "accY", "accZ")
    train, validation, test = task.splits
    assert len(train) + len(validation) + len(test) == 15
    assert len(test) == 3 and set(test.labels) == {0, 1, 2} and len(set(test.subjects)) == 1
    index = list(train.subjects).index(train.subjects[0])
    own = recording(seed=100 * train.labels[index] + int(train.subjects[index]))
    np.testing.assert_allclose(train.signals[index], np.stack([own["accX"], own["accY"], own["accZ"]], 1), atol=1e-6)
    x, y = task.windows("test")
    assert x.shape == (9, 50, 3)
    np.testing.assert_array_equal(np.bincount(y), [3, 3, 3])


def test_folds_hold_out_other_people(folder):
    path = write_toml(folder / "task.toml", PLAIN)
    tested = [set(read_task(path, fold).splits.test.subjects) for fold in range(5)]
    assert set.union(*tested) == set("01234") and sum(map(len, tested)) == 5
    assert read_task(path, 3).choices == {"split": "group", "fold": 3}
    with pytest.raises(ValueError, match=r"expected a whole number from 0 to 4"):
        _ = read_task(path, 5).splits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[windows]", "[window]"), r"no key 'window'; it has .*Did you mean 'windows'\?"),
        (("time_unit", "timeunit"), r"\[recordings\] has no key 'timeunit'.*Did you mean 'time_unit'\?"),
        (("seconds = 1.0", 'seconds = "1"'), r"\[windows\] seconds is '1'; expected a number"),
        (('"ms"', '"millis"'), r"\[recordings\] time_unit is 'millis'; expected one of 's', 'ms'"),
        (("seconds = 1.0", ""), r"\[windows\] has neither seconds nor length"),
        (('"data"', '"date"'), r"The folder of the recordings, .*date, does not exist"),
        (("person{group}_*", "{who}_*"), r"has the field \{who\}; expected one of \{label\}, \{group\}"),
        (("*.csv", "*.wav"), r"has no file '\{label\}/person\{group\}_\*\.wav': rest/person0_1\.csv"),
        (("seconds = 1.0", "seconds = 1.0 s"), r"is no TOML file"),
        (('time = "timestamp"', 'time = "t"'), r"has no column 't' for times; it has timestamp, accX"),
    ],
)
def test_what_a_file_cannot_say(folder, change, message):
    path = write_toml(folder / "task.toml", PLAIN.replace(*change))
    with pytest.raises(ValueError, match=message) as error:
        _ = read_task(path).splits
    assert "task.toml" in str(error.value)


def test_a_task_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"There is no task file .*keras-s4 new FOLDER"):
        read_task(tmp_path / "none.toml")


def test_recordings_are_read_when_they_are_needed(folder):
    """Where the file says all that the task needs, runs that are done read nothing."""
    text = PLAIN.replace("[recordings]", "[recordings]\nrate = 50") + (
        '[labels]\nclasses = ["rest", "run", "walk"]\n'
        '[[sensors]]\nname = "acceleration"\ncolumns = ["accX", "accY", "accZ"]\naxes = ["x", "y", "z"]\nunit = "g"\n'
    )
    task = read_task(write_toml(folder / "task.toml", text))
    write_csv(folder / "data/run/person0_1.csv", recording(seed=1) | {"accX": np.full(120, 7.0)})
    assert task.features == ("acceleration x", "acceleration y", "acceleration z")
    assert any((signal[:, 0] == 7.0).all() for part in task.splits for signal in part.signals)


def test_sections_of_others_are_passed_on(folder):
    text = PLAIN + (
        '[training]\nepochs = 3\n[decision]\nthreshold = 0.8\n[live]\npooling = "sliding"\nbackground = "rest"\n'
    )
    task = read_task(write_toml(folder / "task.toml", text))
    assert task.settings == {"epochs": 3} and task.decision == {"threshold": 0.8}
    assert task.live.pooling == "sliding" and task.live.background == "rest"


@pytest.mark.parametrize(
    ("prepare", "change", "message"),
    [
        (lambda data: [path.unlink() for path in data.rglob("*.csv")], ("", ""), r"has no file .*: it is empty"),
        (
            lambda data: [path.unlink() for name in ("run", "rest") for path in (data / name).iterdir()],
            ("", ""),
            r"one class only, 'walk'; expected two or more",
        ),
        (
            lambda data: [(data / "run" / f"person{person}_1.csv").unlink() for person in range(4)],
            ("folds", "folds"),
            r"class run is in (validation|test) only",
        ),
        (
            lambda data: None,
            ("seconds = 1.0", "seconds = 3.0"),
            r"Windows of 150 steps are longer than all 15 recordings",
        ),
        (
            lambda data: [
                write_csv(path, recording(40, seed=index)) for index, path in enumerate((data / "run").iterdir())
            ],
            ("", ""),
            r"Windows of 50 steps are longer than all recordings of run",
        ),
        (
            lambda data: [path.unlink() for path in data.rglob("person[1-4]_1.csv")],
            ("", ""),
            r"got 1 group for folds=5; expected at least as many groups as folds",
        ),
        (
            lambda data: (data / "run" / "person1_1.csv").write_bytes(b"\0" * 99),
            ("", ""),
            r"run/person1_1\.csv is no text: it holds zero bytes",
        ),
    ],
)
def test_recordings_that_cannot_be_trained_on(folder, prepare, change, message):
    prepare(folder / "data")
    path = write_toml(folder / "task.toml", PLAIN.replace(*change))
    with pytest.raises(ValueError, match=message):
        for fold in range(5):
            _ = read_task(path, fold).splits


def test_short_recordings_are_left_out_and_named(folder):
    write_csv(folder / "data/run/person0_1.csv", recording(40))
    with pytest.warns(UserWarning, match=r"1 of 15 recordings are shorter than a window of 50 steps.*run/person0_1"):
        _ = read_task(write_toml(folder / "task.toml", PLAIN)).splits


def test_splits_in_time_and_as_the_recordings_say(folder):
    task = read_task(write_toml(folder / "time.toml", PLAIN.replace("1.0", "0.2") + '[split]\nby = "time"\n'))
    assert task.group is None and [len(part) for part in task.splits] == [15, 15, 15]
    (folder / "data").rename(folder / "train")
    folders_of_classes(folder / "test", people=7)
    for person in range(5):
        for name in ("rest", "run", "walk"):
            (folder / "test" / name / f"person{person}_1.csv").unlink()
    text = PLAIN.replace('"data"', '"."').replace('"{label}', '"{split}/{label}') + '[split]\nby = "given"\n'
    task = read_task(write_toml(folder / "given.toml", text))
    assert set(task.splits.test.subjects) == {"5", "6"}
    assert [len(part) for part in task.splits] == [12, 3, 6]


def test_arrays_in_a_few_lines():
    random = np.random.default_rng(0)
    x = [random.normal(size=(60 + 5 * index, 3)) for index in range(12)]
    people = np.repeat(["ann", "bob", "cid", "dan", "eve", "fay"], 2)
    task = task_of_arrays(x, ["rest", "walk"] * 6, people, rate=50.0, length=30, group="person", epochs=3)
    assert task.classes == ("rest", "walk") and task.group == "person" and task.settings == {"epochs": 3}
    assert task.input_shape == (30, 3) and len(task.splits.train) == 8
    signals = [signal for part in task.splits for signal in part.signals]
    assert sorted(map(len, signals)) == [len(signal) for signal in x]
    numbered = task_of_arrays(np.stack([s[:60] for s in x]), [0, 1] * 6, people, classes=("rest", "walk"))
    assert numbered.classes == ("rest", "walk") and numbered.length == 60
    measured = task_of_arrays(x, random.normal(size=(12, 2)), kind="targets", targets=("speed", "load"), length=20)
    assert measured.outputs == ("speed", "load") and measured.splits.train.labels.shape[1] == 2
    several = task_of_arrays(x, random.integers(0, 2, (12, 2)), kind="multi_label", classes=("hum", "knock"), length=20)
    assert several.classes == ("hum", "knock") and several.multi_label
    foretold = task_of_arrays(x, kind="forecast", horizon=3, length=20)
    assert foretold.horizon == 3 and len(foretold.splits.test)
    odd = task_of_arrays(x, [0] * 8 + [1] * 4, kind="anomaly", length=20)
    assert odd.anomaly and sorted(int(label) for part in odd.splits for label in part.labels) == [0] * 8 + [1] * 4
