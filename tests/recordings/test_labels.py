"""Labels from paths, columns, tables and intervals: as they are written, or refused by name."""

import numpy as np
import pytest
from recording_files import RATE, folders_of_classes, layout, recording, write_all, write_csv

from keras_s4.recordings import UNLABELLED
from keras_s4.recordings.loading import load

PATH = {"path": "{label}/person{group}_1.csv", "time": "timestamp", "time_unit": "ms"}


class TestLabels:
    def test_paths(self, tmp_path):
        found = load(layout(folders_of_classes(tmp_path), groups={"source": "path"}, **PATH))
        assert found.classes == ("rest", "run", "walk") and found.rate == RATE and not found.notes
        np.testing.assert_array_equal(found.recordings.labels, np.repeat([0, 1, 2], 5))
        np.testing.assert_array_equal(found.recordings.subjects, list("01234") * 3)
        own = recording(seed=102)
        np.testing.assert_allclose(found.recordings.signals[7][:, 1], own["accY"], atol=1e-6)

    def test_columns_of_steps_and_of_recordings(self, tmp_path):
        steps = np.repeat(["a", "b", ""], 40).tolist()
        found = load(layout(write_all(tmp_path / "s", label=steps)))
        np.testing.assert_array_equal(found.recordings.labels[0], np.repeat([0, 1, UNLABELLED], 40))
        folder = write_all(tmp_path / "r", 2, label=["b"] * 120)
        write_csv(folder / "x.csv", recording(seed=9) | {"label": ["a"] * 120})
        np.testing.assert_array_equal(load(layout(folder)).recordings.labels, [1, 1, 0])

    def test_tables(self, tmp_path):
        write_all(tmp_path)
        (tmp_path / "meta.csv").write_text("name,kind,who\n0,x,ann\n1.csv,y,ann\n./2.csv,x,bob\n3,y,bob\n9,y,eve\n")
        labels = {"source": "table", "table": "meta.csv", "file": "name", "column": "kind"}
        found = load(layout(tmp_path, labels, {"source": "table", "column": "who"}))
        np.testing.assert_array_equal(found.recordings.labels, [0, 1, 0, 1])
        assert found.recordings.subjects.tolist() == ["ann", "ann", "bob", "bob"]
        assert found.notes == ("meta.csv names 1 recordings that are not there: 9.",)

    def test_names_and_ignored_labels(self, tmp_path):
        write_all(tmp_path, label=np.repeat(["1", "2", "0"], 40).tolist())
        labels = {"names": {"1": "walk", "2": "run"}, "ignore": ("0",), "classes": ("walk", "run")}
        found = load(layout(tmp_path, labels))
        np.testing.assert_array_equal(found.recordings.labels[0], np.repeat([0, 1, UNLABELLED], 40))

    @pytest.mark.parametrize(
        ("prefix", "suffix"),
        [("data/", ".csv"), ("C:\\\\logs\\\\data\\\\", ".csv"), ("/home/me/", ""), ("", ".mp4"), ("video/", ".MP4")],
    )
    def test_tables_name_recordings_as_somebody_else_has_them(self, tmp_path, prefix, suffix):
        write_all(tmp_path)
        rows = [f"{prefix}{index}{suffix},{label}" for index, label in enumerate("xyyx")]
        (tmp_path / "labels.csv").write_text("\n".join([" File ,Label", *rows]))
        found = load(layout(tmp_path, {"table": "labels.csv"}))
        np.testing.assert_array_equal(found.recordings.labels, [0, 1, 1, 0])

    def test_folders_that_differ_are_not_left_out(self, tmp_path):
        write_all(tmp_path)
        (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"f{i}/{i}.csv,x\n" for i in range(4)))
        with pytest.raises(ValueError, match=r"names no recording in its column 'file': f0/0\.csv"):
            load(layout(tmp_path, {"table": "labels.csv"}))

    def test_spellings(self, tmp_path):
        """Accents are one letter or two; what differs in case or spaces alone is told."""
        labels = ("M\u00fcde", "Mu\u0308de", "m\u00fcde", "sit_down", "Sit down", "10", "1.0", "1", "nan")
        for index, label in enumerate(labels):
            write_csv(tmp_path / f"e\u0301{index}.csv", recording(seed=index) | {"label": [label] * 120})
        found = load(layout(tmp_path, {"missing": "drop", "names": {"7": "x"}}, path="\u00e9{recording}.csv"))
        assert set(found.classes) == {"1", "10", "M\u00fcde", "m\u00fcde", "Sit down", "sit_down"}
        assert len(found.recordings) == 8
        told = " ".join(found.notes)
        assert (
            "'M\u00fcde' and 'm\u00fcde', 'sit_down' and 'Sit down'. If they mean one, say so: [labels] names" in told
        )
        assert "[labels] names has 7, which no recording has; there are 1, 10," in told

    @pytest.mark.parametrize(
        ("labels", "aim", "message"),
        [
            ({"source": "table"}, "classes", r"source = \"table\" and no table; expected table = \"labels\.csv\""),
            ({"source": "intervals"}, "classes", r"source = \"intervals\" and no table"),
            ({"classes": ("x", "y", "x")}, "classes", r"classes has a name twice: x, y, x; expected each once"),
            ({"normal": ("good",)}, "anomaly", r"No recording is normal: \[labels\] normal is good, labels are x\. "),
            ({}, "anomaly", r"No recording is normal: \[labels\] normal is normal, labels are x\. "),
        ],
    )
    def test_what_labels_cannot_be(self, tmp_path, labels, aim, message):
        write_all(tmp_path, 2, label=["x"] * 120)
        with pytest.raises(ValueError, match=message):
            load(layout(tmp_path, labels, aim=aim))

    def test_spellings_of_groups(self, tmp_path):
        write_all(tmp_path)
        (tmp_path / "t.csv").write_text("file,label,who\n0,x,Ann\n1,y,ann \n2,x,bob\n3,y,ann\n")
        groups = {"source": "table", "column": "who", "name": "person"}
        (note,) = load(layout(tmp_path, {"table": "t.csv"}, groups)).notes
        assert "'Ann' and 'ann'. If they are one person, a model may be tested on whom it was trained on" in note

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "file,label\n0,x\n1,y\n2,x\n",
                r"1 recordings have no label: 3\.csv\. Label them, or .*missing = \"drop\"",
            ),
            ("file,label\n0,x\n0,y\n1,x\n2,x\n3,x\n", r"has 'x', 'y' in column 'label' for 0\.csv \(rows 1, 2\)"),
            ("file,kind\n0,x\n", r"labels\.csv has no column 'label'; it has file, kind"),
            ("file,label\na,x\nb,y\n", r"names no recording in its column 'file': a, b; there are 0\.csv"),
            ("file,label\n0,\n1,\n2,\n3,\n", r"None of the 4 recordings has a label"),
        ],
    )
    def test_tables_that_do_not_fit(self, tmp_path, text, message):
        write_all(tmp_path)
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            load(layout(tmp_path, {"source": "table", "table": "labels.csv"}))

    def test_recordings_without_a_label_are_left_out_when_asked(self, tmp_path):
        write_all(tmp_path)
        (tmp_path / "labels.csv").write_text("file,label\n0,x\n1,y\n2,x\n")
        found = load(layout(tmp_path, {"table": "labels.csv", "missing": "drop"}))
        assert len(found.recordings) == 3 and "1 recordings without a label are left out: 3.csv" in found.notes[0]

    def test_a_table_that_may_mean_two_recordings(self, tmp_path):
        for name in ("a/1.csv", "b/1.csv"):
            write_csv(tmp_path / name, recording(seed=len(name)))
        (tmp_path / "labels.csv").write_text("file,label\n1.csv,x\n")
        with pytest.raises(ValueError, match=r"names '1\.csv', which may be a/1\.csv, b/1\.csv; expected one"):
            load(layout(tmp_path, {"table": "labels.csv"}, path="*/*.csv"))

    def test_quantities(self, tmp_path):
        write_all(tmp_path, 3)
        (tmp_path / "t.csv").write_text("file,speed,load\n0,1.5,2\n1,2.5,3\n2,3.5,4\n")
        found = load(layout(tmp_path, {"table": "t.csv", "columns": ("speed", "load")}, aim="targets"))
        np.testing.assert_array_equal(found.recordings.labels, [[1.5, 2], [2.5, 3], [3.5, 4]])
        own = np.linspace(0, 1, 120)
        found = load(layout(write_all(tmp_path / "s", 3, speed=own), {"columns": ("speed",)}, aim="targets"))
        np.testing.assert_allclose(found.recordings.labels[1][:, 0], own, atol=1e-6)
        assert [channel.name for channel in found.channels] == ["accX", "accY", "accZ"]

    def test_several_labels_at_once(self, tmp_path):
        write_all(tmp_path, 3)
        (tmp_path / "t.csv").write_text("file,label,hum,knock\n0,hum;knock,1,1\n1,,0,0\n2,knock,0,1\n")
        wanted = [[1, 1], [0, 0], [0, 1]]
        found = load(layout(tmp_path, {"table": "t.csv", "separator": ";"}, aim="multi_label"))
        assert found.classes == ("hum", "knock")
        np.testing.assert_array_equal(found.recordings.labels, wanted)
        found = load(layout(tmp_path, {"table": "t.csv", "columns": ("hum", "knock")}, aim="multi_label"))
        np.testing.assert_array_equal(found.recordings.labels, wanted)

    def test_anomalies(self, tmp_path):
        found = load(
            layout(folders_of_classes(tmp_path, people=2), {"normal": ("rest", "walk")}, aim="anomaly", **PATH)
        )
        np.testing.assert_array_equal(found.recordings.labels, [0, 0, 1, 1, 0, 0])


