"""What the layers of a model receive on data: the statistics that make parts aware of it."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np

from keras_s4.layers import DSS, DiagonalSSM
from keras_s4.samples import is_several, real_array
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.layer_state import copy_state
from keras_s4.surgery.paths import Layers, layers_by_path

BATCH_SIZE = 128
# Complex numbers of a cross spectrum, at most, unless pieces of sequences would be shorter than this.
LARGEST_SPECTRUM = 1 << 22
SHORTEST_PIECE = 64


class Meter(Protocol):
    """Gathers a statistic of a layer's inputs, batch by batch."""

    def add(self, inputs: np.ndarray, mask: np.ndarray | None, states: Any = None) -> None:
        """Takes one batch of what a layer receives.

        Args:
            inputs: `[B, ...]`; of a cell those of all steps, `[B, L, F]`.
            mask: `[B, L]`, that the layer was called with.
            states: of a recurrent layer those that it was told to start from; of a cell the first of its states before
                every step, `[B, L, units]`.
        """


class Spectrum(abc.ABC):
    """The mean over all steps of what sequences `[B, L, F]` have at each frequency.

    Frequencies are as fine as twice the sequence needs, so that they stand for a sequence that has ended and not for
    one that starts over.

    Attributes:
        length: L of the sequences that were added last.
    """

    def __init__(self):
        self._sum = 0.0
        self._steps = 0
        self.length: int | None = None

    def add(self, inputs: np.ndarray, mask: np.ndarray | None, states: Any = None) -> None:
        """Takes one batch; masked steps count as zeros, as in the layer."""
        signal = inputs if mask is None else np.where(mask[..., None], inputs, 0.0)
        batch, self.length, _ = signal.shape
        self._sum = self._sum + self._sum_of(signal.astype(np.float64))
        self._steps += batch * self.length

    @abc.abstractmethod
    def _sum_of(self, signal: np.ndarray) -> np.ndarray:
        """Of one batch, in float64."""


class PowerSpectrum(Spectrum):
    """The power of a step, channel by channel."""

    def of(self, layer: DSS) -> np.ndarray:
        """`[H, L + 1]`, at L + 1 equally spaced frequencies from 0 to pi; of a bidirectional layer `[2 H, L + 1]`."""
        power = self._sum / self._steps
        return np.concatenate([power, power]) if layer.bidirectional else power

    def _sum_of(self, signal: np.ndarray) -> np.ndarray:
        transform = np.fft.rfft(signal, 2 * signal.shape[1], axis=1)
        return np.sum(np.abs(transform) ** 2, axis=0).T


