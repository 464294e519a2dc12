"""Steps in time: gaps, uneven steps, rates and missing values, as the layout says, or refused by name."""

import numpy as np
import pytest
from recording_files import layout, recording, walk, write_csv

from keras_s4.recordings.loading import load
from keras_s4.recordings.times import parse_dates


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

    def test_numbers_are_no_dates(self, tmp_path):
        write_csv(tmp_path / "a.csv", recording() | {"label": ["a"] * 120})
        with pytest.raises(ValueError, match=r"has numbers in column 'timestamp', and .*unit is date; expected s, ms"):
            load(layout(tmp_path, time_unit="date"))

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


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        (["12.02.2026 23:59:59", "13.02.2026 00:00:00"], [1770940799, 1770940800]),
        (["01.02.26", "03.02.26"], [1769904000, 1770076800]),
        (["01/02/2026", "02/02/2026"], [1769904000, 1769990400]),
        (["01/31/2026", "02/01/2026"], [1769817600, 1769904000]),
        (["2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00"], [1774745999, 1774746000]),
        (["31.12.2026, 10:00:00,5", "31.12.2026, 10:00:01"], [1798711200.5, 1798711201]),
        (["13/01/2026", "01/13/2026"], None),
        (["10:59:59.5", "11:00"], [39599.5, 39600]),
        (["1700000000", "1700000001"], None),
    ],
)
def test_dates(texts, seconds):
    """Seconds are those that the command `date -u -d ... +%s` says."""
    found = parse_dates(np.array(texts, object))
    assert (found is None) == (seconds is None)
    if seconds is not None:
        np.testing.assert_allclose(found, seconds, atol=1e-6, rtol=0)


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

    @pytest.mark.parametrize("missing", ["cut", "interpolate"])
    def test_sensors_without_a_value(self, tmp_path, missing):
        for index in range(4):
            dead = {"accY": [""] * 120} if index == 2 else {}
            write_csv(tmp_path / f"{index}.csv", recording(seed=index) | dead | {"label": [f"{index}"] * 120})
        found = load(layout(tmp_path, missing=missing))
        assert found.names == ("0.csv", "1.csv", "3.csv")
        assert found.notes == ("Missing values leave nothing of 2.csv (accY without a value).",)
        with pytest.raises(ValueError, match=r"nothing of 2\.csv \(accY without a value\)\. No recording is left"):
            load(layout(tmp_path, missing=missing, path="2.csv"))

    def test_nothing_is_filled_in_at_the_ends(self, tmp_path):
        with_missing(tmp_path, ((0, 2), (118, 120)))
        (signal,) = load(layout(tmp_path, missing="interpolate")).recordings.signals
        assert len(signal) == 116
