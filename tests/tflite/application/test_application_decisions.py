"""Decisions in C: what `Decider` decides, bit for bit, alone and in the saved applications."""

import dataclasses
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from cpp_compiler import COMPILER, FLAGS, needs_compiler
from test_application_firmware import (
    BOARD,
    STRICT,
    UNDEFINED,
    classifier,
    classifier_of_blocks,
    compile_all,
    sequence_of_blocks,
    several,
    tokens,
)

from keras_s4.decisions import Decider, Decision, Scores
from keras_s4.layers import RecentAverage, SlidingAverage
from keras_s4.tflite import convert
from keras_s4.tflite.application import firmware
from keras_s4.tflite.application.decisions import decision_of, golden_decisions, macros_of, render_decisions
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

DRIVER = """
#include <stdio.h>
#include "decisions.h"
int main(void)
{
    decision_state state;
    decision_result decided;
    VALUE values[DECISION_CLASSES];
    decision_reset(&state);
    while (fread(values, sizeof values, 1, stdin) == 1) {
        decision_step(&state, values, &decided);
        PRINT
    }
    return 0;
}
"""
PRINT = {
    "class": 'printf("%d %d\\n", decided.said, decided.changed);',
    "wake word": 'printf("%d\\n", decided.fired);',
    "labels": 'for (int c = 0; c < DECISION_CLASSES; ++c) { printf("%d %d ", decided.on[c], decided.fired[c]); }\n'
    '        printf("\\n");',
}


def with_output(tensor: Tensor, activation: str) -> Program:
    """A program of which the output alone matters."""
    return Program("made up", (Tensor("x", (3,), "int8", 0.1),), (tensor,), (), (), (activation,))


def random_decision(random, kind, count, unit):
    """Thresholds where scores of this unit are."""
    low, high = (0.2, 0.5) if unit is None else (-30 * unit, 30 * unit)
    thresholds = tuple(random.uniform(low, high, count).tolist())
    threshold = thresholds if random.random() < 0.5 else thresholds[0]
    release = float(random.uniform(low - abs(low) / 2, min(thresholds))) if random.random() < 0.7 else None
    return Decision(
        kind=kind,
        smoothing=float(random.choice([0, 0.5, 3, 100])),
        threshold=threshold,
        release=release,
        confirmations=int(random.integers(1, 4)),
        refractory=float(random.integers(0, 9)),
        settling=float(random.integers(0, 3)),
        background=int(random.integers(count)) if random.random() < 0.5 else None,
    )


def run_c(made, program, folder, values, *options):
    """The lines that the C prints."""
    for name, text in render_decisions(program, made).items():
        (folder / name).write_text(text)
    kind = made.decider.integers.kind
    driver = DRIVER.replace("VALUE", f"{values.dtype}_t").replace("PRINT", PRINT[kind])
    (folder / "driver.c").write_text(driver)
    command = [*compiler(), *STRICT, *options, folder / "driver.c", folder / "decisions.c", "-o", folder / "driver"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([folder / "driver"], input=values.tobytes(), capture_output=True, check=True)
    return [[int(word) for word in line.split()] for line in done.stdout.decode().splitlines()]


def lines_of(decided):
    if decided.kind == "class":
        return np.stack([decided.classes, decided.fired.any(axis=-1)], axis=-1).astype(int).tolist()
    if decided.kind == "wake word":
        return decided.classes[:, None].tolist()
    return np.stack([decided.on, decided.fired], axis=-1).astype(int).reshape(len(decided.on), -1).tolist()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("kind", "count"), [("class", 4), ("wake word", 3), ("labels", 3), ("labels", 1)])
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_c_decides_as_python_does(dtype, softmax, kind, count, seed, tmp_path):
    random = np.random.default_rng(seed)
    limits, size = np.iinfo(dtype), 2.0 ** (-4 if dtype == "int8" else -11)
    scale = np.float32(size * random.uniform(0.5, 2))
    tensor = Tensor("y", (count,), dtype, scale, int(random.integers(-90, 90)) if dtype == "int8" else 0)
    program = with_output(tensor, "softmax" if softmax else "linear")
    unit = None if softmax else float(scale) * (1 if dtype == "int8" else 256)
    made = decision_of(program, None, random_decision(random, kind, count, unit))
    walk = np.cumsum(random.normal(0, limits.max / 8, (500, count)), axis=0)
    values = np.clip(walk - walk.mean(axis=1, keepdims=True) * (count > 1), limits.min, limits.max).astype(dtype)
    values[-40:] = random.choice([limits.min, limits.max], (40, count))
    found = run_c(made, program, tmp_path, values, *UNDEFINED)
    expected = made.decider.run(values)
    assert found == lines_of(expected)
    assert len(expected.events) >= (1 if kind == "class" else 0)


