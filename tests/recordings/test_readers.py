"""Files as loggers, spreadsheets and programs write them: their content is what is read, or what is wrong is named."""

import struct
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from keras_s4.recordings.layout import Source
from keras_s4.recordings.readers import read_file, read_texts
from keras_s4.recordings.times import seconds_of

NAN = float("nan")


def read(path, content, **source):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, path.name, Source(**source))


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("t,x,y\n0,1,2\n1,3,4\n", {"t": [0, 1], "x": [1, 3], "y": [2, 4]}),
        ("0,1,2\n1,3,4\n2,3,4\n", {"column 1": [0, 1, 2], "column 2": [1, 3, 3], "column 3": [2, 4, 4]}),
        ("t;x;y\n0;1,5;2\n1;3,25;4\n", {"t": [0, 1], "x": [1.5, 3.25], "y": [2, 4]}),
        ("t\tx\n0\t1,5\n1\t2,5\n", {"t": [0, 1], "x": [1.5, 2.5]}),
        ("  1.0  2.0   3.0\n  4.0 5.0 6.0\n", {"column 1": [1, 4], "column 2": [2, 5], "column 3": [3, 6]}),
        (b"\xef\xbb\xbft,x\n0,1\n1,2\n", {"t": [0, 1], "x": [1, 2]}),
        ("t,x\n0,1\n1,2\n".encode("utf-16"), {"t": [0, 1], "x": [1, 2]}),
        ("t,°C\n0,1\n1,2\n".encode("cp1252"), {"t": [0, 1], "°C": [1, 2]}),
        ("# made by a logger\n# 50 Hz\nt,x\n0,1\n1,2\n", {"t": [0, 1], "x": [1, 2]}),
        ("// made by a logger\nt,x\n0,1\n// a pause\n1,2\n", {"t": [0, 1], "x": [1, 2]}),
        ("# t x\n0 1\n1 2\n", {"t": [0, 1], "x": [1, 2]}),
        ("Device,ACME\nSerial,1\n\nt,x,y\n0,1,2\n1,2,3\n2,2,3\n", {"t": [0, 1, 2], "x": [1, 2, 2], "y": [2, 3, 3]}),
        ("t,x\ns,g\n0,1\n1,2\n2,3\n", {"t": [0, 1, 2], "x": [1, 2, 3]}),
        (
            "33,Run,49105962326000,-0.5;\n33,Run,49106062271000,5.25;\n33,Sit,49106112167000,;\n",
            {
                "column 1": [33, 33, 33],
                "column 2": ["Run", "Run", "Sit"],
                "column 3": [49105962326e3, 49106062271e3, 49106112167e3],
                "column 4": [-0.5, 5.25, NAN],
            },
        ),
        ("t,x,\n0,1,\n1,2,\n", {"t": [0, 1], "x": [1, 2]}),
        (
            "x,label\n1,None\nNaN,None\n,walk\nn/a,walk\n",
            {"x": [1, NAN, NAN, NAN], "label": ["None", "None", "walk", "walk"]},
        ),
        ("x,label\n1,none\n2,none\n", {"x": [1, 2], "label": ["none", "none"]}),
        ("x,dead\n1,nan\n2,nan\n", {"x": [1, 2], "dead": [NAN, NAN]}),
        ("x\n1\ninf\n-inf\n", {"x": [1, NAN, NAN]}),
        ('"t","x, y","name"\n0,1,"a, b"\n1,2,"c"\n', {"t": [0, 1], "x, y": [1, 2], "name": ["a, b", "c"]}),
        (",x\n0,1\n1,3\n", {"column 1": [0, 1], "x": [1, 3]}),
        ("x,on\n1,True\n2,False\n", {"x": [1, 2], "on": ["True", "False"]}),
        ("x,x\r\n1,2\r\n3,4\r\n", {"x": [1, 3], "x 2": [2, 4]}),
        ("x\n1e-3\n-2.5E2\n.5\n", {"x": [0.001, -250, 0.5]}),
        ('"t","x"\n"0","1,5"\n"1","2,25"\n', {"t": [0, 1], "x": [1.5, 2.25]}),
        ('"t","x"\n"0","1,500"\n"1","2,250"\n', {"t": [0, 1], "x": ["1,500", "2,250"]}),
        ("t;x\n" + "0;1\n" * 120 + "1;2,5\n", {"t": [0] * 120 + [1], "x": [1] * 120 + [2.5]}),
        ("x\n1\n\n3\n\n\n", {"x": [1, NAN, 3]}),
        ("x,y\n1,2\n\n3\n\n", {"x": [1, 3], "y": [2, NAN]}),
        ('"x","y"\n"1",1.5,2\n"2",2.5,3\n"3",2.5,3\n', {"row": [1, 2, 3], "x": [1.5, 2.5, 2.5], "y": [2, 3, 3]}),
    ],
)
def test_csv(tmp_path, content, columns):
    (frame,) = read(tmp_path / "r.csv", content)
    assert list(frame.columns) == list(columns)
    for name, values in columns.items():
        if isinstance(values[0], str):
            assert frame.columns[name].tolist() == values
        else:
            np.testing.assert_array_equal(frame.columns[name], np.array(values, float))


