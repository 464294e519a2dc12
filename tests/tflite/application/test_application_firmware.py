"""The saved application and its parts, compiled for this computer."""

import dataclasses
import functools
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from project_cases import station

from keras_s4.testing import programs
from keras_s4.tflite.application import firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.blocks import Latest, in_blocks
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
# Of an application without decisions and sensors, on any board.
PARTS = "application", "sample_ring", "sensor_scale"
UNDEFINED = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]


def classifier():
    """Averages over windows."""
    return dataclasses.replace(programs.model(lowered=True), output_activations=("softmax",))


def classifier_of_blocks():
    """Averages over windows, two samples at once."""
    b = programs.Builder(2, lowered=True)
    x = b.activation(3, "int16", 2.0**-13, name="x")
    total = b.accumulate(b.diagonal_step(b.affine(x), 2, "int8"))
    latest = b.like(total, total.shape)
    b.operations.append(Latest(total, latest))
    logits = b.fully_connected(b.requantize(latest, "int8", total.scale * 40), 4)
    return in_blocks(dataclasses.replace(b.program(x, logits), output_activations=("softmax",)), 2)


def sequence_of_blocks():
    """Takes three samples at once, and gives as many classes."""
    b = programs.Builder(1, lowered=True)
    x = b.activation(3, "int16", 2.0**-13, name="x")
    program = b.program(x, b.fully_connected(b.diagonal_step(b.affine(x), 2), 4))
    return in_blocks(dataclasses.replace(program, output_activations=("softmax",)), 3)


def several():
    """Three inputs of different types, and two outputs of int16."""
    return dataclasses.replace(station(), name="several")


def tokens():
    """One input of tokens, and an output that remembers them."""
    b = programs.Builder(5, lowered=True)
    words = Tensor("words", (1,), "int32")
    u = b.requantize(b.embed(words, 6, 4), "int16", 0.03 / 256)
    return Program("tokens", (words,), (b.diagonal_step(u, 2, "int8"),), tuple(b.states), tuple(b.operations))


def write_sources(program: Program, length: int | None, folder: Path) -> Path:
    files = render(program, length) | {f"c99/{name}": text for name, text in c_source(program, "model").items()}
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def render(program: Program, length: int | None) -> dict[str, str]:
    manifest = {"window_length": length}
    texts = firmware.render_firmware(program, manifest, golden_vectors(program), "model")
    return {f"firmware/{name}": text for name, text in texts.items()}


