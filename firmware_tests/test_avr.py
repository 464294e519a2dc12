"""Generated C where `int` has 16 bits: on an AVR in simavr, every operation bit for bit, and nothing leaves an `int`.

A product of int16 and int8 fits the `int` of other cores and silently wraps in this one. Skipped where Debian's
gcc-avr, avr-libc or simavr are missing.
"""

import dataclasses
import re

import pytest

from keras_s4.testing.programs import SINGLE, single
from keras_s4.testing.targets import avr, from_any_state, from_reset
from keras_s4.tflite.application.ends import ends_of
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.program.blocks import in_blocks

# Kernels, and what of them must be wider than `int`.
WIDENED = {
    "fully_connected_int16": ("keras_s4_dense.c", "(int32_t)*input * *weights", "*input * *weights"),
    "depthwise_product": ("keras_s4_depthwise.c", "(int32_t)input[", "input["),
    "normalize": ("keras_s4_normalize.c", "(int32_t)input[i] *", "input[i] *"),
}


@pytest.fixture(scope="module", autouse=True)
def tools():
    """Skips, with the reason, where a tool is missing."""
    try:
        avr.avr_gcc()
        avr.simavr()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("traps", [False, True], ids=["as it is", "with traps"])
@pytest.mark.parametrize("name", SINGLE)
def test_operations(name, traps, tmp_path):
    program = single(name, 1, lowered=True)
    vectors = from_any_state(program) if traps else from_reset(program)
    report = avr.run_vectors(program, vectors, tmp_path, traps=traps)
    assert (report.wrong, report.steps) == (0, 24 if traps else 40)


@pytest.mark.parametrize("traps", [False, True], ids=["as it is", "with traps"])
def test_a_model_from_any_state(random_program, traps, tmp_path):
    report = avr.run_vectors(random_program, from_any_state(random_program), tmp_path, traps=traps)
    assert (report.wrong, report.steps) == (0, 24)


def test_blocks_of_steps(random_program, tmp_path):
    program = in_blocks(random_program, 3)
    report = avr.run_vectors(program, from_reset(program, 1, 8), tmp_path)
    assert (report.wrong, report.steps) == (0, 8)


def test_a_classifier(classifier, tmp_path, hold):
    """Within its budget: real cycles, since the core takes the same for an instruction each time."""
    report = avr.run_vectors(classifier, from_reset(classifier, 1, 10), tmp_path)
    assert (report.wrong, report.steps) == (0, 10)
    sizes = avr.sizes_of(tmp_path, c_source(classifier, avr.NAME))
    hold("avr simavr classifier", sizes, report.cycles, report.stack_bytes, unit="cycles")


@pytest.mark.parametrize("name", WIDENED)
def test_products_in_int_are_found(name, tmp_path):
    """By their results, and by traps."""
    program = single(name, 1, lowered=True)
    file, wide, narrow = WIDENED[name]
    sources = c_source(program, "model")
    assert wide in sources[file]
    sources[file] = sources[file].replace(wide, narrow)
    for folder in ("plain", "traps"):
        (tmp_path / folder).mkdir()
    vectors = from_reset(program)
    assert avr.run_vectors(program, vectors, tmp_path / "plain", sources).wrong > 0
    with pytest.raises(RuntimeError, match="overflow"):
        avr.run_vectors(program, vectors, tmp_path / "traps", sources, traps=True)


def test_shifts_out_of_int_are_found(tmp_path):
    """By traps, before the index that comes of it is outside of the table."""
    program = single("interpolate", 1, lowered=True)
    sources = c_source(program, "model")
    wide = "(x + ((int32_t)1 << 15))"
    assert wide in sources["keras_s4_gates.c"]
    sources["keras_s4_gates.c"] = sources["keras_s4_gates.c"].replace(wide, "(x + (1 << 15))")
    with pytest.raises(RuntimeError, match="overflow"):
        avr.run_vectors(program, from_reset(program), tmp_path, sources, traps=True)


def test_the_firmware_with_ring_and_scaling(random_program, tmp_path):
    """The saved main loop plays its recordings; only printf goes elsewhere than on a computer."""
    program = dataclasses.replace(random_program, output_activations=("softmax",))
    golden = golden_vectors(program, 1, 24)
    files = render_firmware(program, {"window_length": 12}, golden, "model")
    main = {"console.c": (avr.C / "avr_console.c").read_text()}
    strict = {name: text for name, text in files.items() if name != "Makefile"} | c_source(program, "model")
    text = avr.run_image(avr.build_image(strict, main, tmp_path))
    assert "4 of 4 results came, 0 of them differ." in text, text


RING = """
#include <stdio.h>
#include "sample_ring.h"
static sample_ring ring;
int main(void)
{
    static sensor_sample s;
    uint32_t taken = 0, disordered = 0;
    int32_t next = -1;
    sample_ring_reset(&ring);
    for (int32_t i = 0; i < 1010; ++i) {
        s.FIELD[0] = i;
        if (i < 1000) {
            sample_ring_put(&ring, &s);
        }
        if (i % 10 == 9 && i < 1000) {
            continue;
        }
        const ring_content content = sample_ring_take(&ring, &s);
        if (content != RING_EMPTY) {
            ++taken;
            disordered += (s.FIELD[0] != next) != (content == RING_SAMPLE_AFTER_GAP);
            next = s.FIELD[0] + 1;
        }
    }
    printf("%lu %lu %lu\\n", (unsigned long)taken, (unsigned long)sample_ring_lost(&ring), (unsigned long)disordered);
    return 0;
}
"""


def test_samples_of_the_ring_arrive_in_order_or_are_counted(tmp_path):
    """More than a byte of its counters counts, and losses among them."""
    program = single("fully_connected_int8", 1)
    files = render_firmware(program, {"window_length": None}, golden_vectors(program, 1, 8), "model")
    ring = {name: files[name] for name in ("application.h", "sample_ring.c", "sample_ring.h")}
    main = RING.replace("FIELD", ends_of(program)[0][0].field)
    harness = {"main.c": main, "console.c": (avr.C / "avr_console.c").read_text()}
    text = avr.run_image(avr.build_image(ring, harness, tmp_path))
    taken, lost, disordered = map(int, re.search(r"^(\d+) (\d+) (\d+)$", text, re.MULTILINE).groups())
    assert (taken + lost, disordered) == (1000, 0)
    assert lost > 0