def test_units_in_headers(tmp_path):
    (frame,) = read(tmp_path / "r.csv", "time [ms],acc_x (m/s^2)\n0,1\n1,2\n")
    assert frame.units == {"time [ms]": "ms", "acc_x (m/s^2)": "m/s^2"}
    (frame,) = read(tmp_path / "s.csv", "t,x\ns,g\n0,1\n1,2\n2,3\n")
    assert frame.units == {"t": "s", "x": "g"} and frame.first == 3


def test_what_is_said_of_csv_is_taken(tmp_path):
    content = "1;2\n3;4\n"
    (frame,) = read(tmp_path / "r.csv", content, header=True)
    assert {name: values.tolist() for name, values in frame.columns.items()} == {"1": [3.0], "2": [4.0]}
    (frame,) = read(tmp_path / "r.csv", "a|b\n1.000|2\n", decimal=".", delimiter="|")
    assert frame.columns["a"].tolist() == [1.0]
    (frame,) = read(tmp_path / "r.csv", "rubbish,1,2,3\nx,y\n1,2\n3,4\n", skip_lines=1)
    assert frame.columns["y"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"r\.csv is empty: it holds no line of data"),
        (b"\n\n", r"r\.csv is empty"),
        (b"\x00\x01" * 50, r"r\.csv is no text: it holds zero bytes"),
        (
            b"t,x\n0,1\n1,2,3\n2,3\n",
            r"r\.csv has lines with more fields than its 2 columns \(t, x\): line 3 has one more",
        ),
        (b"t,x\n0,02,1,5\n0,04,2,5\n0,06,2,5\n", r"has 4 fields a line below 2 names \(t, x\)\. If .* decimal commas"),
        (b"x\n1,5\n2,25\n", r"has 2 fields a line below 1 names \(x\)"),
        (
            b"t,x\n2026-01-31 10:00:00,000,1\n2026-01-31 10:00:00,020,2\n2026-01-31 10:00:00,040,3\n",
            r"has 3 fields a line below 2 names \(t, x\)\. If numbers or times have decimal commas",
        ),
        (b"t,x\n0,1\n1,2,3,4,5\n2,3\n", r"more fields than its 2 columns.*bad_lines = \"drop\""),
    ],
)
def test_csv_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "r.csv", content)


def test_bad_lines_are_dropped_when_asked(tmp_path):
    (frame,) = read(tmp_path / "r.csv", "t,x\n0,1\n1,2,3\n2,3,4,5,6\n3,4\n", bad_lines="drop")
    assert frame.columns["x"].tolist() == [1.0, 4.0]


def test_a_text_among_numbers_is_told_by_its_line(tmp_path):
    (frame,) = read(tmp_path / "r.csv", "t,x\n0,1\n1,broken\n2,3\n")
    with pytest.raises(ValueError, match=r"r\.csv has 'broken' in column 'x', line 3; expected numbers for sensor x"):
        frame.numbers("x", "sensor x")
    with pytest.raises(ValueError, match=r"has no column 'z' for sensor z; it has t, x"):
        frame.numbers("z", "sensor z")


def test_long_files_and_wide_lines(tmp_path):
    random = np.random.default_rng(0)
    long, wide = random.normal(size=(20_000, 2)), random.normal(size=(3, 20_000))
    np.savetxt(tmp_path / "long.csv", long, delimiter=",", fmt="%.17g", header="a,b", comments="")
    np.savetxt(tmp_path / "wide.csv", wide, delimiter=",", fmt="%.17g")
    (frame,) = read_file(tmp_path / "long.csv", "long.csv", Source())
    np.testing.assert_array_equal(frame.columns["b"], long[:, 1])
    (frame,) = read_file(tmp_path / "wide.csv", "wide.csv", Source())
    np.testing.assert_array_equal(np.stack(list(frame.columns.values()), 1), wide)