def test_levels_that_are_as_large_as_they_can_be_do_not_overflow(tmp_path):
    """Scores from one end to the other, with the zero point at an end, in an average that follows at once."""
    for dtype in ("int8", "int16"):
        limits = np.iinfo(dtype)
        program = with_output(Tensor("y", (1,), dtype, 0.5, -128 if dtype == "int8" else 0), "linear")
        made = decision_of(program, None, Decision(kind="labels", smoothing=0.01, threshold=20.0, release=-1e30))
        values = np.tile(np.array([[limits.max], [limits.min]], dtype), (50, 1))
        assert run_c(made, program, tmp_path, values, *UNDEFINED) == lines_of(made.decider.run(values))


@needs_compiler
@pytest.mark.parametrize("kind", ["class", "wake word", "labels"])
def test_the_source_is_c_plus_plus_as_well(kind, tmp_path):
    program = with_output(Tensor("y", (4,), "int16", 1e-3), "softmax")
    decision = Decision(kind=kind, smoothing=2.0, release=0.2, refractory=3, settling=1, classes=("a", "b c", "ä", "7"))
    texts = render_decisions(program, decision_of(program, None, decision))
    for name, text in texts.items():
        (tmp_path / name.replace(".c", ".cc")).write_text(text)
    command = [*COMPILER, *FLAGS, "-Wconversion", "-c", tmp_path / "decisions.cc", "-o", tmp_path / "decisions.o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for index, name in enumerate(("A", "B_C", "2", "7")):
        assert f"#define DECISION_CLASS_{name} {index}\n" in texts["decisions.h"]


def write_folder(program, length, decision, folder):
    made = decision_of(program, length, decision)
    files = firmware.render_firmware(program, {"window_length": length}, golden_vectors(program), "model", made)
    for room, texts in (("firmware", files), ("c99", c_source(program, "model"))):
        (folder / room).mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / room / name).write_text(text)
    return folder


def build(folder, target, **changes):
    """Compiles the main loop with the source of the decisions."""
    return compile_all(folder, target, str(folder / "firmware" / "decisions.c"), *UNDEFINED, **changes)


