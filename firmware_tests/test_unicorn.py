"""Generated C on Cortex-M cores in Unicorn, with what PyPI has: bit for bit the emulator's results, within budgets."""

import dataclasses
import functools
import math
import re

import numpy as np
import pytest
import unicorn

from keras_s4.testing.programs import single
from keras_s4.testing.targets import CORES, build, from_any_state, from_reset, run
from keras_s4.testing.targets.unicorn_core import Machine
from keras_s4.tflite.c99 import c_source

NAMES = [core.name for core in CORES.values() if core.in_unicorn]


@pytest.fixture(scope="module")
def image(programs):
    """The image of a program for a core, built once."""
    return functools.cache(lambda core, program: build(programs(program), CORES[core]))


def with_last_statement(program, statement):
    """The C of a program whose step does something else at its end."""
    sources = c_source(program, "model")
    before, end, after = sources["model.c"].rpartition("\n}\n")
    return {**sources, "model.c": f"{before}\n{statement}{end}{after}"}


def assert_equal(result, vectors):
    for index, (ours, theirs) in enumerate(zip(result.outputs, vectors.outputs, strict=True)):
        np.testing.assert_array_equal(ours, theirs, f"output {index}")
    for index, (ours, theirs) in enumerate(zip(result.states, vectors.ends, strict=True)):
        np.testing.assert_array_equal(ours, theirs, f"state {index}")


@pytest.mark.parametrize("program", ["random", "classifier"])
@pytest.mark.parametrize("core", NAMES)
def test_computes_what_the_emulator_computes(core, program, image, hold):
    built = image(core, program)
    vectors = from_reset(built.program, streams=2, steps=10)
    result = run(built, vectors.inputs)
    assert_equal(result, vectors)
    assert built.static_bytes == 0
    hold(f"{core} unicorn {program}", built, result.instructions_per_step, result.stack_bytes)


@pytest.mark.parametrize("core", NAMES)
def test_saturates_as_the_emulator_does(core, image):
    built = image(core, "random")
    vectors = from_any_state(built.program)
    assert_equal(run(built, vectors.inputs, vectors.starts, count=False), vectors)


@pytest.mark.parametrize("core", NAMES)
def test_clang_unpacks_weights_of_4_bits(core):
    program = single("fully_connected_int4", 1)
    vectors = from_any_state(program)
    assert_equal(run(build(program, CORES[core]), vectors.inputs, vectors.starts, count=False), vectors)


def test_clang_feeds_rounding_errors_back():
    program = single("diagonal_step_fed_back", 1, lowered=True)
    vectors = from_any_state(program)
    assert_equal(run(build(program, CORES["m4"]), vectors.inputs, vectors.starts, count=False), vectors)


@pytest.mark.parametrize("core", NAMES)
@pytest.mark.parametrize("program", ["modal_step", "modal_step_fed_back"])
def test_banks_of_modes(core, program):
    program = single(program, 1)
    for vectors in (from_any_state(program), from_reset(program, streams=2, steps=10)):
        assert_equal(run(build(program, CORES[core]), vectors.inputs, vectors.starts, count=False), vectors)


def test_steps_without_outputs_keep_the_states(image):
    built = image("m4", "random")
    vectors = from_reset(built.program, 2, 9)
    result = run(built, vectors.inputs, every=3)
    (output,), (expected,) = result.outputs, vectors.outputs
    np.testing.assert_array_equal(output[:, 2::3], expected[:, 2::3])
    assert_equal(dataclasses.replace(result, outputs=vectors.outputs), vectors)
    assert result.instructions_per_step < run(built, vectors.inputs).instructions_per_step


def test_no_access_needs_more_alignment_than_armv6_has(image):
    built = image("m0", "random")
    run(built, from_reset(built.program, 1, 3).inputs, count=False, aligned=True)


