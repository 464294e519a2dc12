"""What a network costs before it is trained, by the cost model: quick enough to be asked for each trial of a search."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import keras

from keras_s4.architectures import Architecture, build
from keras_s4.costs import model as cost_model
from keras_s4.costs.step_cost import StepCost
from keras_s4.costs.untrained import own_weights, program_of
from keras_s4.tflite.program.program import Program

_KEPT = 512


def architecture_cost(
    architecture: Architecture,
    input_shape: Sequence[int],
    outputs: int,
    core: str = "m4",
    *,
    head: str = "classes",
    normalization: bool = False,
    activations: str = "int8",
) -> StepCost:
    """What a step of an architecture costs on a core: no training, no compiler, a part of a second.

    Layers behind strides run in some steps only: all figures are the averages of a whole period.

    Args:
        architecture: see `keras_s4.architectures`.
        input_shape: `(steps, features)`.
        outputs: classes or quantities.
        core: of the cost model: "m0", "m0+", "m3", "m4", "m7", "m33", "m55", "avr" or "rv32".
        head: see `keras_s4.architectures.build`.
        normalization: see `keras_s4.architectures.build`.
        activations: "int8" or "int16".

    Returns:
        Instructions and cycles an input sample, and a run of the program; bytes of flash and RAM.

    Raises:
        TypeError, ValueError, NotImplementedError: an architecture that cannot be built or exported for this shape, or
            an unknown core.
    """
    shape = tuple(map(int, input_shape))
    return _cost(_described(architecture), shape, outputs, core, head, normalization, activations)


def model_cost(model: keras.Model, core: str = "m4", *, activations: str = "int8") -> StepCost:
    """The same of a Keras model, trained or not.

    Args:
        model: built, of one input, as for `keras_s4.tflite.convert`.
        core: see `architecture_cost`.
        activations: "int8" or "int16".

    Raises:
        TypeError, ValueError, NotImplementedError: a model that cannot be exported, or an unknown core.
    """
    return cost_model.predict(program_of(model, activations), core)


def architecture_program(
    architecture: Architecture,
    input_shape: Sequence[int],
    outputs: int,
    *,
    head: str = "classes",
    normalization: bool = False,
    activations: str = "int8",
) -> Program:
    """The program that a model of an architecture has, with random weights.

    Args:
        architecture, input_shape, outputs, head, normalization, activations: see `architecture_cost`.

    Raises:
        TypeError, ValueError, NotImplementedError: see `architecture_cost`.
    """
    shape = tuple(map(int, input_shape))
    return _program(_described(architecture), shape, outputs, head, normalization, activations)


def _described(architecture: Architecture) -> str:
    """What can be a key, which an architecture with arguments of its pooling cannot."""
    return json.dumps(architecture.figures(), sort_keys=True)


@functools.lru_cache(_KEPT)
def _cost(
    described: str,
    input_shape: tuple[int, ...],
    outputs: int,
    core: str,
    head: str,
    normalization: bool,
    activations: str,
) -> StepCost:
    return cost_model.predict(_program(described, input_shape, outputs, head, normalization, activations), core)


@functools.lru_cache(8)
def _program(
    described: str, input_shape: tuple[int, ...], outputs: int, head: str, normalization: bool, activations: str
) -> Program:
    with own_weights():
        model = build(
            Architecture.of(json.loads(described)), input_shape, outputs, head=head, normalization=normalization
        )
        return program_of(model, activations)
