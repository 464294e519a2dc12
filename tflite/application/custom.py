"""The application for TensorFlow Lite Micro with S4 blocks, DSS and DiagonalSSM layers as custom operators."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_s4.tflite.application.decisions import ProgramDecision
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.application.own_names import USUAL, class_name, own_names
from keras_s4.tflite.application.tflm import TEMPLATES, render_tflm
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.flatbuffer import read_summary, to_tflite
from keras_s4.tflite.flatbuffer.custom_operator import KERNELS, library_files
from keras_s4.tflite.flatbuffer.custom_operator.expansion import state_shapes_of
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor


def custom_application(
    program: Program,
    manifest: dict[str, Any],
    golden: Golden,
    name: str | None = None,
    decision: ProgramDecision | None = None,
) -> dict[str, bytes]:
    """The bytes of each file, by name.

    Args:
        program: the integer program.
        manifest: the facts about its file of built-in operators, as `manifest_of` gives them.
        golden: vectors of the program.
        name: comes in front of what is its own; None for the usual names.
        decision: is made from its outputs; None for none.

    Raises:
        NotImplementedError: a step in a form that the custom operator leaves out, such as more modes
            than 32 bits add up.
    """
    tflite = to_tflite(program, manifest["states_kept_as"], "custom")
    summary = read_summary(tflite)
    # No interpreter here can run the file, so the arena stays what built-in operators take, which is more.
    ours = manifest | {"tflite_bytes": len(tflite), "registrations": list(summary.registrations)}
    in_file = _as_in_the_file(program)
    vectors = reorder_states(golden, program)
    c_name = name or USUAL
    sources = render_tflm(
        in_file, ours, tflite, vectors, c_name, kernels=KERNELS, decision=decision, class_name=class_name(name)
    )
    sources["README.md"] = render(
        TEMPLATES / "tflm_custom.md.jinja",
        name=printable(program.name),
        kernels=KERNELS,
        manifest=ours,
        builtin_bytes=manifest["tflite_bytes"],
        operators=len(summary.operators),
        builtin_operators=manifest["operators"],
        variables=len(summary.variables),
    )
    texts = own_names(sources, name) | library_files()
    return {f"{c_name}.tflite": tflite} | {name: text.encode() for name, text in texts.items()}


def _as_in_the_file(program: Program) -> Program:
    """The program whose states have the shapes of the file; its operations are as they were."""
    shapes = state_shapes_of(program)

    def reshaped(tensor: Tensor) -> Tensor:
        return dataclasses.replace(tensor, shape=shapes[tensor.name][1:]) if tensor.name in shapes else tensor

    states = tuple(State(reshaped(state.before), reshaped(state.after)) for state in program.states)
    return dataclasses.replace(program, states=states)


def reorder_states(golden: Golden, program: Program) -> Golden:
    """Golden vectors with the axes of the states of DSS layers in the order of the file."""
    shapes = state_shapes_of(program)
    states = [
        np.swapaxes(values, -1, -3) if state.before.name in shapes else values
        for values, state in zip(golden.states, program.states, strict=True)
    ]
    return dataclasses.replace(golden, states=tuple(states))
