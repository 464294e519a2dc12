"""Writes an integer program as a `.tflite` of built-in operators for TensorFlow Lite Micro, without TensorFlow.

How operations become operators:

- Arithmetic between layers is int32 CAST, MUL and ADD, which are exact everywhere; QUANTIZE rounds the result. QUANTIZE
  needs a scale on its int32 input and ADD refuses one, so the *last* int32 operator before a QUANTIZE writes a tensor
  that carries the accumulator's scale, and its zero point absorbs constant offsets. Where there is no such operator,
  RESHAPE copies the integers into a tensor that carries it.
- States are explicit inputs and outputs without scale, whatever their type (what needs one reads a copy):
  `inputs = program.inputs + states before` and `outputs = program.outputs + states after`. The caller copies the latter
  back. Or they are resource variables, which the interpreter keeps (see `variables.py`).
- The readout of a DSS layer is one DEPTHWISE_CONV_2D: the hidden state `[1, 2, N, H]` is an image of 2 x N pixels. The
  rotation multiplies the state with its two rows swapped (REVERSE_V2) by minus and plus the same constants.
- A table is GATHER with the int8 value plus 128 as its index.
- A window over time is the state and the input by CONCATENATION; STRIDED_SLICE gives the next state, and every so many
  inputs of a dilated convolution.
- Of a program for blocks of steps, tensors are `[1, rows, ..]`. A DSS layer repeats for each row what changes its
  state.
- A sum of squares is BATCH_MATMUL of a row with itself, whose accumulator has 64 bits.
- On request each S4 block, and each DSS or DiagonalSSM layer outside of one, is one custom operator, in a variant of
  the file; see `custom_operator`.
"""

from __future__ import annotations

from typing import Literal, get_args

from keras_s4.checks import choice
from keras_s4.tflite.flatbuffer.custom_operator.expansion import expand_run, state_shapes_of
from keras_s4.tflite.flatbuffer.custom_operator.runs import Run, in_runs
from keras_s4.tflite.flatbuffer.expansion import Expansion
from keras_s4.tflite.flatbuffer.reader import check_tflite
from keras_s4.tflite.flatbuffer.variables import StateVariables
from keras_s4.tflite.program.program import Program

# How a file keeps its states from step to step; see `to_tflite`.
States = Literal["inputs", "variables"]
# How a file computes S4 blocks, DSS and DiagonalSSM layers.
DssForm = Literal["operators", "custom"]


def to_tflite(program: Program, states: States = "inputs", dss: DssForm = "operators") -> bytes:
    """Write a program as a `.tflite` file; the same program gives the same bytes.

    Args:
        program: the integer program.
        states: "inputs": the states are inputs and outputs of the file, and the caller copies them back: they can be
            saved, compared and restored, and one interpreter serves several streams. "variables": the states are
            resource variables inside the interpreter, which nobody can read; one interpreter is one stream. The arena
            grows by about the bytes of the states, which the caller does not keep any more.
        dss: what computes S4 blocks, DSS and DiagonalSSM layers: "operators" for built-in ones, which run everywhere;
            "custom" for KERAS_S4_BLOCK, which a firmware registers (see `custom_operator`): smaller and faster, but it
            runs nowhere else. The states of DSS layers are `[1, H, N, 2]` then.

    Returns:
        The file's bytes.

    Raises:
        ValueError: when the program is inconsistent (see `Program.check`), needs an operator with types that do not run
            on TensorFlow Lite Micro, or `states` or `dss` is another word.
        NotImplementedError: a step of a DSS layer or a bank of modes in a form that the custom operator leaves out,
            such as more modes than 32 bits add up.
    """
    check_states(states)
    check_dss_form(dss)
    program.check()
    data = expand(program, states, dss).finish()
    check_tflite(data)
    return data


def expand(program: Program, states: States = "inputs", dss: DssForm = "operators") -> Expansion:
    """All operations of a program as operators, in a file under construction; see `to_tflite` for the arguments."""
    custom = dss == "custom"
    others, state_shapes = ({Run: expand_run}, state_shapes_of(program)) if custom else ({}, {})
    file = Expansion(program, states == "variables", others, state_shapes)
    variables = StateVariables(program.states if states == "variables" else (), file)
    variables.initialize()
    for operation in in_runs(program) if custom else program.operations:
        variables.read(operation.reads())
        file.expand(operation)
        variables.assign()
    variables.finish()
    return file


def check_dss_form(dss: str) -> None:
    """Refuse what is none of `DssForm`.

    Raises:
        ValueError: when it is not.
    """
    choice(dss, "Received dss=", get_args(DssForm))


def check_states(states: str) -> None:
    """Refuse what is none of `States`.

    Raises:
        ValueError: when it is not.
    """
    choice(states, "Received states=", get_args(States))
