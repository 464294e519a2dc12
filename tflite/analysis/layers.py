"""The signal-to-noise ratio of each layer of a program: where does it lose what the Keras model computes?"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.activation_names import activation_name
from keras_s4.layers import Block
from keras_s4.surgery.graph import as_numbered, graph_of
from keras_s4.tflite.analysis.signal_to_noise import centre, dequantize, input_arrays, power
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.lowering.registry import is_lowered_inside
from keras_s4.tflite.program.encoding import Encoding, encode
from keras_s4.tflite.program.fixed_point import RANGES
from keras_s4.tflite.program.interface import Interface
from keras_s4.tflite.program.own_lengths import count_blocks, group_by_length, keep_real_steps
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

SEQUENCES = 32
# Of padded sequences, of so many different lengths.
LENGTHS = 8
# Integers of a program that are computed for the sequences that are compared at once: a bound for the memory.
_VALUES_AT_ONCE = 2**25
# How lowerings call the tensor of a layer's output, behind the layer's name: the first of these that there is. Those
# behind "output" belong to layers without activation, to normalisations without gain, and to SimpleRNN.
_ENDINGS = ("output", "product", "normalized", "candidate/output", "candidate/sum")
# The reference is in single precision. What is smaller, relative to its power, is not known to be the program's noise.
_PRECISION = 2.0**-48
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)


def layer_ratios(converted: Interface, model: keras.Model, x: Any) -> dict[str, float | None]:
    """The signal-to-noise ratio of each layer's output in dB, in the order in which the program computes them.

    The signal is what the Keras model's own layer gives in floating point on whole sequences; the noise is what the
    program's integers, from the emulator, differ from it. Each side goes on from its own earlier layers, so that what
    those lose is in the ratio. Of a layer of a quantisation-aware model the signal is rounded as in its training.

    The tensor for a layer's output is known by its name: `dense/output`, or `dense/product` where no activation
    follows. Layers without a tensor of their own (dropout, a softmax, which the host applies) have no ratio; layers
    inside an S4 block have one. What lies beyond the range of the tensor of a block's DSS layer is no noise: the
    activation that follows is flat there. Of a softmax the arguments less their mean are compared, which it ignores.
    Of what a program for blocks of steps computes row by row, the last row of each block is compared.

    Args:
        converted: what `convert` returned.
        model: the model that was converted.
        x: `[B, L, features]`; of a model with several inputs a list or a dict of them. The first 32 sequences serve.

    Returns:
        By layer: "block_1", "block_1/dss"; "inner/dense" in a nested model, "call_2/dense" for a second call. None
        where the layer's output is zero throughout.
    """
    program = converted.program
    written = [tensor for operation in program.operations for tensor in operation.writes()]
    arrays = [array[:SEQUENCES] for array in input_arrays(program, x)]
    at_once = _sequences_at_once(program, written, arrays[0].shape[1])
    powers: dict[str, np.ndarray] = {}
    for part in _cut_into_batches(converted, arrays, at_once):
        walk = _Walk({tensor.name: tensor for tensor in written}, program.encodings)
        walk.run(model, part)
        names = [output.tensor.name for output in walk.outputs.values()]
        integers = converted.quantize(part if len(part) > 1 else part[0])
        traced = Emulator(program).trace(integers, record=names).tensors
        for path, output in walk.outputs.items():
            pair = output.compare(traced[output.tensor.name])
            if pair is not None:
                signal, received = pair
                found = np.array([power(signal), power(received - signal)]) * signal.size
                powers[path] = powers.get(path, 0.0) + found
    places = {tensor.name: index for index, tensor in enumerate(written)}
    paths = sorted(powers, key=lambda path: places[walk.outputs[path].tensor.name])
    return {path: _decibels(*powers[path]) for path in paths}


def _cut_into_batches(converted: Interface, arrays: list[np.ndarray], at_once: int) -> Iterator[list[np.ndarray]]:
    """Some sequences at a time; of padded ones the real steps, those of one length together, of few lengths."""
    real = converted.real_steps(arrays)
    if real is None:
        real = np.ones(arrays[0].shape[:2], bool)
    counts = count_blocks(real, converted.program.steps, converted.program.name) * converted.program.steps
    lengths = np.unique(counts)
    lengths = lengths[:: -(-len(lengths) // LENGTHS)]
    arrays = keep_real_steps(arrays, real)
    for rows in group_by_length(counts, at_once):
        if counts[rows[0]] in lengths:
            yield [array[rows, : counts[rows[0]]] for array in arrays]


@dataclasses.dataclass(frozen=True)
class _LayerOutput:
    """What a layer gives, and the tensor that stands for it.

    Args:
        tensor: all rows of a block, or one.
        every: how many steps of the layer there are to one of the tensor's.
        values: the layer's output, `[B, L, ...]` or `[B, ...]`.
        softmax: they are the probabilities, and the tensor is the arguments.
        clipped: what lies beyond the tensor's range does not matter.
        encoding: what the tensor's values stand for, where its features have units of their own.
    """

    tensor: Tensor
    every: int
    values: np.ndarray
    softmax: bool
    clipped: bool
    encoding: Encoding | None = None

    def compare(self, integers: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The layer's numbers and those of the tensor's integers, of the same steps; None if they have other axes."""
        wanted, received = self.values, dequantize(self.tensor, integers)
        shape, per_step = wanted.shape[1:], self.tensor.shape
        if shape == per_step:
            received = received[:, -1]
        elif shape[1:] in (per_step, per_step[1:]):
            received = received.reshape(len(received), -1, *shape[1:])
            # Both end with the same step; behind a convolution without padding Keras starts later.
            wanted = wanted[:, :: -self.every][:, ::-1]
            received = received[:, received.shape[1] - wanted.shape[1] :]
        else:
            return None
        if self.softmax:
            return centre(np.log(np.maximum(wanted, _LEAST_PROBABILITY))), centre(received)
        if self.clipped:
            wanted = np.clip(wanted, *(dequantize(self.tensor, np.array(limit)) for limit in RANGES[self.tensor.type]))
        return encode(self.encoding, wanted), received


