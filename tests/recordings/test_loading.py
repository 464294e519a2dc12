"""From files to recordings: labels, groups, gaps, rates and missing values as the layout says, or refused by name."""

import dataclasses

import numpy as np
import pytest
from recording_files import RATE, folders_of_classes, recording, walk, write_csv

from keras_s4.recordings import UNLABELLED
from keras_s4.recordings.layout import Channels, Groups, Labels, Source
from keras_s4.recordings.loading import Layout, load, load_arrays

PATH = {"path": "{label}/person{group}_1.csv", "time": "timestamp", "time_unit": "ms"}


def layout(folder, labels=None, groups=None, channels=(), aim="classes", **source):
    return Layout(
        source=Source(folder=folder, **({"path": "*.csv", "time": "timestamp", "time_unit": "ms"} | source)),
        labels=Labels(**(labels or {})),
        groups=Groups(**(groups or {})),
        channels=tuple(channels),
        aim=aim,
    )


def write_all(folder, count=4, steps=120, **columns):
    for index in range(count):
        write_csv(folder / f"{index}.csv", recording(steps, seed=index) | columns)
    return folder


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

    def test_events_at_once(self, tmp_path):
        write_all(tmp_path, 1)
        (tmp_path / "e.csv").write_text("file,start,end,label\n0,0.4,0.8,a\n0,0.6,1,b\n")
        found = load(layout(tmp_path, {"source": "intervals", "table": "e.csv"}, aim="multi_label"))
        labels = found.recordings.labels[0]
        np.testing.assert_array_equal(np.flatnonzero(labels[:, 0]), np.arange(20, 40))
        np.testing.assert_array_equal(np.flatnonzero(labels[:, 1]), np.arange(30, 50))


