"""What a page reads: CSV, WAV, other rates, real numbers as integers; and what it says of files that it cannot use."""

import base64
import csv
import io
import struct

import numpy as np
import pytest
from node_runs import needs_node, run_in_node
from web_models import ACCELERATION, movements, wearable

from keras_s4.tflite.application.web.packing import pack

pytestmark = needs_node

FEATURES = [{"name": f"acceleration {axis}"} for axis in "xyz"]
READ_CSV = """
import { parseCsv } from "./csv.js";
import { chooseColumns, rateOf } from "./columns.js";
// run
return data.texts.map((text) => {
  try {
    const { columns, how, times } = chooseColumns(parseCsv(text), data.features);
    return { columns: columns.map((column) => [...column]), how, rate: times && rateOf(times) };
  } catch (error) {
    return { error: error.message };
  }
});
"""
READ_WAV = """
import { parseWav } from "./wav.js";
import { decodeBytes } from "./bytes.js";
// run
return data.map((file) => {
  try {
    const { rate, channels } = parseWav(decodeBytes(file).buffer);
    return { rate, channels: channels.map((channel) => [...channel]) };
  } catch (error) {
    return { error: error.message };
  }
});
"""


def read_csv(tmp_path, *texts, features=FEATURES):
    return run_in_node(tmp_path, READ_CSV, {"texts": texts, "features": features})


def written(rows, **dialect):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", **dialect).writerows(rows)
    return file.getvalue()


ROWS = [[0.0, 0.1, -0.25], [0.02, 1e-7, 3.0], [0.04, 17.123456789012345, -1.5e3]]


def test_columns_are_found_by_name_in_any_dialect(tmp_path):
    x, y, z = zip(*ROWS, strict=True)
    header = ["Acceleration_Z [g]", "label", "time", "acceleration x", "ACCELERATION Y (g)"]
    rows = [header, *([c, "walk", t, a, b] for c, t, a, b in zip(z, [0.0, 0.02, 0.04], x, y, strict=True))]
    spaced = "# a note\n" + written([[str(field).replace(" ", "") for field in row] for row in rows], delimiter="\t")
    ended = written(rows).replace("\n", ",\n")
    comma = written([[str(field).replace(".", ",") for field in row] for row in rows], delimiter=";")
    bom = "\ufeff" + written(rows, quoting=csv.QUOTE_ALL).replace("\n", "\r\n")
    for found in read_csv(tmp_path, written(rows), spaced, comma, bom, ended):
        assert found["columns"] == [list(x), list(y), list(z)], found
        assert found["how"] == "by their names"
        assert found["rate"] == pytest.approx(50.0)


def test_columns_are_taken_in_their_order_where_there_are_as_many(tmp_path):
    bare, named, timed = (
        written(ROWS),
        written([["a", "b", "c"], *ROWS]),
        written([["t_ms", "a", "b", "c"], *([i * 20, *row] for i, row in enumerate(ROWS))]),
    )
    for found in read_csv(tmp_path, bare, named, timed):
        assert found["columns"] == [list(column) for column in zip(*ROWS, strict=True)]
        assert found["how"] == "in their order"


