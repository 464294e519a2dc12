"""From files to recordings: which files belong together, and what does not fit is named."""

import dataclasses

import numpy as np
import pytest
from recording_files import layout, recording, walk, write_all, write_csv

from keras_s4.recordings.layout import Channels, Groups, Layout
from keras_s4.recordings.loading import load, load_arrays


class TestFiles:
    def test_a_change_of_person_begins_another_recording(self, tmp_path):
        columns = recording(120) | {"label": ["x"] * 60 + ["y"] * 60, "who": ["ann"] * 40 + ["bob"] * 80}
        write_csv(tmp_path / "a.csv", columns)
        found = load(layout(tmp_path, groups={"source": "column", "column": "who"}))
        assert [len(signal) for signal in found.recordings.signals] == [40, 80]
        assert found.recordings.subjects.tolist() == ["ann", "bob"]
        found = load(layout(tmp_path, recording=("label", "who")))
        assert [len(signal) for signal in found.recordings.signals] == [40, 20, 60]

    def test_files_of_several_sensors_are_joined(self, tmp_path):
        for take in range(3):
            for sensor, seed in (("acc", 0), ("gyro", 50)):
                columns = {"x": walk(60, seed + take)[:, 0], "y": walk(60, seed + take)[:, 1]}
                write_csv(tmp_path / f"{sensor}_run_{take}.csv", columns)
        found = load(layout(tmp_path, path="{sensor}_{label}_{recording}.csv", time=""))
        assert [channel.name for channel in found.channels] == ["acc x", "acc y", "gyro x", "gyro y"]
        np.testing.assert_allclose(found.recordings.signals[1][:, 2], walk(60, 51)[:, 0], atol=1e-6)
        write_csv(tmp_path / "gyro_run_2.csv", {"x": np.zeros(59), "y": np.zeros(59)})
        with pytest.raises(ValueError, match=r"acc_run_2\.csv has 60 rows, gyro_run_2\.csv, .* has 59"):
            load(layout(tmp_path, path="{sensor}_{label}_{recording}.csv", time=""))

    def test_rows_that_take_turns(self, tmp_path):
        values = np.arange(24.0).reshape(2, 12)
        (tmp_path / "a.csv").write_text(
            "\n".join(f"{','.join(f'{v:g}' for v in row)},{'ab'[i]}" for i, row in enumerate(values))
        )
        labels = {"column": "column 13"}
        found = load(layout(tmp_path, labels, layout="rows", interleaved=3, time=""))
        np.testing.assert_array_equal(found.recordings.signals[1], values[1].reshape(4, 3))
        assert found.recordings.labels.tolist() == [0, 1]
        with pytest.raises(ValueError, match=r"has 12 values a row; expected a multiple of interleaved = 5"):
            load(layout(tmp_path, labels, layout="rows", interleaved=5, time=""))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"path": "*.txt"}, r"has no file '\*\.txt': 0\.csv, 1\.csv"),
            ({"path": "{label}.{kind}"}, r"has the field \{kind\}"),
            ({"time": "t"}, r"0\.csv has no column 't' for times"),
            (
                {"channels": [Channels(name="a", columns=("accW",))]},
                r"0\.csv has no column 'accW' for sensor 'a'; it has",
            ),
            ({"groups": {"source": "column", "column": "who"}}, r"no column 'who' for groups"),
            ({"groups": {"source": "path"}}, r"0\.csv has no recording \(group\) in line 2"),
            ({"labels": {"column": "kind"}}, r"no column 'kind' for labels"),
            ({"labels": {"classes": ("y",)}}, r"labels x, which \[labels\] classes does not name"),
        ],
    )
    def test_layouts_that_do_not_fit(self, tmp_path, change, message):
        write_all(tmp_path, label=["x"] * 120)
        with pytest.raises(ValueError, match=message):
            load(layout(tmp_path, **change))

    def test_files_of_several_kinds(self, tmp_path):
        write_all(tmp_path, label=["x"] * 120)
        (tmp_path / "notes.txt").write_text("bring milk")
        with pytest.raises(ValueError, match=r"files of several kinds \(4 \.csv, 1 \.txt\), such as notes\.txt"):
            load(layout(tmp_path, path="**/*"))

    def test_arrays(self):
        x = [walk(50, seed) for seed in range(4)]
        found = load_arrays(
            {"x": x, "y": ["a", "b", "a", "b"], "groups": [3, 3, 4, 4]}, Layout(groups=Groups(source="column"))
        )
        assert found.classes == ("a", "b") and found.recordings.subjects.tolist() == ["3", "3", "4", "4"]
        np.testing.assert_allclose(found.recordings.signals[2], x[2], atol=1e-6)
        x[1] = np.full((50, 3), np.nan)
        with pytest.raises(ValueError, match=r"the arrays\[1\] is empty"):
            load_arrays({"x": x, "y": [0, 1, 0, 1]}, Layout())

    def test_layouts_are_values(self):
        assert dataclasses.replace(Layout(), aim="forecast") != Layout()

    @pytest.mark.parametrize(
        ("channels", "message"),
        [
            ([("a", ("x",)), ("a", ("y",))], r"\[\[sensors\]\] have the name 'a' twice; expected each once"),
            ([("a", ("x", "y")), ("b", ("x",))], r"\[\[sensors\]\] have the column 'x' twice"),
        ],
    )
    def test_sensors_are_told_apart(self, channels, message):
        with pytest.raises(ValueError, match=message):
            Layout(channels=tuple(Channels(name=name, columns=columns) for name, columns in channels))
