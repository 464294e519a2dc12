"""How one layer runs step by step: the base class, and the registry of layer classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_s4.classes import known_class
from keras_s4.precision import at_least_single
from keras_s4.streaming.loop import StepLoop
from keras_s4.streaming.plan import Call, Effect, Purpose, register_effect

Tensor = Any
State = Any


class Streamer:
    """How one layer runs step by step. This class itself serves layers that treat every step alone.

    When a layer runs at every k-th step only, nothing of that is seen here: its state changes where an input is due.

    Args:
        call: of the layer, in the plan of a stream.

    Attributes:
        call: the same.
        layer: built.
        input_shape: the one that the layer has in convolution mode, `[B, L, ...]`; of several inputs a list of them.
    """

    def __init__(self, call: Call):
        self.call = call
        self.layer = call.layer
        shapes = [flow.shape for flow in call.inputs]
        self.input_shape = shapes if len(shapes) > 1 else shapes[0]

    def initial_state(self, batch: int) -> State:
        """The state before the first step: a tensor, or a (nested) tuple of tensors, `()` if there is none."""
        return ()

    def step(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """Outputs `[B, ...]` and the next state from inputs `[B, ...]` without a time axis."""
        return at_one_step(self.layer, inputs[0], self.input_shape), ()

    def chunk(self, inputs: list[Tensor], state: State) -> tuple[Tensor, State]:
        """The outputs of T steps at once, equal to those of `step` up to rounding.

        It is asked for only in models of which no layer drops steps. This one loops `step`.

        Args:
            inputs: `[B, T, ...]` each.
            state: before the first of the steps.

        Returns:
            outputs `[B, T, ...]` and the state after the last step.
        """
        return self._loop(inputs, state)

    @functools.cached_property
    def _loop(self) -> StepLoop:
        return StepLoop(self._step_of_loop, self.initial_state(1), self.call.inputs, self.call.outputs)

    def _step_of_loop(self, inputs, state):
        outputs, state = self.step(inputs, state)
        return [outputs], state


_STREAMERS: dict[type, type[Streamer]] = {}
_SAID_BY_EFFECTS = {field.name for field in dataclasses.fields(Effect)}
STEP_MODE = Purpose(
    action="run step by step",
    error=ValueError,
    handlers=_STREAMERS,
    register="keras_s4.streaming.register",
    with_length="StreamingModel(model, length=...)",
    any_layer_of_one_value=True,
    counts_without_end=True,
)


def register(*layer_classes: type, effect: Effect | None = None) -> Callable[[type[Streamer]], type[Streamer]]:
    """Class decorator: this `Streamer` runs layers of these classes, and of subclasses that compute as they do.

    Raises `TypeError` for a streamer that has attributes of an `Effect`.

    Args:
        layer_classes: Keras layers.
        effect: what they do in time, as both step mode and export read it. Left out, it is what is known of the class
            or its bases; of a new class that each step is treated alone, or that a state lasts if the streamer has one.
            `keras_s4.streaming.plan.rule` registers an effect that depends on the layer.
    """

    def add(streamer: type[Streamer]) -> type[Streamer]:
        if said := sorted(_SAID_BY_EFFECTS & vars(streamer).keys()):
            raise TypeError(
                f"Streamer {streamer.__name__} says with {' and '.join(said)} what its layer does in time; say it "
                "where the streamer is registered, so that export knows too: register(Layer, effect=Effect(...))."
            )
        _STREAMERS.update(dict.fromkeys(layer_classes, streamer))
        lasting = streamer.initial_state is not Streamer.initial_state
        register_effect(layer_classes, effect, Effect(lasting=lasting))
        return streamer

    return add


def streamer_of(call: Call) -> Streamer:
    """The registered streamer of a planned call."""
    return _STREAMERS[known_class(call.layer, _STREAMERS)](call)


def state_dtype(layer: keras.layers.Layer) -> str:
    """For what adds up over time: at least single precision, as a sum in half precision soon stops growing."""
    return at_least_single(layer.variable_dtype)


def at_one_step(layer: keras.layers.Layer, inputs: Tensor | list[Tensor], input_shape: tuple | list[tuple]) -> Tensor:
    """Calls a layer on one step: on a sequence of length 1 if the layer was built for sequences.

    Some layers remember the number of axes that they were built with.
    """
    several = isinstance(inputs, (list, tuple))
    if len(input_shape[0] if several else input_shape) == len(inputs[0].shape if several else inputs.shape):
        return layer(inputs)
    sequences = keras.tree.map_structure(lambda tensor: ops.expand_dims(tensor, 1), inputs)
    return ops.squeeze(layer(sequences), axis=1)