@pytest.mark.parametrize(
    ("head", "times"),
    [
        ("time", [0.0, 0.02, 0.04]),
        ("time_ms", [0, 20, 40]),
        ("Time [us]", [0, 20_000, 40_000]),
        ("timestamp", [1764500000000, 1764500000020, 1764500000040]),
        ("timestamp", [1764500000000000000, 1764500000020000000, 1764500000040000000]),
        ("t", ["2026-11-30 00:00:59.98", "2026-11-30 00:01:00", "2026-11-30T00:01:00.020"]),
    ],
)
def test_times_of_any_unit_say_the_rate(tmp_path, head, times):
    rows = [[head, "acceleration x", "acceleration y", "acceleration z"]]
    rows += [[time, *row] for time, row in zip(times, ROWS, strict=True)]
    (found,) = read_csv(tmp_path, written(rows))
    assert found["rate"] == pytest.approx(50.0)
    assert found["columns"] == [list(column) for column in zip(*ROWS, strict=True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line of data"),
        ("a,b,c\n", "a header and no line"),
        ("1,2,3\n4,5\n", "Line 2 has 2 fields, the first one 3"),
        ("a,b\n1,2\n", 'takes 3 features: "acceleration x"'),
        ("a\0,\0b\0", "no text in UTF-8"),
        ("acceleration x,acceleration y,acceleration z\n1,2,3\n4,,6\n", '"acceleration y" has nothing in line 3'),
        ("acceleration x,acceleration y,acceleration z\n1,2,3\n4,oops,6\n", '"oops" in line 3'),
        ("t,a,b,c\n0,1,1,1\n0.1,1,1,1\n0.2,1,1,1\n1.2,1,1,1\n", "uneven: from sample 3 to 4"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, message):
    (found,) = read_csv(tmp_path, text)
    assert message in found["error"]


def wav(samples, rate=8000, kind=1, bits=16, size=None):
    data = samples.tobytes() if isinstance(samples, np.ndarray) else samples
    channels = samples.shape[1] if isinstance(samples, np.ndarray) and samples.ndim > 1 else 1
    frame = channels * bits // 8
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * frame, frame, bits)
    junk = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    body = header + junk + struct.pack("<4sI", b"data", len(data) if size is None else size) + data
    return base64.b64encode(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body).decode()


def test_wav_files_of_all_widths(tmp_path):
    random = np.random.default_rng(0)
    short = random.integers(-(2**15), 2**15, (50, 2)).astype("<i2")
    wide = random.integers(-(2**31), 2**31, 50).astype("<i4")
    triple = np.frombuffer(wide.tobytes(), np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    real = random.normal(size=50)
    bytes_ = random.integers(0, 256, 50).astype(np.uint8)
    files = [
        (wav(short), short / 2**15),
        (wav(short, size=0xFFFFFFFF), short / 2**15),
        (wav(wide, bits=32), wide / 2**31),
        (wav(triple, bits=24), (wide >> 8) / 2**23),
        (wav(bytes_, bits=8), (bytes_.astype(float) - 128) / 128),
        (wav(real.astype("<f4"), kind=3, bits=32), real.astype("<f4")),
        (wav(real, kind=3, bits=64), real),
    ]
    for (_, expected), found in zip(files, run_in_node(tmp_path, READ_WAV, [file for file, _ in files]), strict=True):
        assert found["rate"] == 8000
        np.testing.assert_array_equal(np.transpose(found["channels"]), expected.reshape(50, -1))


def test_wav_files_that_cannot_be_used(tmp_path):
    good = wav(np.zeros(9, "<i2"))
    cut = base64.b64encode(base64.b64decode(good)[:-4]).decode()
    files = ["bm8gd2F2IGZpbGUgYXQgYWxs", cut, wav(np.zeros(9, "<i2"), kind=0x55), wav(np.zeros(0, "<i2"))]
    errors = [found["error"] for found in run_in_node(tmp_path, READ_WAV, files)]
    for error, words in zip(errors, ["no WAV file", "cut off", "uncompressed", "no sample"], strict=True):
        assert words in error


def test_another_rate_keeps_what_it_can_hold_and_nothing_else(tmp_path):
    """A tone below half the new rate stays itself, one above it goes."""
    places = np.arange(4410) / 44100.0
    script = (
        'import { resample } from "./resample.js";\n// run\nreturn data.map((x) => [...resample(x, 44100, 16000)]);'
    )
    tones = [np.sin(2 * np.pi * frequency * places).tolist() for frequency in (1000.0, 12000.0)]
    kept, gone = (np.array(found) for found in run_in_node(tmp_path, script, tones))
    assert len(kept) == len(gone) == 1600
    inner = slice(100, -100)
    expected = np.sin(2 * np.pi * 1000.0 * np.arange(1600) / 16000.0)
    np.testing.assert_allclose(kept[inner], expected[inner], atol=2e-3)
    assert np.abs(gone[inner]).max() < 2e-3


def test_pieces_are_resampled_as_the_whole(tmp_path):
    script = """
import { Resampler, resample } from "./resample.js";
// run
const resampler = new Resampler(48000, 16000);
const pieces = [];
for (let i = 0; i < data.length; i += 128) pieces.push(...resampler.push(data.slice(i, i + 128)));
return [[...pieces, ...resampler.finish()], [...resample(data, 48000, 16000)]];
"""
    pieces, whole = run_in_node(tmp_path, script, np.random.default_rng(0).normal(size=20000).tolist())
    assert len(whole) == 6667
    assert pieces == whole


def test_readings_of_a_phone_come_at_equal_steps(tmp_path):
    """Lines between readings that come when they like."""
    script = """
import { Grid } from "./resample.js";
// run
const grid = new Grid(50);
return data.flatMap((time) => grid.push(time, [time, -2 * time]));
"""
    times = np.cumsum(np.random.default_rng(0).uniform(5, 30, 200))
    found = np.array(run_in_node(tmp_path, script, times.tolist()))
    expected = np.arange(times[0], times[-1], 20.0)
    np.testing.assert_allclose(found, np.stack([expected, -2 * expected], axis=1), rtol=1e-9)


def test_motion_of_phones_becomes_what_features_are(tmp_path):
    """By the names of features and their units; the sign is that of the standard on an iPhone as well."""
    script = """
import { MOTIONS, factorOf, guessMotion, signOfPlatform } from "./motion.js";
// run
return [
  data.features.map((feature, i) => [feature, MOTIONS[guessMotion(feature, i)]])
    .map(([feature, motion]) => [motion.name, factorOf(motion, feature.unitName)]),
  data.platforms.map(signOfPlatform),
];
"""
    names = [("acc_z", "g"), ("ay", "m/s2"), ("gyro x", "deg/s"), ("gz", "rad/s"), ("x", "mg"), ("speed", "")]
    agents = ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0)", "Mozilla/5.0 (Linux; Android 15)"]
    data = {
        "features": [{"name": name, "unitName": unit} for name, unit in names],
        "platforms": [{"userAgent": agent} for agent in agents],
    }
    found, signs = run_in_node(tmp_path, script, data)
    assert [name for name, _ in found] == [
        "acceleration z",
        "acceleration y",
        "turning around x",
        "turning around z",
        "acceleration x",
        "acceleration z",
    ]
    factors = [1 / 9.80665, 1.0, 1.0, np.pi / 180, 1000 / 9.80665, 1.0]
    np.testing.assert_allclose([factor for _, factor in found], factors)
    assert signs == [-1, 1]


def test_pages_say_why_there_are_no_sensors(tmp_path):
    script = """
import { whyNoMicrophone } from "./microphone.js";
import { whyNoMotion } from "./motion.js";
// run
const media = { mediaDevices: { getUserMedia: () => {} } };
return [
  whyNoMotion({ isSecureContext: true }),
  whyNoMotion({ isSecureContext: false, DeviceMotionEvent: {} }),
  whyNoMotion({ isSecureContext: true, DeviceMotionEvent: {} }),
  whyNoMicrophone({ isSecureContext: false, navigator: {} }),
  whyNoMicrophone({ isSecureContext: true, navigator: {} }),
  whyNoMicrophone({ isSecureContext: true, navigator: media }),
];
"""
    found = run_in_node(tmp_path, script)
    assert [bool(reason) for reason in found] == [True, True, False, True, True, False]
    assert "https" in found[1] and "https" in found[3] and "https" not in found[0] + found[4]


def test_real_numbers_become_the_integers_of_python(tmp_path):
    """With the encodings of the model, with those of its sensors, and halves to even."""
    converted = wearable()
    script = """
import { decodeArray } from "./bytes.js";
import { rawOf } from "./quantize.js";
// run
const real = decodeArray(data.real);
return [...real].map((value, i) => rawOf(data.features[i % data.features.length], value));
"""
    real = np.concatenate([movements(2, 5).reshape(-1, 3), np.array([[1e9, -1e9, 0.0]])])
    tensor = converted.program.inputs[0]
    encoding = converted.program.encodings.get(tensor.name)
    units = [1.0] * 3 if encoding is None else encoding.unit.tolist()
    offsets = [0.0] * 3 if encoding is None else encoding.offset.tolist()
    limits = np.iinfo(tensor.type)
    model = [
        {"kind": "model", "unit": unit, "offset": offset, "scale": float(tensor.scale), "zeroPoint": tensor.zero_point,
         "range": [int(limits.min), int(limits.max)]}
        for unit, offset in zip(units, offsets, strict=True)
    ]  # fmt: skip
    found = run_in_node(tmp_path, script, {"real": pack(real), "features": model})
    expected = converted.quantize(real[None], whole=False)[0].astype(int) - tensor.zero_point
    np.testing.assert_array_equal(np.reshape(found, (-1, 3)), expected)
    halves = np.arange(-9, 10) / 2
    sensor = [{"kind": "sensor", "lsb": ACCELERATION[0].lsb, "zero": 0.25, "range": [-3, 4]}]
    found = run_in_node(tmp_path, script, {"real": pack(0.25 + halves / 4096), "features": sensor})
    np.testing.assert_array_equal(found, np.clip(np.rint(halves), -3, 4))