class TestMeasuring:
    def test_blocks_have_as_many_instructions_as_are_executed(self, image):
        """On the core that has no IT blocks, whose skipped instructions Unicorn's other hook leaves out."""
        built = image("m0", "random")
        vectors = from_reset(built.program, 1, 2)
        machine = Machine(built, aligned=False)
        executed = []
        machine.emulator.hook_add(unicorn.UC_HOOK_CODE, lambda uc, address, size, _: executed.append(address))
        machine.reset(None)
        executed.clear()
        for step in range(2):
            machine.step([array[0, step] for array in vectors.inputs])
        assert run(built, vectors.inputs).instructions_per_step == len(executed) / 2

    def test_every_instruction_has_a_function_and_an_operation(self, image):
        built = image("m4", "random")
        result = run(built, from_reset(built.program, 1, 2).inputs)
        assert sum(result.functions.values()) == sum(result.operations.values()) == result.instructions_per_step
        assert "?" not in result.functions
        names = {f"{type(op).__name__}: {op.writes()[-1].name}" for op in built.program.operations}
        assert set(result.operations) <= {"entry", *names}
        called = {name for name in names if re.match(r"DiagonalStep|FullyConnected", name)}
        assert called <= set(result.operations)
        products = sum(count for name, count in result.operations.items() if name.startswith("FullyConnected"))
        inside = sum(count for name, count in result.functions.items() if name.startswith("s4_dense"))
        assert inside <= products <= 1.05 * inside

    def test_sizes_are_those_of_the_file(self, image):
        built = image("m4", "random")
        functions = sum(symbol.size for symbol in built.functions.values())
        assert functions <= built.code_bytes <= functions + 4 * len(built.functions)
        constants = sum(symbol.size for name, symbol in built.symbols.items() if name not in built.functions)
        layout = built.symbols["layout"].size
        assert constants - layout <= built.constant_bytes <= constants - layout + 4 * len(built.symbols)
        states = [state.before for state in built.program.states]
        kept = sum(np.dtype(tensor.type).itemsize * math.prod(tensor.shape) for tensor in states)
        assert kept <= built.state_bytes <= kept + 1024

    def test_stack_is_what_functions_push(self, random_program):
        """A thousand bytes more, if the step has a local array of so many."""
        array = "    volatile int8_t local[1000]; for (int j = 0; j < 1000; ++j) { local[j] = 0; }"
        sources = with_last_statement(random_program, array)
        vectors = from_reset(random_program, 1, 2)
        plain, deep = (
            run(build(random_program, CORES["m3"], sources=files), vectors.inputs, count=False).stack_bytes
            for files in (None, sources)
        )
        assert plain + 1000 <= deep <= plain + 1040


class TestErrorsInTheCode:
    """They are found."""

    def result(self, program, statement, core="m3", **options):
        image = build(program, CORES[core], sources=with_last_statement(program, statement))
        vectors = from_reset(program, 1, 2)
        return run(image, vectors.inputs, count=False, **options), vectors

    def test_a_wrong_sum(self, random_program):
        result, vectors = self.result(random_program, "    activation_59[0] = (int8_t)(activation_59[0] ^ 1);")
        with pytest.raises(AssertionError, match="output 0"):
            assert_equal(result, vectors)

    def test_a_write_behind_the_state(self, random_program):
        with pytest.raises(RuntimeError, match=r"m3: a byte at 0x2000\w+ was written"):
            self.result(random_program, "    ((uint8_t *)state)[sizeof *state] = 0;")

    def test_a_write_into_flash(self, random_program):
        (constant,) = re.findall(r"^static const int8_t (\w+)", c_source(random_program, "model")["model.c"], re.M)[:1]
        with pytest.raises(RuntimeError, match="m3: Write to write-protected memory"):
            self.result(random_program, f"    *(volatile int8_t *)(uintptr_t){constant} = 0;")

    def test_an_access_that_armv6_does_not_have(self, random_program):
        with pytest.raises(RuntimeError, match=r"m0: an access of 2 bytes to 0x2000\w+ at "):
            self.result(random_program, "    *(volatile uint16_t *)((uintptr_t)x_1 + 1U) = 0;", "m0", aligned=True)