class TestTime:
    def test_gaps_and_new_beginnings_cut(self, tmp_path):
        columns = recording(200)
        columns["timestamp"][80:] += 500
        columns["timestamp"][150:] -= 10_000
        write_csv(tmp_path / "a.csv", columns | {"label": ["x"] * 200})
        found = load(layout(tmp_path))
        assert [len(signal) for signal in found.recordings.signals] == [80, 70, 50]
        assert found.recordings.sources.tolist() == [0, 0, 0]
        bridged = load(layout(tmp_path, gap=1.0, irregular="resample"))
        assert [len(signal) for signal in bridged.recordings.signals] == [175, 50]

    def test_uneven_steps(self, tmp_path):
        """A slow sine, sampled at uneven times, is the sine at even times."""
        random = np.random.default_rng(0)
        times = np.cumsum(random.uniform(10, 30, 400))
        columns = {"timestamp": times, "x": np.sin(times / 500), "label": ["a"] * 400}
        write_csv(tmp_path / "a.csv", columns)
        with pytest.raises(ValueError, match=r"a\.csv has uneven steps: line \d+ is .* steps from where it were"):
            load(layout(tmp_path))
        found = load(layout(tmp_path, irregular="resample", rate=50.0))
        (signal,) = found.recordings.signals
        even = times[0] + 20.0 * np.arange(len(signal))
        np.testing.assert_allclose(signal[:, 0], np.sin(even / 500), atol=1e-3)
        assert abs(even[-1] - times[-1]) < 20

    def test_jitter_of_stamps_is_no_unevenness(self, tmp_path):
        columns = recording(300)
        columns["timestamp"] = np.round(columns["timestamp"] + np.random.default_rng(0).uniform(-6, 6, 300))
        write_csv(tmp_path / "a.csv", columns | {"label": ["x"] * 300})
        np.testing.assert_allclose(load(layout(tmp_path)).recordings.signals[0][:, 0], columns["accX"], atol=1e-6)

    def test_other_rates(self, tmp_path):
        for name, rate in (("a", 50.0), ("b", 50.0), ("c", 100.0)):
            times = np.arange(int(4 * rate)) / rate
            write_csv(
                tmp_path / f"{name}.csv",
                {"timestamp": 1000 * times, "x": np.sin(5 * times) + ord(name), "label": [name] * len(times)},
            )
        with pytest.raises(
            ValueError, match=r"c\.csv has 100 steps a second, others or .* say 50.*rates = \"resample\""
        ):
            load(layout(tmp_path))
        found = load(layout(tmp_path, rates="resample"))
        assert [len(signal) for signal in found.recordings.signals] == [200, 200, 200]
        np.testing.assert_allclose(found.recordings.signals[2] - 2, found.recordings.signals[0], atol=0.02)

    def test_what_a_lower_rate_cannot_hold_is_gone(self, tmp_path):
        times = np.arange(4000) / 1000
        write_csv(
            tmp_path / "a.csv", {"timestamp": 1000 * times, "x": np.sin(2 * np.pi * 90 * times), "label": ["a"] * 4000}
        )
        (signal,) = load(layout(tmp_path, rates="resample", rate=100.0)).recordings.signals
        assert len(signal) == 400 and np.abs(signal[20:-20]).max() < 0.02

    @pytest.mark.parametrize(
        ("texts", "unit", "period"),
        [
            ([f"2026-01-31 12:00:{step / 50:09.6f}" for step in range(60)], "date", 0.02),
            ([f"12:00:{step / 50:09.6f}" for step in range(60)], "date", 0.02),
            ([f"2026-01-31T12:{step // 60:02d}:{step % 60:02d}Z" for step in range(60)], "date", 1.0),
            ([str(1_760_000_000_000 + 20 * step) for step in range(60)], "ms", 0.02),
            ([str(20_000 * step) for step in range(60)], "us", 0.02),
        ],
    )
    def test_units(self, tmp_path, texts, unit, period):
        write_csv(tmp_path / "a.csv", {"timestamp": texts, "x": walk(60)[:, 0], "label": ["a"] * 60})
        assert load(layout(tmp_path, time_unit=unit)).rate == pytest.approx(1 / period)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda times: np.random.default_rng(0).permutation(times),
                r"times that go back at \d+ of 120 steps.*Sort",
            ),
            (lambda times: times // 200 * 200, r"times that stand still at 108 of 120 steps.*stamped in blocks"),
            (lambda times: np.where(times == 200, np.nan, times), r"has no time in column 'timestamp', line 12"),
        ],
    )
    def test_times_that_cannot_be(self, tmp_path, change, message):
        columns = recording() | {"label": ["x"] * 120}
        times = change(columns["timestamp"])
        columns["timestamp"] = ["" if time != time else f"{time:g}" for time in times]
        write_csv(tmp_path / "a.csv", columns)
        with pytest.raises(ValueError, match=message):
            load(layout(tmp_path))


def with_missing(folder, runs=((30, 32), (60, 70))):
    columns = recording()
    values = [f"{value:.6g}" for value in columns["accY"]]
    for start, stop in runs:
        values[start:stop] = ["", "NaN", "inf", *["-"] * 100][: stop - start]
    write_csv(folder / "a.csv", columns | {"accY": values, "label": ["x"] * 120})
    return columns["accY"]


class TestMissing:
    def test_refused(self, tmp_path):
        with_missing(tmp_path)
        with pytest.raises(
            ValueError, match=r"a\.csv has 12 missing values, the first in column 'accY', line 32\. Say"
        ):
            load(layout(tmp_path))

    def test_interpolated_up_to_so_many_steps(self, tmp_path):
        own = with_missing(tmp_path)
        found = load(layout(tmp_path, missing="interpolate", missing_steps=5))
        assert [len(signal) for signal in found.recordings.signals] == [60, 50]
        filled = found.recordings.signals[0][28:34, 1]
        np.testing.assert_allclose(filled, np.interp(range(28, 34), [28, 29, 32, 33], own[[28, 29, 32, 33]]), atol=1e-6)

    def test_cut(self, tmp_path):
        with_missing(tmp_path)
        found = load(layout(tmp_path, missing="cut"))
        assert [len(signal) for signal in found.recordings.signals] == [30, 28, 50]
        assert len(load(layout(tmp_path, missing="cut", shortest=0.7)).recordings) == 1

    def test_nothing_is_filled_in_at_the_ends(self, tmp_path):
        with_missing(tmp_path, ((0, 2), (118, 120)))
        (signal,) = load(layout(tmp_path, missing="interpolate")).recordings.signals
        assert len(signal) == 116


