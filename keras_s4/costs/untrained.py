"""Programs of models that nobody has trained yet: random weights cost what trained ones do."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4 import models
from keras_s4.checks import check_model, whole_number
from keras_s4.surgery.lengths import at_length
from keras_s4.tflite.conversion import check_whole_windows, convert
from keras_s4.tflite.lowering import plan_of_export
from keras_s4.tflite.lowering.builder import Activations, Weights
from keras_s4.tflite.program.program import Program

_CALIBRATION = 2  # random sequences
# Steps that the ranges of random data take: what a step costs does not depend on how many a window has.
_ENOUGH = 64
# Of poolings that must be told how long they remember, which hardly changes what a step costs.
_POOLING_ARGUMENTS = {"recent": {"seconds": 1.0, "rate": 50.0}, "sliding": {"window": 16, "hop": 4}}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a model is going to be.

    Args:
        features: of a sample.
        outputs: classes, or quantities.
        channels: of each block.
        states: modes a channel; with `shared_modes` those of a block.
        shared_modes: whether all channels of a block share its modes.
        blocks: S4 blocks.
        pooling: a key of `keras_s4.models.POOLINGS`, or "none": an output at every step.
        pooling_arguments: of that layer; usual ones when omitted.
        activation: in the blocks.
        front: kernel size and stride of a convolution in front of the blocks, or None.
        activations: "int8" or "int16".
        steps: of a window.
    """

    features: int = 6
    outputs: int = 7
    channels: int = 32
    states: int = 8
    shared_modes: bool = False
    blocks: int = 2
    pooling: str = "average"
    pooling_arguments: Mapping[str, Any] | None = None
    activation: str = "gelu"
    front: tuple[int, int] | None = None
    activations: str = "int8"
    steps: int = 64


def untrained_program(sizes: Sizes) -> Program:
    """The integer program of a model with random weights.

    Raises:
        ValueError: a size below 1, an unknown pooling, or arguments that do not belong together.
    """
    for name in ("features", "outputs", "channels", "states", "blocks", "steps"):
        whole_number(getattr(sizes, name), f"{name}=")
    shape = (sizes.steps, sizes.features)
    body = {
        "channels": sizes.channels,
        "states": sizes.states,
        "shared_modes": sizes.shared_modes,
        "blocks": sizes.blocks,
        "activation": sizes.activation,
        "front": sizes.front,
    }
    with own_weights():
        if sizes.pooling == "none":
            model = models.sequence_to_sequence(shape, sizes.outputs, **body)
        else:
            arguments = sizes.pooling_arguments or usual_arguments(sizes.pooling)
            model = models.classifier(shape, sizes.outputs, **body, pooling=sizes.pooling, pooling_arguments=arguments)
    return program_of(model, sizes.activations)


def program_of(model: keras.Model, activations: Activations = "int8", weights: Weights | None = None) -> Program:
    """The integer program of a model of one input, calibrated on random data: good for what it costs alone.

    Args:
        model: built, functional or sequential, as for `keras_s4.tflite.convert`.
        activations: see `keras_s4.tflite.convert`.
        weights: see `keras_s4.tflite.convert`.

    Raises:
        TypeError, ValueError, NotImplementedError: see `keras_s4.tflite.convert`.
    """
    check_model(model, None, "program_of")
    length = model.inputs[0].shape[1]
    steps = _ENOUGH if length is None else min(length, _enough_steps(model, length))
    with own_weights(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the random data
        cut = model if length in (None, steps) else at_length(model, steps)
        data = np.random.default_rng(0).normal(size=(_CALIBRATION, steps, *model.inputs[0].shape[2:]))
        program = convert(cut, data, activations=activations, weights=weights).program
    if length is not None:
        check_whole_windows(program.operations, program.steps, length)
    return program


def usual_arguments(pooling: str) -> Mapping[str, Any] | None:
    """Arguments of a pooling that must have some, None of others."""
    return _POOLING_ARGUMENTS.get(pooling)


@contextlib.contextmanager
def own_weights() -> Iterator[None]:
    """Models that are built in here have the same random weights each time; the caller's random numbers stay."""
    state = random.getstate()
    random.seed(0)  # Keras draws the seeds of its initialisers from it
    try:
        yield
    finally:
        random.setstate(state)


def _enough_steps(model: keras.Model, length: int) -> int:
    """Steps that calibration takes: whole periods of the pattern of steps that layers drop, with values of each.

    An average over a power of two of steps costs less than others.
    """
    plan = plan_of_export(model, length, False, length)
    latest = max((flow.timing.phase for call in plan.layer_calls() for flow in call.outputs), default=0)
    steps = -(-(_ENOUGH + latest) // plan.period) * plan.period
    return steps if _is_power_of_two(steps) == _is_power_of_two(length) else steps + plan.period


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
