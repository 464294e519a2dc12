"""Operations that move values and change none."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program.operations import Concatenate, Embed, Reshape, Slice


@compiles(Concatenate)
def compile_concatenate(operation: Concatenate, arithmetic: Arithmetic) -> Run:
    def run(values: Values):
        values[operation.output.name] = np.concatenate([values[t.name] for t in operation.inputs], axis=-1)

    return run


@compiles(Reshape)
def compile_reshape(operation: Reshape, arithmetic: Arithmetic) -> Run:
    input, output = operation.input, operation.output

    def run(values: Values):
        leading = values[input.name].shape[: values[input.name].ndim - len(input.shape)]
        values[output.name] = values[input.name].reshape(*leading, *output.shape)

    return run


@compiles(Slice)
def compile_slice(operation: Slice, arithmetic: Arithmetic) -> Run:
    part = slice(operation.start, operation.start + operation.output.shape[-1])

    def run(values: Values):
        values[operation.output.name] = values[operation.input.name][..., part]

    return run


@compiles(Embed)
def compile_embed(operation: Embed, arithmetic: Arithmetic) -> Run:
    """Where a device fails, this raises a `ValueError`."""
    input, table = operation.input, operation.table.data

    def run(values: Values):
        rows = values[input.name][..., 0]
        if rows.min() < 0 or rows.max() >= len(table):
            raise ValueError(
                f"Input {input.name!r} received {rows.min()} to {rows.max()}; its table has rows 0 to {len(table) - 1}."
            )
        values[operation.output.name] = table[rows]

    return run