class TestChecks:
    def test_copies(self, tmp_path):
        folders_of_classes(tmp_path, people=2)
        (tmp_path / "run" / "person7_1.csv").write_bytes((tmp_path / "run" / "person0_1.csv").read_bytes())
        with pytest.raises(ValueError, match=r"1 recordings are copies of others: run/person0_1\.csv = run/person7_1"):
            load(layout(tmp_path, **PATH))
        assert len(load(layout(tmp_path, duplicates="drop", **PATH)).recordings) == 6
        assert len(load(layout(tmp_path, duplicates="keep", **PATH)).recordings) == 7
        (tmp_path / "walk" / "person8_1.csv").write_bytes((tmp_path / "run" / "person0_1.csv").read_bytes())
        with pytest.raises(ValueError, match=r"equal content and different labels; only one can be right"):
            load(layout(tmp_path, duplicates="drop", **PATH))

    def test_stretches_that_two_groups_share(self, tmp_path):
        folders_of_classes(tmp_path, people=3, steps=300)
        columns = recording(300, seed=77)
        other = recording(300, seed=100)
        for name in ("accX", "accY", "accZ"):
            columns[name][50:150] = other[name][130:230]
        write_csv(tmp_path / "run" / "person9_1.csv", columns)
        found = load(layout(tmp_path, groups={"source": "path"}, **PATH))
        assert found.notes == (
            "1 pairs of recordings of different groups share stretches of 64 steps or more, such as run/person0_1.csv, "
            "line 132, and run/person9_1.csv, line 52: a model may be tested on what it was trained on.",
        )

    def test_clipped_sensors(self, tmp_path):
        columns = recording(400)
        columns["accX"] = np.clip(columns["accX"], -1.0, 1.0)
        columns["accY"] = np.sin(np.arange(400) / 10).round(2)  # its extremes are near each other, and no limit
        write_csv(tmp_path / "a.csv", columns | {"label": ["x"] * 400})
        found = load(layout(tmp_path))
        assert (
            len(found.notes) == 1 and "Sensor 'accX' is clipped in 1 of 1 recordings, at -1 in a.csv" in found.notes[0]
        )
        with pytest.raises(ValueError, match="Sensor 'accX' is clipped"):
            load(layout(tmp_path, clipped="refuse"))
        assert not load(layout(tmp_path, clipped="keep")).notes

    def test_sensors_that_say_nothing(self, tmp_path):
        write_all(tmp_path, accZ=np.full(120, 3.0), label=["x"] * 120)
        columns = recording(seed=5) | {"accY": np.full(120, 1.0), "accZ": np.full(120, 3.0)}
        write_csv(tmp_path / "z.csv", columns | {"label": ["y"] * 120})
        assert load(layout(tmp_path)).notes == (
            "Sensor 'accY' does not change in 1 of 5 recordings: z.csv.",
            "Sensor 'accZ' is 3 always, so that it tells nothing.",
        )

    def test_integers_of_sensors(self, tmp_path):
        write_csv(tmp_path / "a.csv", {"x": np.array([-4096.0, 0, 2048]), "label": ["x"] * 3})
        channel = Channels(name="acceleration", columns=("x",), unit="g", lsb="1/4096", zero=0.5, raw=True)
        (signal,) = load(layout(tmp_path, channels=[channel], time="")).recordings.signals
        assert signal[:, 0].tolist() == [-0.5, 0.5, 1.0]
        write_csv(tmp_path / "a.csv", {"x": np.array([-4096.0, 0.25, 2048]), "label": ["x"] * 3})
        with pytest.raises(ValueError, match=r"has 0\.25 in column 'x', line 3, which is no integer of a sensor"):
            load(layout(tmp_path, channels=[channel], time=""))


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
