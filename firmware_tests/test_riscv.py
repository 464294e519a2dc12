"""Complete images for RISC-V (rv32imc), from Debian's cross compiler with picolibc, on QEMU's machine "virt".

Skipped where compiler, C library or emulator are missing.
"""

import dataclasses

import pytest

from keras_s4.testing.programs import single
from keras_s4.testing.targets import RISCV, build, from_any_state, from_reset
from keras_s4.testing.targets.qemu import boot, qemu
from keras_s4.testing.targets.toolchains import riscv_gcc
from keras_s4.tflite.c99 import c_source

# Those whose kernels have no other user in a model of a few layers.
OPERATIONS = ["fully_connected_int16", "depthwise_product", "normalize", "squash", "interpolate", "diagonal_step"]
OPERATIONS += ["modal_step", "modal_step_fed_back"]


@pytest.fixture(scope="module", autouse=True)
def tools():
    """Skips, with the reason, where a tool is missing."""
    try:
        riscv_gcc()
        qemu("riscv")
    except RuntimeError as error:
        pytest.skip(str(error))


def boot_on_riscv(program, vectors, sources=None):
    return boot(build(program, RISCV, "riscv", vectors, sources))


def test_outputs_and_states_of_golden_vectors(classifier, hold):
    image = build(classifier, RISCV, "riscv", from_reset(classifier))
    report = boot(image)
    assert (report.status, report.wrong, report.steps) == (0, 0, 40)
    assert image.static_bytes == 0
    hold("rv32imc qemu classifier", image, report.instructions_per_step, report.stack_bytes)


def test_saturates_as_the_emulator_does(random_program):
    report = boot_on_riscv(random_program, from_any_state(random_program))
    assert (report.status, report.wrong) == (0, 0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    program = single(name, 1, lowered=True)
    report = boot_on_riscv(program, from_any_state(program))
    assert (report.status, report.wrong) == (0, 0)


def test_differences_and_faults_are_found(random_program):
    """The last bit of an output; and a step that writes where there is no memory."""
    vectors = from_reset(random_program, 1, 3)
    outputs = vectors.outputs[0].copy()
    outputs[0, 0, 0] ^= 1
    changed = dataclasses.replace(vectors, outputs=(outputs,))
    report = boot_on_riscv(random_program, changed)
    assert (report.status, report.wrong) == (1, 1)
    sources = c_source(random_program, "model")
    step = sources["model.c"].index("void model_step(")
    body = sources["model.c"].index("{\n", step) + 2
    sources["model.c"] = (
        f"{sources['model.c'][:body]}    *(volatile uint32_t *)0xF0000000U = 0;\n{sources['model.c'][body:]}"
    )
    with pytest.raises(RuntimeError, match="virt: status 2"):
        boot_on_riscv(random_program, vectors, sources)
