"""Decisions on Cortex-M cores and an AVR: what the emulated cores decide of known scores is what Python does.

An AVR's `int` has 16 bits, and with traps nothing may leave it. Each test is skipped where its tools are missing.
"""

import dataclasses
import re

import numpy as np
import pytest

from keras_s4.datasets import Sensor
from keras_s4.decisions import Decision
from keras_s4.testing.targets import CORES, avr
from keras_s4.testing.targets.image import Image, start_up
from keras_s4.testing.targets.qemu import boot, qemu
from keras_s4.testing.targets.toolchains import C, gcc
from keras_s4.tflite.application.decisions import decision_of, golden_decisions, render_decisions
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.sensors import sensor_inputs
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

COMMON = {"smoothing": 0.7, "refractory": 3, "settling": 1, "background": 1}
DECISIONS = {
    "class": (Decision(kind="class", release=0.3, confirmations=2, **COMMON), "int8", 0.08, True),
    "wake word": (Decision(kind="wake word", threshold=(0.4, 0.5, 0.3, 0.45), **COMMON), "int16", 4e-4, True),
    "labels": (Decision(kind="labels", threshold=30.0, release=-70.0, **COMMON), "int8", 0.7, False),
    "one score": (Decision(kind="labels", threshold=0.5, smoothing=3.0), "int16", 2.0**-15, False),
}
FIELDS = {"class": ("said", "changed"), "wake word": ("fired",), "labels": ("on", "fired")}

VECTORS = """
#include "decisions.h"
static const VALUE golden_scores[COUNT][DECISION_CLASSES] = {SCORES};
static const decision_result golden_decisions[COUNT] = {DECIDED};
"""

ON_CORTEX = """
#include "firmware.h"
#include "known.h"
int main(void)
{
    static decision_state state;
    static decision_result decided;
    const uint32_t calibration = ticks_of_calibration();
    uint32_t wrong = 0, ticks = 0;
    decision_reset(&state);
    for (uint32_t i = 0; i < COUNTU; ++i) {
        const uint32_t before = TICKS;
        decision_step(&state, golden_scores[i], &decided);
        ticks += PASSED(before, TICKS);
        WRONG
    }
    report("wrong", wrong);
    report("steps", COUNTU);
    report("ticks", ticks);
    report("calibration", calibration);
    report("stack", 0);
    return wrong == 0U ? 0 : 1;
}
"""

ON_AVR = """
#include <stdio.h>
#include <string.h>
#include "known.h"
int main(void)
{
    static decision_state state;
    static decision_result decided;
    unsigned wrong = 0;
    decision_reset(&state);
    for (unsigned i = 0; i < COUNTU; ++i) {
        decision_step(&state, golden_scores[i], &decided);
        WRONG
    }
    printf("wrong %u of %u\\n", wrong, COUNTU);
    return 0;
}
"""


def known(name, count=4):
    """The sources, the known vectors, and the fields that must be equal."""
    decision, dtype, scale, softmax = DECISIONS[name]
    count = 1 if name == "one score" else count
    tensor = Tensor("y", (count,), dtype, np.float32(scale), 5 if dtype == "int8" else 0)
    program = Program("p", (Tensor("x", (3,), "int8", 0.1),), (tensor,), (), (), ("softmax" if softmax else "linear",))
    made = decision_of(program, None, decision)
    scores, decided = golden_decisions(made)
    assert len(set(decided)) >= 3
    vectors = VECTORS.replace("VALUE", f"{dtype}_t").replace("COUNT", str(len(scores)))
    vectors = vectors.replace("SCORES", ", ".join(scores)).replace("DECIDED", ", ".join(decided))
    return program, render_decisions(program, made), vectors, FIELDS[decision.kind], len(scores)


def compared(text, fields, count, differs):
    wrong = "\n        ".join(differs.replace("FIELD", field) for field in fields)
    return text.replace("WRONG", wrong).replace("COUNT", str(count))


def boot_decisions(name, core, folder, old="", new=""):
    """Image and report of the decisions, in whose source a text may be another."""
    try:
        toolchain = gcc()
        qemu()
    except RuntimeError as error:
        pytest.skip(str(error))
    program, sources, vectors, fields, count = known(name)
    assert not old or sources["decisions.c"].count(old) == 1
    sources["decisions.c"] = sources["decisions.c"].replace(old, new) if old else sources["decisions.c"]
    differs = "wrong += differences(&decided.FIELD, &golden_decisions[i].FIELD, sizeof decided.FIELD);"
    harness = {"known.h": vectors, "harness_main.c": compared(ON_CORTEX, fields, count, differs)}
    harness |= start_up(CORES[core])
    script = render(C / "link.ld.jinja", core=CORES[core], entry="start")
    elf = toolchain.link(sources, harness, script, CORES[core], folder).read_bytes()
    image = Image(program, CORES[core], toolchain.version, sources, elf)
    return image, boot(image), count


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", DECISIONS)
def test_cortex_m(name, core, tmp_path, record_property):
    image, report, count = boot_decisions(name, core, tmp_path)
    assert (report.status, report.wrong, report.steps) == (0, 0, count)
    assert not {symbol for symbol in image.symbols if re.search("div|mod", symbol)}
    record_property("firmware", f"{core} qemu decision, {name}: {report.instructions_per_step:,.0f} instructions")


def test_a_wrong_decision_is_found(tmp_path):
    _, report, _ = boot_decisions("class", "m4", tmp_path, "state->rest = 3U", "state->rest = 9U")
    assert report.status == 1 and report.wrong > 0


def skip_without_avr():
    """With the reason."""
    try:
        avr.avr_gcc()
        avr.simavr()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("traps", [False, True], ids=["as it is", "with traps"])
@pytest.mark.parametrize("name", DECISIONS)
def test_avr(name, traps, tmp_path):
    skip_without_avr()
    _, sources, vectors, fields, count = known(name)
    differs = "wrong += memcmp(&decided.FIELD, &golden_decisions[i].FIELD, sizeof decided.FIELD) != 0;"
    main = compared(ON_AVR, fields, count, differs)
    harness = {"known.h": vectors, "main.c": main, "console.c": (avr.C / "avr_console.c").read_text()}
    flags = avr.TRAPS if traps else ()
    text = avr.run_image(avr.build_image(sources, harness, tmp_path, flags))
    assert f"wrong 0 of {count}" in text, text


def test_avr_runs_the_main_loop_with_decisions_and_raw_integers_of_sensors(random_program, tmp_path):
    """Whose recordings are the sensors' own integers; only printf goes elsewhere than on a computer."""
    skip_without_avr()
    program = dataclasses.replace(random_program, output_activations=("softmax",))
    made = decision_of(program, None, Decision(every=3, smoothing=2.0, refractory=2))
    sensors = sensor_inputs(program, (Sensor("gyroscope", ("x", "y", "z"), "rad/s", lsb=1 / 900, zero=-0.25),))
    files = render_firmware(program, {"window_length": None}, golden_vectors(program, 1, 24), "model", made, sensors)
    main = {"console.c": (avr.C / "avr_console.c").read_text()}
    strict = {name: text for name, text in files.items() if name != "Makefile"} | c_source(program, "model")
    text = avr.run_image(avr.build_image(strict, main, tmp_path))
    assert "32 of 32 results came, 0 of them differ." in text, text
    assert " decisions of known scores, 0 of them differ." in text