CASES = {
    "class": (classifier, None, Decision(every=5, smoothing=1.5, release=0.3, background=0), 18),
    "every step": (classifier, None, Decision(), 96),
    "windows": (classifier, 60, Decision(every=60, confirmations=2), 4),
    "blocks": (classifier_of_blocks, None, Decision(kind="wake word", every=6, refractory=2), 16),
    "rows of blocks": (sequence_of_blocks, None, Decision(kind="labels", every=3, threshold=0.286), 32),
    "several outputs": (several, None, Decision(every=4, threshold=0.2, output="activation_11"), 24),
    "tokens": (tokens, None, Decision(kind="labels", every=3, threshold=0.1, release=-0.1), 32),
    "slow": (classifier, None, Decision(every=2100), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_main_loop_decides_as_the_emulator_and_python_do(case, tmp_path):
    program, length, decision, results = CASES[case]
    binary = build(write_folder(program(), length, decision, tmp_path), tmp_path / "run")
    done = subprocess.run([binary], capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()
    assert first == f"{results} of {results} results came, 0 of them differ.", done.stderr
    assert re.fullmatch(r"\d\d+ decisions of known scores, 0 of them differ\.", second)
    assert done.returncode == 0


MISTAKES = {
    "decisions after a gap": ("blocks", "application.c", "    decision_reset(&decisions);\n", ""),
    "samples after a gap": ("class", "application.c", "    samples = 0U;\n}", "}"),
    "the period": ("class", "decisions.h", "DECISION_EVERY 5U", "DECISION_EVERY 6U"),
    "the row": ("rows of blocks", "application.c", ".values + 8", ".values"),
    "a threshold": ("class", "decisions.c", "#define THRESHOLD(c) 536870912", "#define THRESHOLD(c) 1000000000"),
    "an exponential": ("class", "decisions.c", "32768, 87", "32768, 8700"),
    "the count": ("windows", "decisions.c", "count >= 2U", "count >= 1U"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_firmware_that_decides_otherwise_fails_its_check(mistake, tmp_path):
    case, name, old, new = MISTAKES[mistake]
    program, length, decision, _ = CASES[case]
    path = write_folder(program(), length, decision, tmp_path) / "firmware" / name
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    done = subprocess.run([build(tmp_path, tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout


def test_between_decisions_the_model_is_asked_for_no_outputs_and_is_never_reset(tmp_path):
    """Of 40 samples in bursts, and a refused token: results come every third sample of each stretch, of one stream."""
    program = tokens()
    folder = write_folder(program, None, Decision(kind="labels", every=3, threshold=0.0), tmp_path)
    application = (folder / "firmware" / "application.c").read_text()
    assert "model_step(&model, inputs->words, NULL)" in application
    board = BOARD.replace("(const model_results *results)", "(const model_results *results, const decision_result *d)")
    board = board.replace("1, stdout); }", "1, stdout); (void)fwrite(d->on, sizeof d->on, 1, stdout); }")
    (tmp_path / "board.c").write_text(board)
    binary = build(folder, tmp_path / "run", board_host=tmp_path / "board.c")
    words = np.random.default_rng(0).integers(0, 6, 32).astype(np.int32)
    words[25] = 6
    stdin = b"".join(np.uint32(len(burst)).tobytes() + burst.tobytes() for burst in np.split(words, range(4, 32, 4)))
    done = subprocess.run([binary], input=stdin, capture_output=True, check=True)
    assert done.stderr.decode().splitlines() == ["refused"]
    streams = [Emulator(program).run(part[None, :, None])[0][2::3] for part in (words[:25], words[26:])]
    made = decision_of(program, None, Decision(kind="labels", threshold=0.0)).decider
    on = np.concatenate([made.run(stream).on for stream in streams])
    expected = np.concatenate([np.concatenate(streams), on], axis=1)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8).reshape(-1, 8), expected)


def test_known_scores_make_events(tmp_path):
    """So that the check on the device compares more than silence."""
    for kind in ("class", "wake word", "labels"):
        for dtype, scale, activation in (
            ("int8", 0.1, "softmax"),
            ("int16", 1e-3, "softmax"),
            ("int8", 1 / 256, "linear"),
        ):
            tensor = Tensor("y", (3,), dtype, scale, -128 if activation == "linear" else 0)
            made = decision_of(with_output(tensor, activation), None, Decision(kind=kind, smoothing=0.5))
            _, decided = golden_decisions(made)
            assert len(set(decided)) >= 3


def test_known_scores_last_until_a_slow_decision_is_made():
    tensor = Tensor("y", (3,), "int8", 0.1)
    for settings in ({"confirmations": 30}, {"settling": 200.0}, {"smoothing": 12.0, "confirmations": 5}):
        made = decision_of(with_output(tensor, "softmax"), None, Decision(kind="wake word", **settings))
        known, decided = golden_decisions(made)
        assert len(known) <= 1024 and len(set(decided)) >= 3


@pytest.mark.parametrize(
    ("program", "length", "decision", "message"),
    [
        (classifier, 60, Decision(every=5), "windows of 60 steps and gives a result at the end of each: every=60"),
        (sequence_of_blocks, None, Decision(every=4), "takes 3 steps at once: expected a multiple of 3"),
        (several, None, Decision(), "outputs 'activation_11', 'activation_16'; say which decides"),
        (
            several,
            None,
            Decision(output="head"),
            "output='head', which program 'several' has not; it has 'activation_11'",
        ),
        (classifier, None, Decision(classes=("a", "b")), "2 classes, the model 5 outputs"),
    ],
)
def test_decisions_that_do_not_fit_the_program_are_refused(program, length, decision, message):
    with pytest.raises(ValueError, match=message):
        decision_of(program(), length, decision)


def test_settings_that_are_no_decision_are_refused(tmp_path):
    converted = Converted(classifier(), b"", None)
    with pytest.raises(TypeError, match=r"decision=dict; expected a keras_s4\.decisions\.Decision"):
        converted.save(tmp_path / "saved", decision={"kind": "class"})
    assert not (tmp_path / "saved").exists()


def test_outputs_that_mean_nothing_yet_decide_nothing():
    """Behind a convolution of four steps the first three values are none of Keras: of every second one is."""
    made = decision_of(classifier(), None, Decision(every=2), phase=3)
    assert made.decider.integers.settling == 1
    assert decision_of(classifier(), None, Decision(every=4), phase=3).decider.integers.settling == 0
    assert decision_of(classifier(), None, Decision(every=1), phase=3).decider.integers.settling == 3


def test_the_decider_of_a_converted_model_takes_its_integers():
    program = classifier()
    decider = Converted(program, b"", None).decider(Decision(smoothing=3.0))
    assert isinstance(decider, Decider)
    output = program.outputs[0]
    assert decider.scores == Scores(count=5, type=output.type, scale=float(output.scale), zero_point=output.zero_point)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_the_makefile_builds_decisions(tmp_path):
    program, length, decision, _ = CASES["class"]
    folder = write_folder(program(), length, dataclasses.replace(decision, classes=tuple("abcde")), tmp_path)
    make = ["make", "-C", str(folder / "firmware"), "run", f"CC={' '.join(compiler())}"]
    done = subprocess.run(make, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " decisions of known scores, 0 of them differ." in done.stdout


ENDLESS = {
    "recent": (lambda: [keras.layers.Dense(5), RecentAverage(6.0)], 6, 0),
    "recent, late": (lambda: [keras.layers.Conv1D(5, 4), RecentAverage(6.0)], 2, 1),
    "sliding": (lambda: [keras.layers.Dense(5), SlidingAverage(12, 3)], 6, 0),
    "sliding, every hop": (lambda: [SlidingAverage(9, 3, return_sequences=True), keras.layers.GRU(3)], 6, 0),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_streams_without_an_end_are_decided_without_a_reset(name, tmp_path):
    """Raw integers go in, and decisions come out, for 3,000 steps: those of Python from the emulator's outputs."""
    make, every, unready = ENDLESS[name]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((36, 4)), *make(), keras.layers.Dense(3, "softmax", name="head")])
    random = np.random.default_rng(0)
    converted = convert(model, np.cumsum(random.normal(0, 0.4, (6, 36, 4)), axis=1))
    sensors = {feature: {"lsb": 1 / 4096} for feature in range(4)}
    decision = Decision(every=every, smoothing=1.5, threshold=0.4, refractory=2)
    saved = converted.save(tmp_path / "saved", decision=decision, sensors=sensors)
    application = (saved / "firmware" / "application.c").read_text()
    assert application.count("model_reset(&model)") == 1 and "WINDOW" not in (saved / "c99" / "model.h").read_text()
    board = BOARD.replace("(const model_results *results)", "(const model_results *results, const decision_result *d)")
    board = board.replace(
        "fwrite(results, sizeof *results, 1, stdout)", 'results; (void)printf("%d %d\\n", d->said, d->changed)'
    )
    (tmp_path / "board.c").write_text(board)
    binary = build(saved, tmp_path / "run", board_host=tmp_path / "board.c")
    raw = np.clip(np.cumsum(random.normal(0, 1500, (3000, 4)), axis=0), -30000, 30000).astype(np.int32)
    stdin = b"".join(np.uint32(len(burst)).tobytes() + burst.tobytes() for burst in raw.reshape(-1, 6, 4))
    done = subprocess.run([binary], input=stdin, capture_output=True, check=True)
    found = [[int(word) for word in line.split()] for line in done.stdout.decode().splitlines()]
    integers = Emulator(converted.program).run(converted.quantize_raw(raw[None], sensors))[0]
    outputs = integers[every // converted.program.steps - 1 :: every // converted.program.steps]
    decider = converted.decider(decision)
    assert decider.integers.settling == unready
    decided = decider.run(outputs)
    assert found == lines_of(decided)
    assert len(decided.events) > 3
    check = subprocess.run([build(saved, tmp_path / "check")], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout


@pytest.mark.parametrize("classes", [("+", "-", "0"), ("a", "A", "a 0"), ("on", "off"), ("ä", "ö", "1")])
def test_each_class_has_a_constant_of_its_own(classes):
    names = macros_of(classes)
    assert len(set(names)) == len(classes)
    assert all(re.fullmatch(r"DECISION_CLASS_[A-Z0-9_]+", name) for name in names)