def test_tables_keep_their_texts(tmp_path):
    (tmp_path / "t.csv").write_text("file,label\n007,1\n008,NA\n")
    columns = read_texts(tmp_path / "t.csv")
    assert columns["file"].tolist() == ["007", "008"] and columns["label"].tolist() == ["1", "NA"]
    (tmp_path / "t.csv").write_text("file,label\n007,1\n008\n\n009,2\n")
    assert read_texts(tmp_path / "t.csv")["label"].tolist() == ["1", "", "2"]


def test_parquet_of_a_part_of_a_table(tmp_path):
    """pandas keeps the numbers of its rows, which are no sensor; times that number rows are times."""
    import pandas

    table = pandas.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    table[1::2].to_parquet(tmp_path / "r.parquet")
    (frame,) = read_file(tmp_path / "r.parquet", "r.parquet", Source())
    assert list(frame.columns) == ["x"]
    table.set_index(pandas.date_range("1970-01-02", periods=4, freq="20ms")).to_parquet(tmp_path / "t.parquet")
    (frame,) = read_file(tmp_path / "t.parquet", "t.parquet", Source())
    name = "__index_level_0__"
    np.testing.assert_allclose(frame.columns[name], 86400 + np.array([0, 0.02, 0.04, 0.06]), atol=1e-9)
    np.testing.assert_allclose(seconds_of(frame, name, "date"), frame.columns[name])
    with pytest.raises(ValueError, match=r"t\.parquet has dates in column '__index_level_0__', and .* time_unit is ms"):
        seconds_of(frame, name, "ms")


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "time": pandas.date_range("2026-01-01", periods=3, freq="20ms"),
            "x": pandas.array([1, None, 3], "Int16"),
            "y": np.array([1.5, np.inf, -2], np.float32),
            "label": pandas.Categorical(["a", "b", "a"]),
        }
    )
    table.to_parquet(tmp_path / "r.parquet")
    (frame,) = read_file(tmp_path / "r.parquet", "r.parquet", Source())
    np.testing.assert_allclose(np.diff(frame.columns["time"]), 0.02, atol=1e-6)
    assert frame.columns["time"][0] == pandas.Timestamp("2026-01-01").timestamp()
    np.testing.assert_array_equal(frame.columns["x"], [1, NAN, 3])
    np.testing.assert_array_equal(frame.columns["y"], [1.5, NAN, -2])
    assert frame.columns["label"].tolist() == ["a", "b", "a"]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match=r"bad\.parquet is no Parquet file, or damaged"):
        read_file(tmp_path / "bad.parquet", "bad.parquet", Source())


def write_24_bits(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], 3, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(struct.pack("<i", int(value))[:3] for value in samples.reshape(-1)))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero"),
    [
        (np.uint8, 128, 128),
        (np.int16, 2**15, 0),
        (np.int32, 2**31, 0),
        (np.float32, 1, 0),
        (np.float64, 1, 0),
        (None, 2**23, 0),
    ],
)
def test_wav(tmp_path, dtype, scale, zero, channels):
    random = np.random.default_rng(0)
    kind = np.dtype(dtype or np.int32)
    if kind.kind == "f":
        samples = random.uniform(-1, 1, (50, channels)).astype(kind)
    else:
        low, high = (-(2**23), 2**23) if dtype is None else (np.iinfo(kind).min, np.iinfo(kind).max + 1)
        samples = random.integers(low, high, (50, channels)).astype(kind)
    if dtype is None:
        write_24_bits(tmp_path / "r.wav", samples)
    else:
        wavfile.write(tmp_path / "r.wav", 8000, samples)
    (frame,) = read_file(tmp_path / "r.wav", "r.wav", Source())
    assert frame.rate == 8000.0
    assert list(frame.columns) == (["sound"] if channels == 1 else ["channel 1", "channel 2"])
    wanted = (samples.astype(np.float64) - zero) / scale
    np.testing.assert_array_equal(np.stack(list(frame.columns.values()), 1), wanted)
    (mono,) = read_file(tmp_path / "r.wav", "r.wav", Source(mono=True))
    np.testing.assert_allclose(mono.columns["sound"], wanted.mean(axis=1), atol=1e-15)


def wav_bytes(samples=1000):
    data = np.zeros(samples, "<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        8000,
        16000,
        2,
        16,
        b"data",
        len(data),
    )
    return bytearray(head + data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:500], r"r\.wav is cut off: 456 bytes of samples are there of 2,000"),
        (lambda content: content[:44], r"r\.wav is cut off: 0 bytes"),
        (lambda content: content[:20], r"r\.wav is damaged: its format or its samples are missing"),
        (lambda content: b"ID3" + content, r"r\.wav is no WAV file"),
        (lambda content: content[:20] + b"\x06\0" + content[22:], r"r\.wav holds A-law; expected uncompressed samples"),
        (
            lambda content: content[:24] + bytes(4) + content[28:],
            r"r\.wav is damaged: its header says 1 channels, 0 Hz",
        ),
    ],
)
def test_wav_that_cannot_be_read(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "r.wav", bytes(change(wav_bytes())))


