"""Instructions of a step on a RISC-V core of 32 bits (RV32IMC), counted in QEMU; and cycles from one measured ratio.

Importing this needs the packages of the extra [bench].
"""

from __future__ import annotations

from keras_s4.costs.ranges import Range
from keras_s4.costs.steady import steady_vectors
from keras_s4.costs.step_cost import COUNTED, StepCost
from keras_s4.testing.targets import build
from keras_s4.testing.targets.cores import RISCV
from keras_s4.testing.targets.qemu import boot
from keras_s4.tflite.program.program import Program

# No timings are published for the ESP32-C3. It issues one instruction a cycle at most, and was measured at 1.32 cycles
# an instruction: 409.2 CoreMark at 160 MHz with GCC 12.2 and -O3 (components.espressif.com, espressif/coremark), whose
# iterations are 295,203 instructions there. How far other code is from that is not known.
CYCLES_AN_INSTRUCTION, LIKELY = Range(1.0, 1.65), 1.32


def measure_on_riscv(program: Program) -> StepCost:
    """Instructions a step, flash, RAM and stack.

    Args:
        program: the integer program.

    Raises:
        RuntimeError: the compiler or QEMU is missing, or the compiler refuses.
    """
    image = build(program, RISCV, "riscv", steady_vectors(program))
    report = boot(image)
    instructions = report.instructions_per_step / program.steps
    return StepCost(
        core="rv32",
        method=COUNTED,
        compiler=image.compiler,
        instructions=instructions,
        cycles=CYCLES_AN_INSTRUCTION * instructions,
        likely_cycles=LIKELY * instructions,
        code_bytes=image.code_bytes,
        constant_bytes=image.constant_bytes,
        ram_bytes=image.state_bytes + image.static_bytes,
        stack_bytes=report.stack_bytes,
        samples=program.steps,
    )
