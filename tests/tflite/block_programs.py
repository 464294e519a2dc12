"""Programs that the custom operator for S4 blocks computes as one operator each, around steps of every kind."""

import dataclasses

import numpy as np

from keras_s4.testing import programs
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.operations import Maximum, Minimum
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor


def layer(type: str, real_poles: bool, limit: int = 0, steps: int = 1, fine: int = 0) -> Program:
    """A program of one step of a DSS layer."""
    b = programs.Builder(3, lowered=True)
    x = b.activation(5, "int16", 2.0**-12, name="x")
    program = b.program(x, b.diagonal_step(x, 7, type, real_poles))
    (step,) = program.operations
    # The first modes of a channel may have decays of 16 bits, the others of 17.
    decay = np.array(step.decay.data)
    decay[4, 1] = decay[0, 2] = -(2**16)
    # As many bits finer are partial sums where modes cancel.
    partial = dataclasses.replace(step.partial, scale=step.partial.scale / 2**fine)
    decay = dataclasses.replace(step.decay, data=decay)
    step = dataclasses.replace(step, limit=limit, decay=decay, partial=partial)
    return in_blocks(dataclasses.replace(program, operations=(step,)), steps)


def block_of(program: Program) -> Program:
    """The program as one whose operations come from an S4 block."""
    known = {tensor.name: tensor for tensor in program.inputs}

    def inside(tensor: Tensor) -> Tensor:
        renamed = dataclasses.replace(tensor, name=f"block/{tensor.name}")
        return known.setdefault(tensor.name, renamed)

    return dataclasses.replace(
        program,
        operations=tuple(operation.with_tensors(inside) for operation in program.operations),
        states=tuple(State(inside(state.before), inside(state.after)) for state in program.states),
        outputs=tuple(map(inside, program.outputs)),
        layers={"block": "S4Block"},
    )


def narrow_block(steps: int = 1) -> Program:
    """A block as lowerings make it of int8 activations, whose product is wanted outside, too."""
    b = programs.Builder(5, lowered=True)
    x = b.activation(19, "int16", 2.0**-12, name="x")
    y = b.lookup(b.diagonal_step(b.affine(x, "int16"), 5, "int8"))
    value, gate = b.fully_connected(y, 19), b.lookup(b.fully_connected(y, 19), zero_point=-128)
    gated = b.multiply(value, gate)
    return in_blocks(block_of(b.program(x, b.sum(x, gated, 1, 3), gated)), steps)


def wide_block(steps: int = 1) -> Program:
    """A block of int16 activations, with everything that has an instruction."""
    b = programs.Builder(6, lowered=True)
    x = b.activation(7, "int16", 2.0**-12, name="x")
    y = b.interpolate(b.diagonal_step(b.affine(x, "int16"), 3, "int16"), 64)
    value, gate = b.fully_connected(y, 7), b.fully_connected(y, 3)
    wide = b.requantize(value, "int32", value.scale)
    relu = b.extremum(Minimum, b.extremum(Maximum, wide, b.constant([0], "int32")), wide)
    squashed = [b.squash(kind, b.requantize(value, "int16", 2.0**-12)) for kind in ("sigmoid", "tanh")]
    gated = b.multiply(*squashed)
    narrow = b.affine(value, "int8")
    outputs = b.sum(value, relu), b.sum(narrow, gated, 2, -1, "int8"), b.requantize(gated, "int16", 2.0**-14), gate
    return in_blocks(block_of(b.program(x, *outputs)), steps)


def bank(limit: int = 0, feedback: int = 0, real_poles: bool = False, steps: int = 1) -> Program:
    """A program of one step of a bank of modes."""
    b = programs.Builder(4, lowered=True)
    x = b.activation(14, "int16", 2.0**-12, name="x")
    program = b.program(x, b.modal_step(x, real_poles, limit, feedback))
    (step,) = program.operations
    # Poles at the corners of what the kernel takes, whichever modes are fed back.
    decay, rotation = np.array(step.decay.data), np.array(step.rotation.data)
    decay[:2], rotation[:2] = (-(2**16), 0), (0, 1 - 2**15)
    decay[-2:], rotation[-2:] = (0, -(2**16)), (2**15 - 1, 1 - 2**15)
    parts = {"decay": decay, "rotation": 0 * rotation if real_poles else rotation}
    parts = {name: dataclasses.replace(getattr(step, name), data=data) for name, data in parts.items()}
    return in_blocks(dataclasses.replace(program, operations=(dataclasses.replace(step, **parts),)), steps)


def block_of_modes(steps: int = 1, limit: int = 0, feedback: int = 0) -> Program:
    """A block around a bank of modes, with a matrix before it and two behind; states of the bank are read outside."""
    b = programs.Builder(7, lowered=True)
    x = b.activation(9, "int16", 2.0**-12, name="x")
    u = b.requantize(b.affine(x, "int16"), "int16", 2.0**-13)
    modes = b.modal_step(b.fully_connected(u, 10), limit=limit, feedback=feedback)
    y = b.sum(b.fully_connected(modes, 9), b.affine(u, "int16"))
    value, gate = b.fully_connected(b.lookup(b.requantize(y, "int8", 2.0**-5)), 9), b.fully_connected(modes, 9)
    return in_blocks(block_of(b.program(x, b.sum(x, value, 1, 3), gate, modes)), steps)


PROGRAMS = {
    "S4 block": narrow_block(),
    "S4 block of int16": wide_block(),
    "S4 block of steps": narrow_block(3),
    "S4 block of int16, of steps": wide_block(2),
    "int8": layer("int8", False),
    "int16": layer("int16", False),
    "real poles": layer("int8", True),
    "clamped": layer("int16", False, 2**30),
    "fed back": programs.single("diagonal_step_fed_back", lowered=True),
    "block": layer("int8", False, steps=3),
    "fine": layer("int16", False, fine=9),
    "bank of modes": bank(),
    "bank of real poles": bank(real_poles=True),
    "bank, clamped": bank(2**30),
    "bank, fed back": bank(2**30, 3),
    "bank, all fed back": bank(2**30, 7, steps=2),
    "block of modes": block_of_modes(),
    "block of modes, of steps": block_of_modes(3, 2**30, 2),
}
