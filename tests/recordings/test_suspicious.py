"""What is strange about recordings is told: copies, clipped sensors, sensors that say nothing."""

import warnings

import numpy as np
import pytest
from recording_files import folders_of_classes, layout, recording, walk, write_all, write_csv

from keras_s4.recordings import split_by_source
from keras_s4.recordings.layout import Channels
from keras_s4.recordings.loading import load

PATH = {"path": "{label}/person{group}_1.csv", "time": "timestamp", "time_unit": "ms"}


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

    def test_rest_is_no_copy(self, tmp_path):
        """Silence is equal to silence; so are short pieces between gaps."""
        for index in range(10):
            columns = recording(seed=index) | {"label": ["rest" if index % 2 else "walk"] * 120}
            columns["timestamp"] = columns["timestamp"] + 5000 * np.repeat([0, 1, 2], [50, 3, 67])
            for name in ("accX", "accY", "accZ"):
                columns[name] = columns[name] * (index % 2 == 0)
                columns[name][50:53] = 1.0
            write_csv(tmp_path / f"{index}.csv", columns)
        found = load(layout(tmp_path))
        assert len(found.recordings) == 30 and not any("cop" in note for note in found.notes)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            splits = split_by_source(found.recordings)
        assert [set(part.labels) for part in splits] == [{0, 1}] * 3

    def test_clocks_and_offsets(self, tmp_path):
        for index in range(3):
            far = [str(2**30 + int(10 * value)) for value in walk(120, index)[:, 0]]
            write_csv(tmp_path / f"{index}.csv", {"": np.arange(120), "far": far, "label": [f"{index}"] * 120})
        clock, offset = load(layout(tmp_path, time="")).notes
        assert clock.startswith("Sensor 'column 1' rises at every step, as a clock or the number of a row does")
        assert "Sensor 'far' varies by 1" in offset and "around 1.07374e+09, which is too little for float32" in offset

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
