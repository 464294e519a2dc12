"""Streams with what the emulator makes of them, as arrays and as a C header."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.testing.targets.toolchains import C
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.c99.layout import StateLayout
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.operations import DiagonalStep, ModalStep
from keras_s4.tflite.program.program import Program


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """Streams.

    Args:
        inputs: for each input of the program, integers `[B, L, ...]`.
        outputs: for each output, `[B, L, ...]`.
        starts: for each state, where the streams start, `[B, ...]`.
        ends: for each state, where they end, `[B, ...]`.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    starts: tuple[np.ndarray, ...]
    ends: tuple[np.ndarray, ...]


def from_reset(program: Program, streams: int = 2, steps: int = 20) -> Vectors:
    """Golden vectors of a program."""
    golden = golden_vectors(program, streams, steps)
    ends = tuple(state[:, -1] for state in golden.states)
    return Vectors(golden.inputs, golden.outputs, tuple(np.zeros_like(end) for end in ends), ends)


def from_any_state(program: Program, streams: int = 12, steps: int = 2) -> Vectors:
    """Random full-range inputs, and states of modes anywhere in 32 bits: at the ends of the range where they
    saturate, at the boundaries of rounding, and in between.
    """
    random = np.random.default_rng(1)
    inputs = golden_vectors(program, streams, steps).inputs
    in_modes = {op.state.name for op in program.operations if isinstance(op, (DiagonalStep, ModalStep))}
    edges = np.array([-(2**31), 2**31 - 1, -(2**30), 2**30 - 1, 0, -1, 16383, 16384, -16383, -16384, -16385])
    starts = []
    for tensor in (state.before for state in program.states):
        start = np.zeros((streams, *tensor.shape), tensor.type)
        if tensor.name in in_modes:
            start[...] = random.integers(-(2**31), 2**31, start.shape)
            start[::2] = random.choice(edges, start[::2].shape)
        starts.append(start)
    names = [state.after.name for state in program.states]
    trace = Emulator(program).trace(list(inputs), record=names, states=starts)
    return Vectors(inputs, trace.outputs, tuple(starts), tuple(trace.tensors[name][:, -1] for name in names))


def vector_header(program: Program, vectors: Vectors) -> str:
    """Arrays `given_*`, `expected_*`, `start_*` and `end_*` of C, named like the arguments and states of the model."""
    interface = interface_of(program)
    layout = StateLayout(program, [])
    kinds = (
        ("given", interface.inputs, vectors.inputs),
        ("expected", interface.outputs, vectors.outputs),
        ("start", interface.states, map(layout.swap_axes, layout.tensors, vectors.starts)),
        ("end", interface.states, map(layout.swap_axes, layout.tensors, vectors.ends)),
    )
    arrays = [
        (field.type, f"{kind}_{field.name}", [_literal(value) for value in values.ravel().tolist()])
        for kind, fields, all_values in kinds
        for field, values in zip(fields, all_values, strict=True)
    ]
    streams, steps = vectors.inputs[0].shape[:2]
    return render(C / "vectors.h.jinja", arrays=arrays, streams=streams, steps=steps)


def _literal(value: int) -> str:
    return "INT32_MIN" if value == -(2**31) else str(value)
