"""Sensors' integers in the saved firmware: scaled as rational numbers are, and the model sees what Keras sees."""

import json
import subprocess
import warnings
from fractions import Fraction

import keras
import numpy as np
import pytest
from test_application_firmware import BOARD, STRICT, UNDEFINED, classifier_of_blocks, compile_all, several, tokens

from keras_s4.datasets import Sensor
from keras_s4.decisions import Decision
from keras_s4.layers import DSS, LastStep
from keras_s4.tflite import convert
from keras_s4.tflite.application.sensors import RAW, sensor_inputs
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

WEATHER = (
    Sensor("pressure", ("",), "Pa", lsb=0.01),
    Sensor("temperature", ("inside", "outside"), "degC", lsb=1 / 256, zero=20.0),
    Sensor("humidity", ("",), "", lsb=1 / 65536),
)
LENGTH = 40


def raw_weather(count, seed):
    """Raw integers `[B, L, 4]` and the real numbers that they stand for."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(size=(count, LENGTH, 4)), axis=1) / 6
    real = np.array([101_300.0, 21.0, 8.0, 0.45]) + walk * [400.0, 2.0, 6.0, 0.1]
    lsb, zero = np.array([0.01, 1 / 256, 1 / 256, 1 / 65536]), np.array([0.0, 20.0, 20.0, 0.0])
    raw = np.rint((real - zero) / lsb).astype(np.int64)
    return raw, zero + raw * lsb


@pytest.fixture(scope="module")
def station():
    """A model that normalises what it is given, and its conversion."""
    keras.utils.set_random_seed(0)
    _, real = raw_weather(64, 0)
    normalization = keras.layers.Normalization()
    normalization.adapt(real)
    layers = [normalization, keras.layers.Dense(6), DSS(4), LastStep(), keras.layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((LENGTH, 4)), *layers])
    return model, convert(model, real)


@pytest.fixture(scope="module")
def saved(station, tmp_path_factory):
    decision = Decision(kind="labels", every=10, threshold=0.3)
    return station[1].save(tmp_path_factory.mktemp("station") / "saved", decision=decision, sensors=WEATHER)


def compiled(saved, target, **changes):
    return compile_all(saved, target, str(saved / "firmware" / "decisions.c"), *UNDEFINED, **changes)


def test_the_main_loop_plays_what_sensors_give(saved, tmp_path):
    done = subprocess.run([compiled(saved, tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 of them differ" in done.stdout
    facts = json.loads((saved / "manifest.json").read_text())["sensors"]
    assert [fact["sensor"]["unit"] for fact in facts] == ["Pa", "degC", "degC", ""]


def test_raw_integers_through_the_firmware_are_what_keras_makes_of_real_numbers(station, saved, tmp_path):
    model, converted = station
    raw, real = raw_weather(6, 1)
    board = BOARD.replace("results)", "results, const decision_result *decided)")
    board = board.replace("decided) {", "decided) { (void)decided;")
    (tmp_path / "board.c").write_text(board)
    binary = compiled(saved, tmp_path / "run", board_host=tmp_path / "board.c")
    outputs = []
    for stream in raw.astype(np.int32):
        stdin = b"".join(np.uint32(4).tobytes() + burst.tobytes() for burst in stream.reshape(-1, 4, 4))
        done = subprocess.run([binary], input=stdin, capture_output=True, check=True)
        outputs.append(np.frombuffer(done.stdout, converted.program.outputs[0].type).reshape(-1, 3))
    integers = converted.quantize_raw(raw, WEATHER)
    np.testing.assert_array_equal(outputs, Emulator(converted.program).run(integers)[:, 9::10])
    # Where rounding halves differs from floating point the two may be one apart.
    assert np.abs(integers.astype(int) - converted.quantize(real)).max() <= 1
    assert np.mean(integers != converted.quantize(real)) < 1e-3
    found = converted.outputs_of_keras(np.array(outputs))
    expected = model.predict(real, verbose=0)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


def test_a_wrong_scale_fails_the_check(saved, tmp_path):
    text = (saved / "firmware" / "sensors.c").read_text()
    line = next(line for line in text.splitlines() if "temperature outside" in line)
    multiplier = line.split(",")[1].strip()
    folder = tmp_path / "changed"
    for room in ("firmware", "c99"):
        (folder / room).mkdir(parents=True)
        for path in (saved / room).iterdir():
            (folder / room / path.name).write_bytes(path.read_bytes())
    (folder / "firmware" / "sensors.c").write_text(text.replace(multiplier, str(int(multiplier) * 101 // 100), 2))
    done = subprocess.run([compiled(folder, tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 1


def program_of(encoding, tensor):
    encodings = {"x": encoding} if encoding else {}
    return Program("made up", (tensor,), (tensor,), (), (), encodings=encodings)


SCALED = """
#include <stdio.h>
#include "sensor_scale.h"
static const sensor_scale scales[] = {SCALES};
int main(void)
{
    int32_t v[2];
    while (fread(v, sizeof v, 1, stdin) == 1) {
        printf("%d\\n", (int)sensor_to_model(v[1], &scales[v[0]], ZERO, LOW, HIGH));
    }
    return 0;
}
"""


@pytest.mark.parametrize(("dtype", "zero_point"), [("int16", 0), ("int8", -31)])
def test_scales_are_those_of_rational_numbers(dtype, zero_point, saved, tmp_path):
    """Python, C and fractions agree over all raw integers that matter, up to 2**-20 of an integer of the model."""
    unit, offset = np.array([1.0, 0.03, -2e3, 1e-7, 40.0]), np.array([0.0, 25.0, 101_325.0, -1e-4, -1e6])
    limits = np.iinfo(dtype)
    tensor = Tensor("x", (5,), dtype, np.float32(4.0 / limits.max), zero_point)
    program = program_of(Encoding(unit, offset), tensor)
    sensors = {
        feature: {"lsb": abs(unit[feature]) * lsb, "zero": offset[feature] + zero * unit[feature]}
        for feature, (lsb, zero) in enumerate(((1e-3, 0.0), (7e-6, 1.5), (0.2, -2.0), (1 / 3000, 0.7), (2e-9, 0.1)))
    }
    (found,) = sensor_inputs(program, sensors)
    random = np.random.default_rng(0)
    raw = random.integers(-(2**31), 2**31, (3000, 5))
    ends = found.raw(np.array([[limits.min] * 5, [limits.max] * 5]))
    inside = random.integers(ends.min(axis=0), ends.max(axis=0) + 1, (3000, 5))
    raw = np.concatenate([raw, inside, ends, np.tile([[RAW[0]], [RAW[1]], [0]], (1, 5))])
    integers = found.integers(raw)
    scale = Fraction(float(tensor.scale))
    for feature in range(5):
        lsb, zero = (Fraction(sensors[feature][key]) for key in ("lsb", "zero"))
        per = Fraction(float(unit[feature]) * float(tensor.scale))
        assert abs(per - Fraction(unit[feature]) * scale) < abs(per) * Fraction(1, 2**50)
        for value, integer in zip(raw[:, feature].tolist(), integers[:, feature].tolist(), strict=True):
            exact = (lsb * value + zero - Fraction(offset[feature])) / per + zero_point
            exact = min(max(exact, Fraction(int(limits.min))), Fraction(int(limits.max)))
            assert abs(integer - exact) <= Fraction(1, 2) + Fraction(1, 2**16)
    text = SCALED.replace("SCALES", ", ".join(scale.initializer for scale in found.scales))
    text = text.replace("ZERO", str(zero_point)).replace("LOW", str(limits.min)).replace("HIGH", str(limits.max))
    (tmp_path / "test.c").write_text(text)
    source = saved / "firmware" / "sensor_scale.c"
    command = [*compiler(), *STRICT, *UNDEFINED, "-I", source.parent, tmp_path / "test.c", source]
    subprocess.run([*command, "-o", tmp_path / "test"], check=True)
    pairs = np.stack([np.tile(np.arange(5), (len(raw), 1)), raw], axis=-1).astype(np.int32)
    done = subprocess.run([tmp_path / "test"], input=pairs.tobytes(), capture_output=True, check=True)
    in_c = np.array(done.stdout.split(), int).reshape(raw.shape)
    np.testing.assert_array_equal(in_c, integers)


def test_blocks_and_several_inputs_have_sensors_too(tmp_path):
    given = {
        classifier_of_blocks: (Sensor("gyroscope", ("x", "y", "z"), "rad/s", lsb=1 / 5000, zero=0.1),),
        several: {
            "class": (Sensor("fast", ("a", "b", "c"), lsb=1e-3),),
            "slow": {feature: {"lsb": 0.1, "zero": -1.0} for feature in range(4)},
        },
    }
    for made, sensors in given.items():
        program = made()
        converted = Converted(program, to_tflite(program, "inputs"), None)
        saved = converted.save(tmp_path / made.__name__, sensors=sensors)
        binary = compile_all(saved, tmp_path / f"run_{made.__name__}", *UNDEFINED)
        done = subprocess.run([binary], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_blocks_take_raw_integers_in_the_shape_of_the_signal():
    program = classifier_of_blocks()
    converted = Converted(program, b"", None)
    sensors = (Sensor("gyroscope", ("x", "y", "z"), "rad/s", lsb=2.0**-13),)
    raw = np.random.default_rng(0).integers(-3000, 3000, (2, 8, 3))
    np.testing.assert_array_equal(converted.quantize_raw(raw, sensors), converted.quantize(raw * 2.0**-13))
    with pytest.raises(ValueError, match=r"shape \[2, 7, 3\]; expected \[B, L, 3\] with a multiple of 2 as L"):
        converted.quantize_raw(raw[:, :7], sensors)
    with pytest.raises(TypeError, match="raw float64; expected a sensor's whole numbers"):
        converted.quantize_raw(raw * 1.0, sensors)


TENSOR = Tensor("x", (2,), "int16", np.float32(2.0**-12))


@pytest.mark.parametrize(
    ("sensors", "error", "message"),
    [
        ((Sensor("a", ("x", "y")),), ValueError, "sensor 'a', has no lsb; expected what one integer"),
        ((Sensor("a", ("x", "y"), lsb=0.0),), ValueError, "lsb=0; expected"),
        ((Sensor("a", ("x", "y", "z"), lsb=0.1),), ValueError, r"3 axes \(a x, a y, a z\); it takes 2 features"),
        ("accelerometer", TypeError, "sensors='accelerometer'"),
        ((0.1, 0.1), TypeError, "got the sensor 0.1; expected a keras_s4.datasets.Sensor"),
        ({0: {"lsb": 0.1}}, ValueError, r"features \[0\]; expected one of each, from 0 to 1"),
        ({0: {"lsb": 0.1}, 1: {"lbs": 0.1}}, ValueError, "feature 1, got {'lbs': 0.1}; expected a dict of lsb"),
        ({0: {"lsb": 0.1}, 1: {"lsb": float("nan")}}, ValueError, "feature 1, got lsb=nan"),
        ({0: {"lsb": 0.1}, 1: {"lsb": 0.1, "range": (5, 3)}}, ValueError, r"range=\(5, 3\); expected the least"),
        ({"y": {0: {"lsb": 0.1}}}, ValueError, "got sensors of 'y'; its inputs are x"),
        ({0: {"lsb": 0.1}, 1: {"lsb": 9.81 * 16384}}, ValueError, "would be clipped, or become one and the same"),
        ({0: {"lsb": 0.1}, 1: {"lsb": 0.01, "zero": 1e9}}, ValueError, "which all would be clipped. Give lsb and zero"),
        (
            {0: {"lsb": 0.1}, 1: {"lsb": 1e-3, "zero": -100.0, "range": (0, 4095)}},
            ValueError,
            "integers from 92000 to 108000; it gives 0 to 4095, which all would be clipped",
        ),
    ],
)
def test_sensors_that_cannot_be_are_refused(sensors, error, message):
    with pytest.raises(error, match=message):
        sensor_inputs(program_of(None, TENSOR), sensors)


def test_a_sensor_that_tells_few_values_apart_is_told():
    """Two of a switch are enough for it, but may be a wrong unit."""
    good = {"lsb": 0.01}
    with pytest.warns(UserWarning, match=r"Input 'x'.*feature 1: .*tells 4 values apart"):
        sensor_inputs(program_of(None, TENSOR), {0: good, 1: {"lsb": 4.0}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sensor_inputs(program_of(None, TENSOR), {0: good, 1: good})


def test_programs_of_tokens_have_no_sensors_and_others_refuse_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="takes tokens alone"):
        sensor_inputs(tokens(), (Sensor("a", ("x",), lsb=0.1),))
    program = classifier_of_blocks()
    with pytest.raises(ValueError, match="has no lsb"):
        Converted(program, b"", None).save(tmp_path / "saved", sensors=(Sensor("a", ("x", "y", "z")),))
    assert not (tmp_path / "saved").exists()
