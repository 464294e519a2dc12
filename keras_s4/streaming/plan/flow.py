"""What flows from layer to layer, and what a layer does to it in time."""

from __future__ import annotations

import dataclasses

import keras

from keras_s4.streaming.plan.timing import EVERY_STEP, Timing


@dataclasses.dataclass(frozen=True)
class Flow:
    """What flows between two layers.

    Args:
        shape: in convolution mode, `[B, L, ...]`, or `[B, ...]` without a time axis behind a pooling over time.
        dtype: of the values.
        timing: the steps at which a value is due.
        has_time: whether there is a time axis; without one the latest value holds at every step until the next.
        padding: zeros that stand in front of the first value in convolution mode.
    """

    shape: tuple
    dtype: str
    timing: Timing = EVERY_STEP
    has_time: bool = True
    padding: int = 0

    @classmethod
    def of(cls, tensor: keras.KerasTensor, steps: int | None = None) -> Flow:
        """A model's input; `steps` are those of its sequences where their length is open."""
        batch, length, *shape = tensor.shape
        return cls((batch, length or steps, *shape), keras.backend.standardize_dtype(tensor.dtype))

    @property
    def step_shape(self) -> tuple:
        """The shape at one step, without the batch."""
        return tuple(self.shape[2:] if self.has_time else self.shape[1:])

    @property
    def first_row(self) -> int:
        """The row of a program from which on values mean something; without a time axis each step is a row."""
        return self.timing.first_row if self.has_time else self.timing.phase

    def at_one_step(self) -> Flow:
        """One step alone, whose axes are all its own."""
        return dataclasses.replace(self, shape=(self.shape[0], *self.step_shape), has_time=False)


@dataclasses.dataclass(frozen=True)
class Reach:
    """The inputs that an output depends on: the current one and `taps - 1` before it, `dilation` inputs apart."""

    taps: int
    dilation: int = 1

    @property
    def span(self) -> int:
        """Inputs from the first to the last of them."""
        return (self.taps - 1) * self.dilation + 1


@dataclasses.dataclass(frozen=True)
class Effect:
    """What a layer does in time; by default it treats every step alone.

    Args:
        stride: inputs from one output to the next.
        delay: index of the input at which output 0 comes; 2 for a convolution over 3 inputs without padding.
        reach: the inputs that an output depends on, if more than the current one and not all.
        lasting: whether the layer carries a state from the first step on without end.
        pools: whether the output has no time axis, and is one value for all steps so far.
        averages: whether it is divided by the number of values in a window.
        padding: zeros that the layer puts in front of its sequence. Its step returns its input; the zeros are the
            business of the next layer.
        takes_padding: whether such zeros may come in, because the initial state stands for them.
        several: whether the layer has several inputs, which then come at the same steps.
    """

    stride: int = 1
    delay: int = 0
    reach: Reach | None = None
    lasting: bool = False
    pools: bool = False
    averages: bool = False
    padding: int = 0
    takes_padding: bool = False
    several: bool = False

    @property
    def looks_before_the_start(self) -> bool:
        """Whether the first outputs depend on zeros in front of the sequence, as those of a causal convolution do."""
        return self.reach is not None and self.delay < self.reach.span - 1
