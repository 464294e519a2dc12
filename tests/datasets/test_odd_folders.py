"""Folders as people leave them: the task file is TOML, true, and read back as the task that was tried."""

import os
import struct
import tomllib

import numpy as np
import pytest
from recording_files import RATE, folders_of_classes, recording, walk, write_csv

from keras_s4.datasets import read_task
from keras_s4.datasets.surveying import survey
from keras_s4.datasets.surveying.columns import sensors_of
from keras_s4.datasets.surveying.draft import Entry, comment_lines

ODD = ('a "q"', "b\\c", "d'e", "new\nline", "tab\tx", "\u00fcber", "#hash", "a  b", "x,y", "=", "\x7fdel", "\\'both'")


def survey_and_read(folder, path):
    """What was found, and the task of the file that was written; they say the same."""
    found = survey(folder, path)
    assert not found.problem
    path.write_text(found.text)
    task = read_task(path)
    assert (task.classes, task.features, task.length, task.rate) == (
        found.task.classes,
        found.task.features,
        found.task.length,
        found.task.rate,
    )
    assert tuple(len(part) for part in task.splits) == found.splits
    return found, task


@pytest.mark.parametrize("value", [list(ODD), [f"class of many words {i}  and spaces" for i in range(20)], *ODD])
def test_values_and_comments_are_toml(value):
    entry = Entry("key", value, f"found in {value}\r\n\x00")
    text = "\n".join([*comment_lines([f"{value}\x7f\x1b[0m"]), entry.text])
    assert tomllib.loads(text) == {"key": value}
    assert not tomllib.loads(Entry("key", value, "as shown", active=False).text)
    names = Entry("names", dict.fromkeys(ODD, "x")).text
    assert tomllib.loads(names) == {"names": dict.fromkeys(ODD, "x")}


def test_classes_of_odd_names(tmp_path):
    folders_of_classes(tmp_path / "data", ODD, people=3, steps=40)
    _, task = survey_and_read(tmp_path / "data", tmp_path / 'my "task".toml')
    assert set(task.classes) == set(ODD) and task.name == 'my "task"' and task.group == "person"


def test_files_that_differ_in_order_columns_and_letters(tmp_path):
    """Columns in another order, one more of them, other letters in the ending, and what operating systems leave."""
    data = folders_of_classes(tmp_path / "data")
    write_csv(data / "run" / "person1_1.csv", dict(reversed(recording(seed=101).items())))
    write_csv(data / "run" / "person2_1.csv", recording(seed=102) | {"battery": np.full(120, 3.3)})
    (data / "run" / "person3_1.csv").rename(data / "run" / "person3_1.CSV")
    (data / "run" / "Thumbs.db").write_bytes(b"\0")
    (data / "__MACOSX").mkdir()
    (data / "__MACOSX" / "._person1_1.csv").write_bytes(b"\0\1")
    found, task = survey_and_read(data, tmp_path / "task.toml")
    assert found.classes["run"] == (5, 600) and task.group == "person"
    assert task.features == ("acceleration x", "acceleration y", "acceleration z")
    assert found.left_out == {"battery": "not in all files"}
    signals = {signal.tobytes() for part in task.splits for signal in part.signals}
    for seed in (101, 102, 103):
        assert walk(seed=seed).astype(np.float32).tobytes() in signals


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"run/person1_1\.csv is empty"),
        (b"timestamp,accX,accY,accZ\n", r"run/person1_1\.csv holds no row of data"),
        (b"this,that\n1,2\n", r"run/person1_1\.csv has other columns than most \(this, that\)\. Move it away"),
    ],
)
def test_a_file_that_is_no_recording_is_named(tmp_path, content, message):
    data = folders_of_classes(tmp_path / "data")
    (data / "run" / "person1_1.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        raise ValueError(survey(data, tmp_path / "task.toml").problem)


def test_names_that_are_no_text(tmp_path):
    data = folders_of_classes(tmp_path / "data")
    try:
        os.rename(data / "run" / "person1_1.csv", os.fsencode(str(data / "run")) + b"/person\xe9_1.csv")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    with pytest.raises(ValueError, match=r"is no text in UTF-8\. Rename it"):
        survey(data, tmp_path / "task.toml")


@pytest.mark.parametrize(
    ("events", "unit"),
    [
        (("1000", "3000"), "ms"),
        (("1", "3"), "s"),
        (("1700000001000", "1700000003000"), "time"),
    ],
)
def test_events_are_in_the_unit_in_which_they_fit(tmp_path, events, unit):
    for index in range(5):
        columns = recording(300, seed=index)
        columns["timestamp"] = [str(1_700_000_000_000 + 20 * step) for step in range(300)]
        write_csv(tmp_path / "data" / f"r{index}.csv", columns)
    rows = [f"r{index},{events[0]},{events[1]},knock" for index in range(5)]
    (tmp_path / "data" / "events.csv").write_text("\n".join(["file,start,end,label", *rows]))
    found, task = survey_and_read(tmp_path / "data", tmp_path / "task.toml")
    assert tomllib.loads(found.text)["labels"]["unit"] == unit
    labels = task.splits.test.labels[0]
    np.testing.assert_array_equal(np.flatnonzero(labels == task.classes.index("knock")), np.arange(50, 150))
    assert "# Of the steps: background 66.7% (5 recordings), knock 33.3% (5 recordings)." in found.text


def write_sound(path, channels, seed):
    samples = (1000 * walk(4000, seed, channels)).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, channels, 8000, 16000 * channels, 2 * channels, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples)) + samples
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)