class CrossSpectrum(Spectrum):
    """The mean of `x x'`, frequency by frequency: what inputs have in common, too.

    Where sequences are so long that this would be `LARGEST_SPECTRUM` numbers or more, it is that of their pieces.
    """

    def of(self, layer: DiagonalSSM) -> np.ndarray:
        """`[F, I, I]`, at F equally spaced frequencies from 0 to pi; of a bidirectional layer the mean of both ways."""
        spectrum = self._sum / self._steps
        return spectrum.real.astype(np.complex128) if layer.bidirectional else spectrum

    def _sum_of(self, signal: np.ndarray) -> np.ndarray:
        batch, length, width = signal.shape
        piece = min(length, max(LARGEST_SPECTRUM // width**2, SHORTEST_PIECE))
        pieces = -(-length // piece)
        padded = np.pad(signal, ((0, 0), (0, pieces * piece - length), (0, 0)))
        transform = np.fft.rfft(padded.reshape(batch * pieces, piece, width), 2 * piece, axis=1).transpose(1, 2, 0)
        return transform @ transform.conj().transpose(0, 2, 1)


class Moment:
    """The mean of `x' x` over the rows x that a dense layer's matrix is multiplied by."""

    def __init__(self):
        self._sum = 0.0
        self._rows = 0

    def add(self, inputs: np.ndarray, mask: np.ndarray | None = None, states: Any = None) -> None:
        """Takes inputs `[..., m]`; of masked ones, `[..., m]` with the mask `[...]`, those that count."""
        rows = inputs.reshape(-1, inputs.shape[-1]) if mask is None else inputs[mask]
        rows = rows.astype(np.float64)
        self._sum = self._sum + rows.T @ rows
        self._rows += len(rows)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """`[m, m]`, by the name of the matrix."""
        return {"kernel": self._sum / max(self._rows, 1)}


class ConvolutionMoment(Moment):
    """The same of a convolution over time, whose rows are the windows that the kernel is laid on.

    Args:
        layer: a built layer, `keras.layers.Conv1D` or `LowRankConv1D`.
    """

    def __init__(self, layer: keras.layers.Layer):
        super().__init__()
        self._layer = layer

    def add(self, inputs: np.ndarray, mask: np.ndarray | None = None, states: Any = None) -> None:
        """Takes sequences `[B, L, F]`; the layer knows no masks."""
        super().add(windows_of(self._layer, inputs))


class CellMoments:
    """The same of a recurrent cell: of its inputs, and of the states that its recurrent matrix is multiplied by."""

    def __init__(self):
        self._inputs, self._states = Moment(), Moment()

    def add(self, inputs: np.ndarray, mask: np.ndarray | None, states: np.ndarray) -> None:
        """Takes inputs `[B, L, F]` and the states before each step, `[B, L, units]`; masked steps do not count."""
        self._inputs.add(inputs, mask)
        self._states.add(states, mask)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Of the inputs `[F, F]` and of the states `[units, units]`, by the names of the matrices."""
        return {"kernel": self._inputs.values["kernel"], "recurrent_kernel": self._states.values["kernel"]}


class RecurrentMoments(CellMoments):
    """The same of a recurrent layer.

    Args:
        layer: a built layer.
    """

    def __init__(self, layer: keras.layers.RNN):
        super().__init__()
        self._layer = layer
        # Gives the states of all steps, in the order in which it computes them.
        changes = {"return_sequences": True, "return_state": False, "stateful": False, "zero_output_for_mask": False}
        self._twin = type(layer).from_config({**layer.get_config(), **changes})

    def add(self, inputs: np.ndarray, mask: np.ndarray | None, states: Any = None) -> None:
        """Takes sequences `[B, L, F]`; masked steps do not count. It starts from zero if no states are given."""
        if not self._twin.built:
            self._twin.build(inputs.shape)
            copy_state(self._layer.cell, self._twin.cell)
        first = None if states is None else keras.ops.convert_to_numpy(keras.tree.flatten(states)[0])
        behind = keras.ops.convert_to_numpy(self._twin(inputs, mask=mask, initial_state=states))
        first = np.zeros_like(behind[:, 0]) if first is None else first
        before = np.concatenate([first[:, None], behind[:, :-1]], axis=1)
        in_order = slice(None, None, -1 if self._layer.go_backwards else 1)
        super().add(inputs[:, in_order], None if mask is None else mask[:, in_order], before)


def moment_of(layer: keras.layers.Layer) -> Moment | CellMoments:
    """The meter for the matrices of a layer, one that `matrix_layers` gives."""
    if isinstance(layer, keras.layers.RNN):
        return RecurrentMoments(layer)
    if hasattr(layer, "state_size"):
        return CellMoments()
    return ConvolutionMoment(layer) if hasattr(layer, "kernel_size") else Moment()


def measure(model: keras.Model, meters: Mapping[str, Meter], data: Any) -> None:
    """Runs a model on data and hands what its layers receive to meters.

    A layer that is called several times is measured at every call. A model of a fixed batch size reads whole batches.

    Args:
        model: a built model, functional or sequential; it is not changed.
        meters: meters by the layers' paths, as `dss_layers` and `matrix_layers` give them.
        data: inputs of the model, numpy.

    Raises:
        TypeError: the data holds no real numbers.
        ValueError: the data has not the shape of the model's inputs, is empty, or holds NaN or infinite numbers.
    """
    check_data(model, data)
    copy = clone(model, {})
    layers = layers_by_path(copy)
    for layer in layers.values():
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False  # Bidirectional would compute both directions without calling its layers
    for path, meter in meters.items():
        loop = _loop_around(path, layers)
        if loop is None:
            _listen(layers[path], meter.add)
        else:
            _listen_to_steps(layers[loop], _cell_of(path, loop, layers), meter)
    arrays = keras.tree.flatten(data)
    fixed = model.inputs[0].shape[0]
    size, count = fixed or BATCH_SIZE, len(arrays[0])
    for start in range(0, count - count % fixed if fixed else count, size):
        copy(keras.tree.map_structure(lambda array, start=start: array[start : start + size], data), training=False)


def check_data(model: keras.Model, data: Any) -> None:
    """Refuses data that a model does not take.

    Raises:
        TypeError, ValueError: see `measure`.
    """
    several = isinstance(data, Mapping) or is_several(data)
    arrays = [
        real_array(array, f"The data for model {model.name!r}", finite=False)
        for array in (keras.tree.flatten(data) if several else [data])
    ]
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    expected = ", ".join(str(["B" if size is None else size for size in shape]).replace("'", "") for shape in shapes)
    if len(arrays) != len(shapes) or not all(map(_fits, arrays, shapes)):
        received = ", ".join(str(list(array.shape)) for array in arrays) or "none"
        raise ValueError(f"Model {model.name!r} takes data of shape {expected}, but got {received}.")
    for array in arrays:
        if np.issubdtype(array.dtype, np.inexact) and not np.all(np.isfinite(array)):
            raise ValueError(
                f"The data for model {model.name!r} holds {np.count_nonzero(~np.isfinite(array))} NaN or infinite "
                "numbers; leave those recordings out, or fill the gaps."
            )


def _loop_around(path: str, layers: Layers) -> str | None:
    """The path of the `keras.layers.RNN` that calls a layer step by step, if one does."""
    parts = path.split("/")
    above = ("/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return next((path for path in above if type(layers[path]) is keras.layers.RNN), None)


def _cell_of(path: str, loop: str, layers: Layers) -> keras.layers.Layer:
    """The cell that a layer inside a loop is, or is in."""
    return layers["/".join(path.split("/")[: loop.count("/") + 2])]


def _listen(layer: keras.layers.Layer, show: Callable) -> None:
    """Makes a layer show its inputs, its mask and the states that it is handed at every call."""
    call = layer.call
    signature = inspect.signature(call)

    @functools.wraps(call)
    def call_and_show(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        inputs = keras.tree.flatten((args, kwargs))[0]
        mask = arguments.get("mask")
        mask = None if mask is None else keras.ops.convert_to_numpy(mask).astype(bool)
        states = arguments.get("states", arguments.get("initial_state"))
        show(keras.ops.convert_to_numpy(inputs), mask, states)
        return call(*args, **kwargs)

    layer.call = call_and_show


def _listen_to_steps(loop: keras.layers.RNN, cell: keras.layers.Layer, meter: Meter) -> None:
    """Makes a cell show what it receives in all steps of a loop."""
    loop.unroll = True  # so that every step is computed, and not only traced
    steps: list[tuple[np.ndarray, np.ndarray]] = []

    def note(inputs, mask, states):
        steps.append((inputs, keras.ops.convert_to_numpy(keras.tree.flatten(states)[0])))

    _listen(cell, note)
    call = loop.call
    signature = inspect.signature(call)

    @functools.wraps(call)
    def call_and_show(*args, **kwargs):
        steps.clear()
        outputs = call(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        del steps[: len(steps) - arguments["sequences"].shape[1]]  # Keras calls the cells of a stack once before
        mask = arguments.get("mask")
        if mask is not None:
            mask = keras.ops.convert_to_numpy(mask).astype(bool)[:, :: -1 if loop.go_backwards else 1]
        inputs, states = (np.stack(values, axis=1) for values in zip(*steps, strict=True))
        meter.add(inputs, mask, states)
        return outputs

    loop.call = call_and_show


def _fits(array: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    sizes = array.shape
    return (
        len(sizes) == len(shape)
        and sizes[0] >= (shape[0] or 1)
        and all(expected in (None, size) for size, expected in zip(sizes[1:], shape[1:], strict=True))
    )


def windows_of(layer: keras.layers.Layer, inputs: np.ndarray) -> np.ndarray:
    """`[B, T, kernel size * F]`: the inputs of each output of a convolution over time."""
    sequences = inputs if layer.data_format == "channels_last" else inputs.transpose(0, 2, 1)
    size, stride, dilation = layer.kernel_size[0], layer.strides[0], layer.dilation_rate[0]
    span = (size - 1) * dilation + 1
    length = sequences.shape[1]
    # As TensorFlow pads: as little as gives ceil(L / stride) outputs, and the odd step behind.
    total = {"valid": 0, "causal": span - 1, "same": max((-(-length // stride) - 1) * stride + span - length, 0)}
    front = span - 1 if layer.padding == "causal" else total[layer.padding] // 2
    padded = np.pad(sequences, ((0, 0), (front, total[layer.padding] - front), (0, 0)))
    outputs = (padded.shape[1] - span) // stride + 1
    steps = stride * np.arange(outputs)[:, None] + dilation * np.arange(size)
    return padded[:, steps].reshape(len(padded), outputs, -1)