def compile_all(folder: Path, target: Path, *options: str, **instead: Path):
    """The firmware of a folder; `board_host`, `application` or `main` from elsewhere."""
    sources = [*sorted((folder / "firmware").glob("s*.c")), *sorted((folder / "c99").glob("*.c"))]
    sources += [instead.get(name, folder / "firmware" / f"{name}.c") for name in ("main", "application", "board_host")]
    includes = ["-I", folder / "firmware", "-I", folder / "c99"]
    done = subprocess.run(
        [*compiler(), *STRICT, *options, *includes, *sources, "-o", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a program."""

    def folder(program, length=60):
        return write_sources(program(), length, tmp_path_factory.mktemp(program.__name__))

    return functools.cache(folder)


CASES = [(classifier, 4), (classifier_of_blocks, 4), (sequence_of_blocks, 96), (several, 96)]


@pytest.mark.parametrize(("program", "results"), CASES)
def test_results_of_the_application_are_those_of_the_emulator(saved, tmp_path, program, results):
    binary = compile_all(saved(program), tmp_path / "firmware", *UNDEFINED)
    done = subprocess.run([binary], capture_output=True, text=True, check=False)
    assert done.stdout == f"{results} of {results} results came, 0 of them differ.\n", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("program", "old", "new"),
    [
        (classifier, "void start_afresh(void)\n{\n    model_reset(&model);", "void start_afresh(void)\n{"),
        (classifier, "    model_reset(&model);\n    samples = 0U;\n}", "    model_reset(&model);\n}"),
        (classifier, "    model_reset(&model);\n    samples = 0U;\n    board_use", "    samples = 0U;\n    board_use"),
        (sequence_of_blocks, "samples % SAMPLES_PER_STEP, &inputs", "0U, &inputs"),
        (several, "values[i] > values[best]", "values[i] >= -values[best]"),
    ],
    ids=["reset after a gap", "window after a gap", "reset after a window", "place in a block", "largest class"],
)
def test_an_application_that_forgets_something_fails_its_check(saved, tmp_path, program, old, new):
    text = (saved(program) / "firmware" / "application.c").read_text()
    assert text.count(old) == 1
    (tmp_path / "application.c").write_text(text.replace(old, new))
    binary = compile_all(saved(program), tmp_path / "firmware", application=tmp_path / "application.c")
    done = subprocess.run([binary], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_makefile_builds_and_runs_and_takes_another_board(saved, tmp_path):
    folder = saved(classifier)
    make = ["make", "-C", str(folder / "firmware"), "run", f"CC={' '.join(compiler())}"]
    done = subprocess.run([*make, f"BUILD={tmp_path / 'host'}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 results came, 0 of them differ." in done.stdout
    text = (folder / "firmware" / "board_host.c").read_text()
    (tmp_path / "mine.c").write_text(text.replace("EXIT_SUCCESS", "7"))
    mine = [*make, f"BUILD={tmp_path / 'mine'}", f"BOARD={tmp_path / 'mine.c'}"]
    done = subprocess.run(mine, capture_output=True, text=True, check=False)
    assert "Error 7" in done.stderr


BOARD = """
#include <stdio.h>
#include <stdlib.h>
#include "board.h"
void board_start(void) {}
/* Bursts: a count, then so many samples. */
void board_wait(void)
{
    uint32_t count;
    sensor_sample sample;
    if (fread(&count, sizeof count, 1, stdin) != 1) {
        exit(0);
    }
    for (; count > 0U; --count) {
        if (fread(&sample, sizeof sample, 1, stdin) != 1) {
            abort();
        }
        sensor_sample_ready(&sample);
    }
}
void board_use(const model_results *results) { (void)fwrite(results, sizeof *results, 1, stdout); }
void board_overrun(uint32_t lost) { (void)fprintf(stderr, "lost %lu\\n", (unsigned long)lost); }
void board_refused(void) { (void)fprintf(stderr, "refused\\n"); }
"""


def test_lost_samples_and_refused_tokens_start_the_stream_afresh(saved, tmp_path):
    """The ring has room for eight: of bursts of eleven and nine, three and one are lost before a gap."""
    (tmp_path / "board.c").write_text(BOARD)
    binary = compile_all(saved(tokens, None), tmp_path / "firmware", *UNDEFINED, board_host=tmp_path / "board.c")
    words = np.random.default_rng(0).integers(0, 6, 40).astype(np.int32)
    words[25] = 6
    bursts = np.split(words[:35], [2, 8, 19, 22, 31])
    stdin = b"".join(np.uint32(len(burst)).tobytes() + burst.tobytes() for burst in bursts)
    done = subprocess.run([binary], input=stdin, capture_output=True, check=True)
    assert done.stderr.decode().splitlines() == ["lost 3", "refused", "lost 4"]
    emulator = Emulator(tokens())
    streams = words[:16], words[19:25], words[26:30], words[31:35]
    expected = np.concatenate([emulator.run(stream[None, :, None])[0] for stream in streams])
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8).reshape(-1, 4), expected)


SKETCH = """
#include <cstdio>
#include "application.h"
#include "board.h"
void board_start(void) { (void)fprintf(stderr, "start "); }
void board_wait(void) {}
void board_use(const model_results *results) { (void)fwrite(results, sizeof *results, 1, stdout); }
void board_overrun(uint32_t lost) { (void)fprintf(stderr, "lost %d ", (int)lost); }
void board_refused(void) { (void)fprintf(stderr, "refused "); }
static void setup() { application_start(); }
static void loop() { (void)fprintf(stderr, "%d ", application_poll()); }
static void arrive(int32_t word)
{
    const sensor_sample sample = {{word}};
    sensor_sample_ready(&sample);
}
int main()
{
    setup();
    loop();
    arrive(1);
    arrive(5);
    loop();
    loop();
    loop();
    arrive(2);
    setup();
    loop();
    arrive(6);
    arrive(3);
    loop();
    loop();
    return 0;
}
"""


def test_a_sketch_without_main_of_ours_starts_it_and_polls_it(saved, tmp_path):
    """Each start is a new stream, whatever waited; a poll takes one sample at most, and says whether there was one."""
    (tmp_path / "sketch.cc").write_text(SKETCH)
    folder = saved(tokens, None)
    command = [*compiler(), "-I", folder / "firmware", "-c", "-x", "c++", "-std=c++11", tmp_path / "sketch.cc"]
    subprocess.run([*command, "-o", tmp_path / "sketch.o"], check=True)
    sources = [*(folder / "c99").glob("*.c"), *(folder / "firmware" / f"{name}.c" for name in PARTS)]
    command = [*compiler(), "-I", folder / "firmware", "-I", folder / "c99", *sources, tmp_path / "sketch.o"]
    subprocess.run([*command, "-o", tmp_path / "sketch"], check=True)
    done = subprocess.run([tmp_path / "sketch"], capture_output=True, check=True)
    assert done.stderr.decode() == "start 0 1 1 0 start 0 refused 1 1 "
    expected = np.concatenate([Emulator(tokens()).run(np.int32(words))[0] for words in ([[[1], [5]]], [[[3]]])])
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8).reshape(-1, 4), expected)


RING = """
#include <pthread.h>
#include <stdio.h>
#include "sample_ring.h"
#define COUNT 200000
static sample_ring ring;
static volatile int done;
static void *produce(void *unused)
{
    (void)unused;
    for (int32_t i = 0; i < COUNT; ++i) {
        const sensor_sample sample = {{i, ~i, i, ~i}};
        sample_ring_put(&ring, &sample);
        for (volatile int pause = 0; pause < i % 64; ++pause) {
        }
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    return NULL;
}
int main(void)
{
    pthread_t thread;
    sample_ring_reset(&ring);
    ring.put = ring.taken = UINT8_MAX - 1U;
    if (pthread_create(&thread, NULL, produce, NULL) != 0) {
        return 1;
    }
    uint32_t taken = 0, torn = 0, unmarked = 0;
    int32_t next = -1;
    for (;;) {
        const int finished = __atomic_load_n(&done, __ATOMIC_ACQUIRE);
        sensor_sample s;
        const ring_content content = sample_ring_take(&ring, &s);
        if (content == RING_EMPTY) {
            if (finished) {
                break;
            }
            continue;
        }
        ++taken;
        torn += s.FIELD[1] != ~s.FIELD[0] || s.FIELD[2] != s.FIELD[0] || s.FIELD[3] != s.FIELD[1];
        unmarked += (s.FIELD[0] != next) != (content == RING_SAMPLE_AFTER_GAP);
        next = s.FIELD[0] + 1;
    }
    (void)pthread_join(thread, NULL);
    printf("%u %u %u\\n", (unsigned)(taken + sample_ring_lost(&ring)), (unsigned)torn, (unsigned)unmarked);
    return 0;
}
"""


def ring_of_four(tmp_path, text: str, *options: str) -> subprocess.CompletedProcess:
    """A program on the ring for samples of four integers."""
    b = programs.Builder(0)
    x = Tensor("x", (4,), "int16", 2.0**-12)
    folder = write_sources(b.program(x, b.affine(x)), None, tmp_path)
    (tmp_path / "test.c").write_text(text.replace("FIELD", "x"))
    command = [*compiler(), "-O2", *options, "-I", folder / "firmware", tmp_path / "test.c"]
    command += [folder / "firmware" / "sample_ring.c", "-o", tmp_path / "test"]
    subprocess.run(command, check=True)
    return subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=True)


def test_every_sample_is_taken_whole_and_in_order_or_counted_as_lost(tmp_path):
    """Two threads at full speed; the counters pass 2**8. Exactly the samples after a loss are marked."""
    done = ring_of_four(tmp_path, RING, "-pthread")
    assert done.stdout == "200000 0 0\n"


def test_a_full_ring_keeps_the_oldest(tmp_path):
    done = ring_of_four(
        tmp_path,
        """
#include <stdio.h>
#include "sample_ring.h"
int main(void)
{
    static sample_ring ring;
    sensor_sample s = {{0, 0, 0, 0}};
    ring_content content;
    sample_ring_reset(&ring);
    for (s.FIELD[0] = 0; s.FIELD[0] < 6; ++s.FIELD[0]) {
        sample_ring_put(&ring, &s);
    }
    for (int i = 0; i < 3 && (content = sample_ring_take(&ring, &s)) != RING_EMPTY; ++i) {
        printf("%d %d, ", (int)s.FIELD[0], content == RING_SAMPLE_AFTER_GAP);
    }
    for (s.FIELD[0] = 6; s.FIELD[0] < 8; ++s.FIELD[0]) {
        sample_ring_put(&ring, &s);
    }
    while ((content = sample_ring_take(&ring, &s)) != RING_EMPTY) {
        printf("%d %d, ", (int)s.FIELD[0], content == RING_SAMPLE_AFTER_GAP);
    }
    printf("lost %u\\n", (unsigned)sample_ring_lost(&ring));
    return 0;
}
""",
        "-DSAMPLE_RING_CAPACITY=4U",
    )
    assert done.stdout == "0 1, 1 0, 2 0, 3 0, 6 1, 7 0, lost 2\n"


SCALE = """
#include <stdio.h>
#include "sensor_scale.h"
static const sensor_scale gravity = SENSOR_SCALE(5, 980665LL * 4096, 16384LL * 100000);
static const sensor_scale flipped = SENSOR_SCALE(0, -1, 3);
int main(void)
{
    int32_t v[5];
    printf("%d %d %d %d\\n", (int)gravity.offset, (int)gravity.multiplier, (int)gravity.shift, (int)flipped.multiplier);
    while (fread(v, sizeof v, 1, stdin) == 1) {
        const sensor_scale scale = {v[1], v[2], (uint8_t)v[3], 0};
        printf("%d\\n", (int)sensor_to_model(v[0], &scale, v[4], -32768, 32767));
    }
    return 0;
}
"""


def test_sensor_integers_are_scaled_as_rational_numbers_are(saved, tmp_path):
    folder = saved(classifier) / "firmware"
    (tmp_path / "test.c").write_text(SCALE)
    command = [*compiler(), *STRICT, *UNDEFINED, "-I", folder, tmp_path / "test.c", folder / "sensor_scale.c"]
    subprocess.run([*command, "-o", tmp_path / "test"], check=True)
    random = np.random.default_rng(0)
    ends = [-(2**31), 2**31 - 1, 0, 1, -1]
    rows = [[a, b, c, shift, 0] for a in ends for b in ends for c in ends for shift in (0, 1, 24, 62)]
    rows += [[raw, 0, 1, 2, 3] for raw in range(-12, 13)]  # ties
    wide = random.integers(-(2**31), 2**31, (2000, 3)) >> random.integers(0, 31, (2000, 1))
    shifts, zero_points = random.integers(0, 63, (2000, 1)), random.integers(-128, 128, (2000, 1))
    rows = np.concatenate([rows, np.concatenate([wide, shifts, zero_points], axis=1)]).astype(np.int32)
    done = subprocess.run([tmp_path / "test"], input=rows.tobytes(), capture_output=True, check=True)
    first, *values = done.stdout.decode().splitlines()
    assert first == f"5 {980665 * 4096 * 2**24 // (16384 * 100000)} 24 {-(2**24 // 3)}"
    # Python rounds fractions to the nearest integer, ties to even.
    exact = [round(Fraction((a - b) * c, 2**shift)) + zero for a, b, c, shift, zero in rows.tolist()]
    assert [int(value) for value in values] == [min(max(value, -32768), 32767) for value in exact]
    assert len({value for value in exact if abs(value) < 32768}) > 300


@pytest.mark.parametrize(("length", "recorded", "results"), [(1, 2, 4), (7, 17, 4), (130, 325, 4), (201, 301, 1)])
def test_windows_may_be_longer_than_the_golden_samples(tmp_path, monkeypatch, length, recorded, results):
    monkeypatch.setattr(firmware, "LONG", 200)
    program = classifier()
    recordings = firmware.recordings_of(program, length, golden_vectors(program))
    assert (recordings.length, len(recordings.results[0])) == (recorded, results)
    binary = compile_all(write_sources(program, length, tmp_path), tmp_path / "check")
    done = subprocess.run([binary], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
