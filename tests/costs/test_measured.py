"""What the tools count: two emulators alike, the timer of the AVR what a known delay takes."""

import re

import pytest

from keras_s4.costs.cycles import count_instructions
from keras_s4.testing import programs

targets = pytest.importorskip("keras_s4.testing.targets")
avr = pytest.importorskip("keras_s4.costs.avr")
riscv = pytest.importorskip("keras_s4.costs.riscv")
tracing = pytest.importorskip("keras_s4.testing.targets.tracing")
counted = pytest.importorskip("keras_s4.costs.counted")


@pytest.fixture(scope="module")
def program():
    return programs.model(blocks=1, lowered=True)


def measured(measure, *arguments):
    """What a tool finds; skips where it is missing."""
    try:
        return measure(*arguments)
    except RuntimeError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise


def test_qemu_and_unicorn_run_the_same_blocks(program):
    vectors = targets.from_reset(program, 1, 5)
    core = targets.CORES["m4"]
    found = tracing.trace_on_unicorn(measured(targets.build, program, core, "gcc"), vectors.inputs)
    other = measured(tracing.trace_on_qemu, targets.build(program, core, "gcc", vectors), 5)
    assert count_instructions(found.blocks, found.read) == count_instructions(other.blocks, other.read)
    assert found.steps == other.steps == 5


def test_a_cortex_m55_has_fewer_instructions_than_an_m33(program):
    m33, m55 = (measured(counted.measure_on_cortex_m, program, core, "gcc") for core in ("m33", "m55"))
    assert m55.instructions < m33.instructions
    assert m55.cycles.low < m33.cycles.low


@pytest.mark.parametrize("delay", [50_000, 150_000])
def test_the_timer_of_the_avr_takes_a_delay_for_what_it_is(program, delay):
    header = avr.c_source(program, "model")["model.h"]
    reset, step = re.findall(r"^(?:void|int) (model_(?:reset|step)\(.*?\));", header, re.MULTILINE | re.DOTALL)
    names = re.findall(r"(\w+)(?:\[\d+\])?(?=[,)])", step)
    unused = " ".join(f"(void){name};" for name in names)
    code = (
        f'#include "model.h"\nvoid {reset} {{ (void)state; }}\n'
        f"void {step} {{ {unused} __builtin_avr_delay_cycles({delay}UL); }}\n"
    )
    found = measured(avr.measure_on_avr, program, {"model.h": header, "model.c": code})
    # A call and a return more; the timer counts every 256th cycle.
    assert delay - 256 <= found.cycles.low == found.cycles.high <= delay + 256


def test_an_avr_and_a_risc_v_core_take_more_instructions_than_a_cortex_m4(program):
    m4 = measured(counted.measure_on_cortex_m, program, "m4")
    assert measured(riscv.measure_on_riscv, program).instructions > m4.instructions
    assert measured(avr.measure_on_avr, program).cycles.low > 4 * m4.cycles.high