class TestIntervals:
    @pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1000.0), ("steps", RATE), ("time", 1000.0)])
    def test_steps_get_the_label_of_their_interval(self, tmp_path, unit, factor):
        write_all(tmp_path, 2)
        rows = [(0, 0.4, 0.8, "a"), (0, 1.2, 1.6, "b"), (1, 0.0, 0.2, "b")]
        lines = [f"{file}.csv,{start * factor:g},{end * factor:g},{label}" for file, start, end, label in rows]
        (tmp_path / "events.csv").write_text("\n".join(["file,start,end,label", *lines]))
        labels = {"source": "intervals", "table": "events.csv", "unit": unit}
        found = load(layout(tmp_path, labels | {"background": "rest"}))
        assert found.classes == ("a", "b", "rest")
        wanted = np.full(120, 2)
        wanted[20:40], wanted[60:80] = 0, 1
        np.testing.assert_array_equal(found.recordings.labels[0], wanted)
        unknown = load(layout(tmp_path, labels)).recordings.labels[0]
        np.testing.assert_array_equal(unknown, np.where(wanted == 2, UNLABELLED, wanted))

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("0,0.2,0.6,b", r"lie over each other in 0\.csv: rows 2 \(b\) and 1 \(a\)"),
            ("0,70,90,b", r"row 2, has an interval from 70 to 90 s, outside of 0\.csv, which lasts from 0 to 2\.38"),
            ("0,1.5,1.2,b", r"row 2, has an interval from '1\.5' to '1\.2'; expected an end after the start"),
            ("0,soon,1.2,b", r"has 'soon' in column 'start'; expected times"),
            ("0,,1.2,b", r"has no time in column 'start', rows 2"),
        ],
    )
    def test_intervals_that_cannot_be(self, tmp_path, row, message):
        write_all(tmp_path, 1)
        (tmp_path / "e.csv").write_text(f"file,start,end,label\n0,0.4,0.8,a\n{row}\n")
        with pytest.raises(ValueError, match=message):
            load(layout(tmp_path, {"source": "intervals", "table": "e.csv"}))

    def test_intervals_that_are_strange_are_told(self, tmp_path):
        write_all(tmp_path, 3)
        rows = ["0,1.0,9.0,x", "0,-1,0.5,x", "1,1.005,1.015,x", "1,0.0,2.4,y"]
        (tmp_path / "e.csv").write_text("\n".join(["file,start,end,label", *rows]))
        labels = {"source": "intervals", "table": "e.csv", "background": "none"}
        cut, empty, bare = load(layout(tmp_path, labels)).notes
        assert "row 2, -1 to 0.5 s of 0.csv, which lasts from 0 to 2.38, row 1, 1 to 9 s of 0.csv" in cut
        assert 'intervals between two steps, with none in them: rows 3. Is [labels] unit = "s" right?' in empty
        assert "e.csv has no interval in 2.csv: all of it is 'none'" in bare

    def test_events_at_once(self, tmp_path):
        write_all(tmp_path, 1)
        (tmp_path / "e.csv").write_text("file,start,end,label\n0,0.4,0.8,a\n0,0.6,1,b\n")
        found = load(layout(tmp_path, {"source": "intervals", "table": "e.csv"}, aim="multi_label"))
        labels = found.recordings.labels[0]
        np.testing.assert_array_equal(np.flatnonzero(labels[:, 0]), np.arange(20, 40))
        np.testing.assert_array_equal(np.flatnonzero(labels[:, 1]), np.arange(30, 50))
