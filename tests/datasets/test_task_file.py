"""Tasks from TOML files: what they say is what the task is, and what they cannot say is refused by name."""

import numpy as np
import pytest
from recording_files import RATE, folders_of_classes, recording, write_csv, write_toml

from keras_s4.datasets import read_task

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
