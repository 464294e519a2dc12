"""How one layer runs step by step: the base class, and the registry of layer classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_s4.classes import known_class, otherwise
from keras_s4.precision import at_least_single
from keras_s4.streaming.loop import StepLoop

Tensor = Any
State = Any


class Streamer:
    """How one layer runs step by step. This class itself serves layers that treat every step alone.

    A subclass whose layer drops steps, or the time axis, says so in these attributes, in the class or in `__init__`:

    - `stride`: an output comes at every `stride`-th input.
    - `delay`: index of the input at which output 0 comes; 2 for a convolution over 3 inputs without padding.
    - `pools`: the output has no time axis; it is one value for all steps so far.
    - `takes_several`: the layer has several inputs, which then come at the same steps.
    - `padding`: zeros that the layer puts in front of its sequence. Its step returns its input; the zeros are the
      business of the next layer.
    - `takes_padding`: such zeros may come in, because the initial state stands for them.
    - `counts`: `__init__` has one more argument, `counted`: whether an average over time divides by the steps so far,
      as it does in models that mask padded steps, and not by `length`.

    When a layer runs at every k-th step only, nothing of that is seen here: its state changes where an input is due.

    Args:
        layer: built.
        input_shape: the one that the layer has in convolution mode, `[B, L, ...]`; of several inputs a list of them.
        length: inputs that this layer gets in one sequence of the length that the model was trained on; what an average
            over time divides by. None if that is not known.
    """

    stride = 1
    delay = 0
    pools = False
    takes_several = False
    padding = 0
    takes_padding = False
    counts = False

    def __init__(self, layer: keras.layers.Layer, input_shape: tuple | list[tuple], length: int | None):
        self.layer = layer
        self.input_shape = input_shape
        self.length = length

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
        shapes = self.input_shape if self.takes_several else [self.input_shape]
        return StepLoop(
            self.step, self.initial_state(1), [shape[2:] for shape in shapes], dtype=self.layer.compute_dtype
        )


_STREAMERS: dict[type, type[Streamer]] = {}
_REFUSALS: dict[type, tuple[str, str]] = {}


def register(*layer_classes: type) -> Callable[[type[Streamer]], type[Streamer]]:
    """Class decorator: this `Streamer` runs layers of these classes, and of subclasses that compute as they do."""

    def add(streamer: type[Streamer]) -> type[Streamer]:
        _STREAMERS.update(dict.fromkeys(layer_classes, streamer))
        return streamer

    return add


def register_refusal(*layer_classes: type, reason: str, remedy: str) -> None:
    """Layers of these classes cannot run step by step, for a reason that is known."""
    _REFUSALS.update(dict.fromkeys(layer_classes, (reason, remedy)))


def streamer_of(
    layer: keras.layers.Layer, input_shape: tuple | list[tuple], length: int | None, counted: bool = False
) -> Streamer:
    """The registered streamer of a layer; the arguments are those of `Streamer`, and what `counts` is for.

    Raises:
        NotImplementedError: there is none; the message lists the supported layers.
        ValueError: the layer, or its configuration, needs steps that are yet to come; the message says what to do.
    """
    if reason := broken_glu(layer):
        raise refusal(layer, *reason)
    layer_class = known_class(layer, {**_STREAMERS, **_REFUSALS})
    if layer_class is None:
        raise NotImplementedError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot run step by step. Supported: "
            f"{', '.join(sorted({cls.__name__ for cls in _STREAMERS}))}; add yours with keras_s4.streaming.register."
        )
    if reason := _REFUSALS.get(layer_class) or otherwise(layer, _STREAMERS):
        raise refusal(layer, *reason)
    make = _STREAMERS[layer_class]
    return make(layer, input_shape, length, counted) if make.counts else make(layer, input_shape, length)


def broken_glu(layer: keras.layers.Layer) -> tuple[str, str] | None:
    """Why a layer cannot have the activation "glu", and what to do; None if it has another one."""
    if getattr(getattr(layer, "activation", None), "__name__", "") != "glu":
        return None
    return (
        "its activation 'glu' halves the channels, with which its output shape in Keras does not count",
        "Use no activation, and keras_s4.layers.GLU() behind it",
    )


def refusal(layer: keras.layers.Layer, reason: str, remedy: str) -> ValueError:
    """The error to raise for a layer that cannot run step by step."""
    return ValueError(f"Layer {layer.name!r} ({type(layer).__name__}) cannot run step by step: {reason}. {remedy}.")


def refuse_time_axis(layer: keras.layers.Layer, axes: int | Sequence[int], input_shape: tuple) -> None:
    """Refuses a layer that works along the time axis, in one of `axes` as Keras counts them."""
    axes = [axes] if isinstance(axes, int) else list(axes)
    if any(axis % len(input_shape) == 1 for axis in axes):
        raise refusal(
            layer,
            f"with inputs of shape {tuple(input_shape)} it works along the time axis",
            "Let it work along the features; where a step is one number, keras.layers.Reshape((-1, 1)) gives it a "
            "features axis",
        )


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
