"""A program asked in real numbers: samples become its integers, and its integers the outputs of the Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from keras_s4.samples import as_list
from keras_s4.tflite.program.encoding import encode
from keras_s4.tflite.program.output_steps import OutputSteps
from keras_s4.tflite.program.own_lengths import put_back
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.samples import clipped_share, sample_arrays
from keras_s4.tflite.program.tensors import Tensor

Arrays = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


class Padding(Protocol):
    """What is known of the padding of sequences; on a device there is none."""

    def real_steps(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Which steps are real, bool `[B, L]`; padding that the model does not leave out is a ValueError."""

    def is_real(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The same of sequences that may be padding throughout, without refusals."""


@dataclasses.dataclass(frozen=True, repr=False)
class Interface:
    """A program with what is needed to ask it in real numbers.

    Args:
        program: the integer program.
        tflite: the bytes of its `.tflite` file; empty if there is none.
        length: steps of a window.
        output_steps: for each output, which of its values Keras has; empty: the last one.
        output_names: the keys of a model that gives a dict; empty if it gives one output or a list.
        padded: what is known of padding, None if the model does not mask padded steps.
    """

    program: Program
    tflite: bytes = b""
    length: int | None = None
    output_steps: tuple[OutputSteps, ...] = ()
    output_names: tuple[str, ...] = ()
    padded: Padding | None = None

    @property
    def phase(self) -> int:
        """The first value of the outputs that the program gives, counted from 0, from which on all mean something."""
        steps = self.program.steps
        return max((each.phase if each.sequence else each.phase // steps for each in self.output_steps), default=0)

    @property
    def window(self) -> int | None:
        """Steps that each sequence must have, since an average divides by them; None if any number will do."""
        return self.length if self.program.sums_over_time else None

    @property
    def least_steps(self) -> int:
        """Steps that a sequence must have for every output to have a value; more than 1 behind convolutions."""
        rows = self.program.output_rows or (1,) * len(self.program.outputs)
        steps = self.program.steps
        needed = [
            -(-(each.phase + 1) // count) * steps if each.sequence else each.phase + 1
            for each, count in zip(self.output_steps, rows, strict=False)
        ]
        return max(needed, default=1)

    def samples(self, x: Arrays) -> list[np.ndarray]:
        """The arrays for all inputs, in the program's order, of whole windows.

        Raises:
            TypeError, ValueError: see `quantize`.
        """
        return sample_arrays(self.program, x, self.window, self.least_steps)

    def quantize(self, x: Arrays, whole: bool = True) -> np.ndarray | list[np.ndarray]:
        """Samples as the integers that the program takes.

        They have the same shape, but token numbers `[B, L]` become `[B, L, 1]`, and of a program for blocks of T steps
        the time axis is cut: `[B, L / T, T, features]`. A padded step becomes integers like any other, though a device
        must not be given it (see `real_steps`). What lies beyond the range of the integers is clipped, and
        counted by `clipped`.

        Args:
            x: samples; of a program with several inputs a list in its order, or a dict by the names of its inputs.
            whole: they are whole windows, and not pieces of a stream, whose lengths do not matter.

        Returns:
            Integers; a list in the program's order when it has several inputs.

        Raises:
            TypeError: no real numbers.
            ValueError: another shape, NaN, or windows of another length than the program averages over; tokens that are
                no whole numbers, or outside the vocabulary; another number of inputs; sequences that are no whole
                number of blocks.
        """
        arrays = self.samples(x) if whole else sample_arrays(self.program, x)
        pairs = zip(self.program.inputs, arrays, strict=True)
        integers = [self._cut_into_blocks(self._quantize(tensor, array)) for tensor, array in pairs]
        return integers if len(integers) > 1 else integers[0]

    def clipped(self, x: Arrays) -> dict[str, np.ndarray]:
        """The share of the samples of each feature that lie beyond the range of the program's integers.

        Steps that the model masks do not count: a device never sees them.

        Args:
            x: as for `quantize`; pieces of a stream, too.

        Returns:
            By the name of each input that takes no tokens, `[features]` from 0 to 1.
        """
        arrays = sample_arrays(self.program, x)
        if self.padded is not None and (real := self.padded.is_real(arrays)).any():
            arrays = [array[real][None] for array in arrays]
        pairs = zip(self.program.inputs, arrays, strict=True)
        return {
            tensor.name: clipped_share(tensor, self._round(tensor, array))
            for tensor, array in pairs
            if tensor.type != "int32"
        }

    def dequantize(self, integers: np.ndarray | Sequence[np.ndarray]):
        """Integer outputs as real numbers, with the output activations that the device is spared.

        Args:
            integers: of a program with several outputs a sequence of arrays in its order.

        Returns:
            An array; for several outputs a list in the model's order, or a dict if the model gives one. The values of a
            sequence `[B, L / T, R, C]`, of which a block has several, follow each other: `[B, L R / T, C]`.
        """
        tensors = self.program.outputs
        activations = self.program.output_activations or ("linear",) * len(tensors)
        arrays = [integers] if len(tensors) == 1 else list(integers)
        rows = self.program.output_rows or (1,) * len(tensors)
        arrays = [_join_blocks(array, count) for array, count in zip(arrays, rows, strict=True)]
        values = [_dequantize(*each) for each in zip(tensors, activations, arrays, strict=True)]
        if self.output_names:
            return dict(zip(self.output_names, values, strict=True))
        return values if len(values) > 1 else values[0]

    def real_steps(self, x: Arrays) -> np.ndarray | None:
        """Which steps of sequences are real, bool `[B, L]`, as the Keras model masks them; None if all are.

        On a device there is no padding: a stream starts at its first real step and is read at its last. `predict` and
        `verify` run each sequence so. Nothing is masked in what `quantize` gives, nor in the program itself.

        Raises:
            TypeError, ValueError: see `quantize`; padding that the Keras model does not treat so.
        """
        if self.padded is None:
            return None
        real = self.padded.real_steps(self.samples(x))
        counts = real.sum(axis=1)
        if counts.min() < self.least_steps:
            raise ValueError(
                f"Program {self.program.name!r} received a sequence, number {counts.argmin()}, of {counts.min()} real "
                f"steps; its convolutions need at least {self.least_steps} for a first output. Leave it out."
            )
        return None if real.all() else real

    def outputs_of_keras(self, integers: np.ndarray | Sequence[np.ndarray], real: np.ndarray | None = None):
        """Integer outputs of all steps of sequences as the outputs of the Keras model, in its shapes.

        Args:
            integers: what an engine gives; of a program with several outputs a sequence of arrays in its order.
            real: of padded sequences that were run to their own lengths, bool `[B, L]`: which steps are real. At padded
                steps a sequence of outputs keeps its last value.
        """
        values = self.dequantize(integers)
        steps = self.output_steps or (OutputSteps(),) * len(self.program.outputs)
        ends = [each.of(array) for array, each in zip(_list_outputs(values), steps, strict=True)]
        ends = [put_back(e, real) if each.sequence else e for e, each in zip(ends, steps, strict=True)]
        if isinstance(values, dict):
            return dict(zip(values, ends, strict=True))
        return ends if isinstance(values, list) else ends[0]

    def _quantize(self, tensor: Tensor, x: np.ndarray) -> np.ndarray:
        if tensor.type == "int32":
            return x.astype(np.int32)[..., None]
        ends = np.iinfo(tensor.type)
        return np.clip(self._round(tensor, x), ends.min, ends.max).astype(tensor.type)

    def _round(self, tensor: Tensor, x: np.ndarray) -> np.ndarray:
        """Whole numbers that may lie beyond the range of the tensor's type."""
        values = encode(self.program.encodings.get(tensor.name), x)
        return np.rint(values / tensor.scale) + tensor.zero_point

    def _cut_into_blocks(self, integers: np.ndarray) -> np.ndarray:
        """`[B, L, features]` as `[B, L / T, T, features]`; as it is if T is 1."""
        steps = self.program.steps
        if steps == 1:
            return integers
        if integers.ndim < 3 or integers.shape[1] % steps:
            raise ValueError(
                f"Received sequences of shape {list(integers.shape)}; expected [B, L, features] with a multiple of "
                f"{steps} as L: the program takes {steps} steps at once. Cut the sequences: "
                f"x[:, :{integers.shape[1] - integers.shape[1] % steps}]. To verify with so many steps a Keras model "
                "that is made for another length, convert its copy by keras_s4.at_length instead."
            )
        batch, length, *shape = integers.shape
        return integers.reshape(batch, length // steps, steps, *shape)


def _join_blocks(integers: np.ndarray, rows: int) -> np.ndarray:
    """`[B, L / T, R, ..]` as `[B, L R / T, ..]`."""
    if rows == 1:
        return integers
    return integers.reshape(integers.shape[0], -1, *integers.shape[3:])


def _list_outputs(values) -> list[np.ndarray]:
    """One output, or several in a list or dict, as a list."""
    return list(values.values()) if isinstance(values, dict) else as_list(values)


def _dequantize(tensor: Tensor, activation: str, integers: np.ndarray) -> np.ndarray:
    values = (integers.astype(np.float64) - tensor.zero_point) * tensor.scale
    if activation == "softmax":
        values = np.exp(values - values.max(axis=-1, keepdims=True))
        values /= values.sum(axis=-1, keepdims=True)
    return values