class _Walk:
    """Calls the layers of a model one by one and keeps what those give for whose output there is a tensor.

    Args:
        tensors: of the program, by name.
        encodings: of tensors whose features have units of their own, by name.

    Attributes:
        outputs: by layer.
    """

    def __init__(self, tensors: Mapping[str, Tensor], encodings: Mapping[str, Encoding]):
        self._tensors, self._encodings = tensors, encodings
        self._calls: Counter[keras.layers.Layer] = Counter()
        self._rows: dict[str, int] = {}
        for name in tensors:
            if row := re.fullmatch(r"(.+)\[(\d+)\]", name):
                self._rows[row[1]] = max(int(row[2]), self._rows.get(row[1], 0))
        self.outputs: dict[str, _LayerOutput] = {}

    def run(self, model: keras.Model, inputs: list, prefix: str = "") -> list:
        """The outputs of a model, whose layers' names come behind the prefix."""
        inputs = [
            keras.ops.convert_to_tensor(array, source.dtype) for array, source in zip(inputs, model.inputs, strict=True)
        ]
        return graph_of(model).run(lambda layer, values: self._call(layer, values, prefix), inputs)

    def _call(self, layer: keras.layers.Layer, values: list, prefix: str, counted: bool = True, clipped: bool = False):
        self._calls[layer] += counted
        again = f"call_{self._calls[layer]}/" if self._calls[layer] > 1 else ""
        path = f"{prefix}{again}{layer.name}"
        if isinstance(layer, keras.Model):
            return as_numbered(layer, self.run(layer, values, f"{path}/"))
        if isinstance(layer, Block):
            return self._call_block(layer, values, path)
        return self._keep(path, layer, values if len(values) > 1 else values[0], clipped)

    def _call_block(self, block: Block, values: list, path: str):
        """What a layer gives to nothing but activations may be clipped where these are flat."""
        graph, counted = graph_of(block), is_lowered_inside(block)
        clipped = {
            node.layer.name
            for node in graph.nodes
            if all(isinstance(reader, keras.layers.Activation) for reader in graph.readers(node.output))
            and node.output not in graph.outputs
        }

        def call(layer: keras.layers.Layer, values: list):
            return self._call(layer, values, f"{path}/", counted, layer.name in clipped)

        (outputs,) = graph.run(call, values)
        self._note(path, block, outputs)
        return outputs

    def _keep(self, path: str, layer: keras.layers.Layer, inputs, clipped: bool = False):
        result = layer(inputs, training=False)
        self._note(path, layer, result, clipped)
        return result

    def _note(self, path: str, layer: keras.layers.Layer, result, clipped: bool = False) -> None:
        found = self._tensor(_innermost(path, layer))
        if found:
            values = keras.ops.convert_to_numpy(keras.tree.flatten(result)[0]).astype(np.float64)
            softmax = activation_name(getattr(layer, "activation", None)) == "softmax"
            encoding = self._encodings.get(re.sub(r"\[\d+\]$", "", found[0].name))
            self.outputs[path] = _LayerOutput(*found, values, softmax, clipped, encoding)

    def _tensor(self, path: str) -> tuple[Tensor, int] | None:
        """The tensor for a layer's output, and how many steps a row of it stands for."""
        for ending in _ENDINGS:
            name = f"{path}/{ending}"
            if name in self._tensors:
                return self._tensors[name], 1
            if name in self._rows:
                row = self._rows[name]
                return self._tensors[f"{name}[{row}]"], row + 1
        return None


def _innermost(path: str, layer: keras.layers.Layer) -> str:
    """The path of the layer, or cell, that computes the output of a wrapper."""
    if isinstance(layer, keras.layers.TimeDistributed):
        return f"{path}/{layer.layer.name}"
    cell = getattr(layer, "cell", None)
    return f"{path}/{len(cell.cells) - 1}" if isinstance(cell, keras.layers.StackedRNNCells) else path


def _sequences_at_once(program: Program, written: list[Tensor], length: int) -> int:
    values = sum(math.prod(tensor.shape) for tensor in written) * length // program.steps
    return min(max(_VALUES_AT_ONCE // max(values, 1), 1), SEQUENCES)


def _decibels(signal: float, noise: float) -> float | None:
    return None if signal == 0.0 else float(10.0 * np.log10(signal / max(noise, signal * _PRECISION)))
