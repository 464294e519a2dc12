"""Complete firmware images, from Debian's cross compiler, on the machines of QEMU: they start by themselves, run golden
vectors, compare, and leave with a status. Skipped where compiler or emulator are missing.
"""

import dataclasses
import functools

import numpy as np
import pytest

from keras_s4.testing.programs import single
from keras_s4.testing.targets import CORES, build, from_any_state, from_reset, run
from keras_s4.testing.targets.qemu import boot, qemu
from keras_s4.testing.targets.toolchains import gcc
from keras_s4.tflite.program.operations import ModalStep


@pytest.fixture(scope="module", autouse=True)
def tools():
    """Skips, with the reason, where a tool is missing."""
    try:
        gcc()
        qemu()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def booted(classifier):
    """Image and report of the classifier on a core, made once."""
    vectors = from_reset(classifier)

    @functools.cache
    def booted(core):
        image = build(classifier, CORES[core], "gcc", vectors)
        return image, boot(image)

    return booted


@pytest.mark.parametrize("core", CORES)
def test_outputs_and_states_of_golden_vectors(core, booted, hold):
    image, report = booted(core)
    assert (report.status, report.wrong, report.steps) == (0, 0, 40)
    assert image.static_bytes == 0
    hold(f"{core} qemu classifier", image, report.instructions_per_step, report.stack_bytes)


@pytest.mark.parametrize("core", CORES)
def test_saturates_as_the_emulator_does(core, random_program):
    report = boot(build(random_program, CORES[core], "gcc", from_any_state(random_program)))
    assert (report.status, report.wrong) == (0, 0)


@pytest.mark.parametrize("core", CORES)
def test_unpacks_weights_of_4_bits(core):
    """Of rows that fill words and that do not, and of more inputs than the fast kernel takes."""
    program = single("fully_connected_int4", 1)
    report = boot(build(program, CORES[core], "gcc", from_any_state(program)))
    assert (report.status, report.wrong) == (0, 0)


@pytest.mark.parametrize("core", CORES)
def test_feeds_rounding_errors_back(core):
    """Channels of which all modes are fed back, or some, or none, at angles on both sides, from any state."""
    fed, decays = [], []
    for seed in range(3):
        program = single("diagonal_step_fed_back", seed, lowered=True)
        report = boot(build(program, CORES[core], "gcc", from_any_state(program)))
        assert (report.status, report.wrong) == (0, 0)
        fed += program.operations[0].feedback.T.sum(axis=1).tolist()
        decays += program.operations[0].decay.data[program.operations[0].feedback].tolist()
    assert {0, 9} < set(fed)
    assert min(decays) < -(2**15) < max(decays)


@pytest.mark.parametrize("name", ["modal_step", "modal_step_fed_back"])
@pytest.mark.parametrize("core", CORES)
def test_banks_of_modes(core, name):
    """With states that need no clamp, and clamped ones of which some, none or all modes are fed back; all states."""
    program = single(name, 1, lowered=True)
    steps = [operation for operation in program.operations if isinstance(operation, ModalStep)]
    fed = {(operation.feedback, operation.input_gain.shape[1]) for operation in steps}
    assert fed == ({(0, 3), (0, 5)} if name == "modal_step" else {(3, 7), (0, 7), (7, 7)})
    for vectors in (from_any_state(program), from_reset(program)):
        report = boot(build(program, CORES[core], "gcc", vectors))
        assert (report.status, report.wrong) == (0, 0)


def test_a_difference_is_found(random_program):
    """The last bit of the last element of the states, and one of the outputs."""
    vectors = from_reset(random_program, 1, 3)
    ends, outputs = vectors.ends[-1].copy(), vectors.outputs[0].copy()
    ends.flat[-1] ^= 1
    outputs[0, 0, 0] ^= 1
    changed = dataclasses.replace(vectors, ends=(*vectors.ends[:-1], ends), outputs=(outputs,))
    report = boot(build(random_program, CORES["m4"], "gcc", changed))
    assert (report.status, report.wrong) == (1, 2)


def test_counts_and_stack_are_those_of_the_other_emulator(random_program):
    """Up to the few instructions around a step; and where the images are of the same compiler."""
    vectors = from_reset(random_program)
    image = build(random_program, CORES["m4"], "gcc", vectors)
    report, result = boot(image), run(image, vectors.inputs)
    np.testing.assert_array_equal(result.outputs[0], vectors.outputs[0])
    assert 0 <= report.instructions_per_step - result.instructions_per_step < 20
    assert report.stack_bytes == result.stack_bytes


@pytest.mark.parametrize(("faster", "than"), [("m4", "m3"), ("m55", "m33")])
def test_instructions_of_the_core_are_used(faster, than, booted):
    """Those for signal processing, and those for vectors."""
    reports = [booted(core)[1] for core in (faster, than)]
    assert reports[0].instructions_per_step < 0.85 * reports[1].instructions_per_step
