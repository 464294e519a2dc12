"""Writes an integer program as a `.tflite` of built-in operators for TensorFlow Lite Micro, without TensorFlow.

How operations become operators:

- Arithmetic between layers is int32 CAST, MUL and ADD, which are exact everywhere; QUANTIZE rounds the result. QUANTIZE
  needs a scale on its int32 input and ADD refuses one, so the *last* int32 operator before a QUANTIZE writes a tensor
  that carries the accumulator's scale, and its zero point absorbs constant offsets. Where there is no such operator,
  RESHAPE copies the integers into a tensor that carries it.
- States are explicit inputs and outputs, int32 without scale: `inputs = program.inputs + states before` and
  `outputs = program.outputs + states after`. The caller copies the latter back.
- The readout of a DSS layer is one DEPTHWISE_CONV_2D: the hidden state `[1, 2, N, H]` is an image of 2 x N pixels. The
  rotation multiplies the state with its two rows swapped (REVERSE_V2) by minus and plus the same constants.
- A table is GATHER with the int8 value plus 128 as its index.
"""

from __future__ import annotations

from keras_s4.tflite.expansion import Expansion
from keras_s4.tflite.flatbuffer_reader import Summary, TensorSummary, check_tflite, read_summary
from keras_s4.tflite.program import Program

__all__ = ["Summary", "TensorSummary", "check_tflite", "read_summary", "to_tflite"]


def to_tflite(program: Program) -> bytes:
    """Write a program as a `.tflite` file; the same program gives the same bytes.

    Args:
        program: the integer program.

    Returns:
        The file's bytes.

    Raises:
        ValueError: when the program is inconsistent (see `Program.check`), or needs an operator with types that do not
            run on TensorFlow Lite Micro.
    """
    program.check()
    return Expansion(program).write()