def test_sounds_of_one_and_two_channels(tmp_path):
    for index in range(10):
        write_sound(tmp_path / "data" / ("no", "yes")[index % 2] / f"{index}.wav", 1 + index % 2, index)
    found, task = survey_and_read(tmp_path / "data", tmp_path / "task.toml")
    assert task.features == ("sound",) and task.rate == 8000.0 and tomllib.loads(found.text)["recordings"]["mono"]


def test_all_sounds_that_cannot_be_read_are_named(tmp_path):
    for index in range(10):
        write_sound(tmp_path / "data" / ("no", "yes")[index % 2] / f"{index}.wav", 1, index)
    cut, other = (tmp_path / "data" / "no" / f"{index}.wav" for index in (2, 4))
    cut.write_bytes(cut.read_bytes()[:-10])
    other.write_bytes(b"FORM....AIFF")
    problem = survey(tmp_path / "data", tmp_path / "task.toml").problem
    assert problem.startswith("no/2.wav is cut off: 7,990 bytes of samples are there of 8,000, as when a copy was")
    assert "(and 1 more file: no/4.wav). Move them away, or choose" in problem


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (np.arange(30) % 3, "classes", ("0", "1", "2")),
        (np.arange(30) / 7, "targets", ("label",)),
        (np.stack([np.arange(30) % 2, np.arange(30) % 3 == 0], 1), "multi_label", ("label 1", "label 2")),
        (np.stack([np.arange(30) / 7, np.arange(30.0)], 1), "targets", ("label 1", "label 2")),
    ],
)
def test_arrays_by_what_their_labels_are(tmp_path, labels, kind, names):
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "all.npz", x=walk(30 * 40, columns=2).reshape(30, 40, 2), y=labels)
    found, task = survey_and_read(tmp_path / "data", tmp_path / "task.toml")
    assert tomllib.loads(found.text)["task"]["kind"] == kind and task.outputs == names
    assert task.features == ("x 1", "x 2") and not found.left_out


def test_what_would_tell_the_label_is_left_out(tmp_path):
    for index in range(6):
        columns = recording(300, seed=index) | {"target": walk(300, 9)[:, 0], "label": np.arange(300) // 100 % 2}
        write_csv(tmp_path / "data" / f"r{index}.csv", columns)
    found, task = survey_and_read(tmp_path / "data", tmp_path / "task.toml")
    assert found.left_out == {"target": "called like a label"} and len(task.features) == 3


def test_facts_of_times_values_and_balance(tmp_path):
    for index in range(6):
        columns = recording(600 if index % 2 else 60, seed=index, rate=RATE if index else 25.0)
        texts = [f"{value:g}" for value in columns["accX"]]
        texts[7:9] = ["", ""]
        write_csv(tmp_path / "data" / ("rare", "often")[index % 2] / f"{index}.csv", columns | {"accX": texts})
    found, _ = survey_and_read(tmp_path / "data", tmp_path / "task.toml")
    facts = dict(found.facts())
    assert facts["Rate"] == "50 steps a second" and facts["Rates"] == "25 to 50, brought to the one above"
    assert facts["Missing values"] == "12, up to 2 in a row"
    assert "# balance = true" in found.text


def test_a_class_in_the_test_alone(tmp_path, recwarn):
    """Recordings that say their split say nothing false about classes of the test."""
    for split, names, people in (("train", ("run", "walk"), 5), ("test", ("run", "walk", "jump"), 2)):
        for index, name in enumerate(names):
            for person in range(people):
                who = f"{split[:2]}{person}"
                write_csv(tmp_path / "data" / split / name / f"{who}_1.csv", recording(seed=100 * index + person))
    found = survey(tmp_path / "data", tmp_path / "task.toml")
    assert "class jump is in test only" in found.problem
    assert not [warning for warning in recwarn if "in no recording" in str(warning.message)]


def test_sensors_of_one_quantity_have_names_of_their_own():
    units = {"acc_x [g]": "g", "acc_y [g]": "g", "acc_x [mg]": "mg", "acc_y [mg]": "mg"}
    found = sensors_of(list(units), units)
    assert [channel.name for channel in found] == ["acceleration", "acceleration 2"]
    assert [channel.unit for channel in found] == ["g", "mg"] and found[1].axes == ("x", "y")