def test_wav_written_to_a_pipe(tmp_path):
    """espeak-ng --stdout does not know how much will follow."""
    content = wav_bytes()
    content[40:44] = struct.pack("<I", 0x7FFFF000)
    (frame,) = read(tmp_path / "r.wav", bytes(content))
    assert len(frame) == 1000


def test_npz(tmp_path):
    x = np.arange(24.0).reshape(3, 4, 2)
    x[1, 3] = np.nan
    np.savez(tmp_path / "r.npz", x=x, y=[1, 0, 1], groups=["a", "b", "b"], rate=25.0, features=["left", "right"])
    frames = read_file(tmp_path / "r.npz", "r.npz", Source())
    assert [len(frame) for frame in frames] == [4, 3, 4] and frames[0].rate == 25.0
    assert list(frames[1].columns) == ["left", "right", "label", "group"] and frames[1].name == "r.npz[1]"
    np.testing.assert_array_equal(frames[1].columns["right"], x[1, :3, 1])
    assert frames[1].columns["label"].tolist() == [0.0] * 3 and frames[1].columns["group"].tolist() == ["b"] * 3


def test_npz_with_lengths_steps_and_splits(tmp_path):
    x = np.ones((2, 5), np.int16)
    arrays = {
        "x_train": x,
        "y_train": [[0, 0, 1, 1, -1]] * 2,
        "lengths_train": [5, 3],
        "x_test": x[:1],
        "y_test": [[1] * 5],
    }
    np.savez(tmp_path / "r.npz", **arrays)
    frames = read_file(tmp_path / "r.npz", "r.npz", Source())
    assert [len(frame) for frame in frames] == [5, 3, 5]
    assert [frame.columns["split"][0] for frame in frames] == ["train", "train", "test"]
    assert frames[1].columns["label"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([np.zeros(3), np.zeros(4)], object)}, r"holds Python objects.*Pad x with NaN.*or save lengths"),
        ({"data": np.zeros((2, 3))}, r"has no array x; it has data"),
        ({"x": np.zeros((2, 3)), "y": [1]}, r"has x of 2 recordings and 1 y; expected as many"),
        ({"x": np.zeros(3)}, r"has x of shape \[3\]; expected \[recordings, steps, features\]"),
        ({"x": np.zeros((2, 3)), "lengths": [2, 9]}, r"x of 3 steps and lengths from 2 to 9"),
        ({"x": np.array(["a", "b"])}, r"of type <U1; expected real numbers"),
        ({"x": np.zeros((2, 3)), "y": np.array(["a", "b"], object)}, r"of names save np\.array\(y, str\)"),
        (
            {"x": np.zeros((2, 3)), "subjects": [1, 2]},
            r"has the arrays subjects, which are not read; expected x, y, gr",
        ),
        (
            {"x_train": np.zeros((2, 3)), "x_val": np.zeros((1, 3))},
            r"has the arrays x_val, which .*with _train, _valid",
        ),
        ({"x": np.zeros((0, 3))}, r"has x of no recording; expected some"),
    ],
)
def test_npz_that_cannot_be_read(tmp_path, arrays, message):
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises((ValueError, TypeError), match=message):
        read_file(tmp_path / "r.npz", "r.npz", Source())


def test_npz_with_names_as_bytes_and_further_arrays(tmp_path):
    np.savez(tmp_path / "r.npz", x=np.zeros((2, 3)), y=[b"on", b"off"], made_by=["me", "you", "us"])
    frames = read_file(tmp_path / "r.npz", "r.npz", Source())
    assert [frame.columns["label"][0] for frame in frames] == ["on", "off"]
    np.save(tmp_path / "r.npy", np.zeros(3))
    (tmp_path / "r.npy").rename(tmp_path / "s.npz")
    with pytest.raises(ValueError, match=r"s\.npz is no \.npz file, or damaged: it holds a single array"):
        read_file(tmp_path / "s.npz", "s.npz", Source())


def test_other_formats_say_what_to_do(tmp_path):
    (tmp_path / "r.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"r\.xlsx is of no format that is read .*Save its sheet as CSV\."):
        read_file(tmp_path / "r.xlsx", "r.xlsx", Source())
