"""What the layers of a model receive on data: the statistics that make parts aware of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import keras
import numpy as np

from keras_s4.cloning import clone, layer_at
from keras_s4.layers import DSS

BATCH_SIZE = 128


class Meter(Protocol):
    """Gathers a statistic of a layer's inputs, batch by batch."""

    def add(self, inputs: np.ndarray, mask: np.ndarray | None) -> None:
        """Takes one batch: the inputs `[B, ...]` of a layer, and the mask `[B, L]` that the layer was called with."""


class PowerSpectrum:
    """The mean power of a step of sequences `[B, L, H]`, channel by channel.

    Frequencies are as fine as twice the sequence needs, so that the power stands for a sequence that has ended and not
    for one that starts over.
    """

    def __init__(self):
        self._sum = 0.0
        self._steps = 0

    def add(self, inputs: np.ndarray, mask: np.ndarray | None) -> None:
        """Takes one batch; masked steps count as zeros, as in the DSS layer."""
        signal = inputs if mask is None else np.where(mask[..., None], inputs, 0.0)
        transform = np.fft.rfft(signal.astype(np.float64), 2 * signal.shape[1], axis=1)
        self._sum = self._sum + np.sum(np.abs(transform) ** 2, axis=0).T
        self._steps += signal.shape[0] * signal.shape[1]

    def of(self, layer: DSS) -> np.ndarray:
        """`[H, L + 1]`, at L + 1 equally spaced frequencies from 0 to pi; of a bidirectional layer `[2 H, L + 1]`."""
        power = self._sum / self._steps
        return np.concatenate([power, power]) if layer.bidirectional else power


class Moment:
    """The mean of `x' x` over the rows x that a dense layer's matrix is multiplied by."""

    def __init__(self):
        self._sum = 0.0
        self._rows = 0

    def add(self, inputs: np.ndarray, mask: np.ndarray | None = None) -> None:
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
        layer: built, `keras.layers.Conv1D` or `LowRankConv1D`.
    """

    def __init__(self, layer: keras.layers.Layer):
        super().__init__()
        self._layer = layer

    def add(self, inputs: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Takes sequences `[B, L, F]`; the layer knows no masks."""
        super().add(_windows(self._layer, inputs))


class RecurrentMoments:
    """The same of a recurrent layer: of its inputs, and of the states that its recurrent matrix is multiplied by.

    Args:
        layer: built; its states start at zero.
    """

    def __init__(self, layer: keras.layers.RNN):
        self._layer = layer
        # Gives the states of all steps, in the order in which it computes them.
        changes = {"return_sequences": True, "return_state": False, "stateful": False, "zero_output_for_mask": False}
        self._twin = type(layer).from_config({**layer.get_config(), **changes})
        self._inputs, self._states = Moment(), Moment()

    def add(self, inputs: np.ndarray, mask: np.ndarray | None) -> None:
        """Takes sequences `[B, L, F]`; masked steps do not count."""
        if not self._twin.built:
            self._twin.build(inputs.shape)
            self._twin.cell.set_weights(self._layer.cell.get_weights())
        states = keras.ops.convert_to_numpy(self._twin(inputs, mask=mask))
        before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
        self._inputs.add(inputs, mask)
        self._states.add(before, mask[:, ::-1] if mask is not None and self._layer.go_backwards else mask)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Of the inputs `[F, F]` and of the states `[units, units]`, by the names of the matrices."""
        return {"kernel": self._inputs.values["kernel"], "recurrent_kernel": self._states.values["kernel"]}


def moment_of(layer: keras.layers.Layer) -> Moment | RecurrentMoments:
    """The meter for the matrices of a layer, one that `matrix_layers` gives."""
    if isinstance(layer, keras.layers.RNN):
        return RecurrentMoments(layer)
    return ConvolutionMoment(layer) if hasattr(layer, "kernel_size") else Moment()


def measure(model: keras.Model, meters: Mapping[str, Meter], data: Any) -> None:
    """Runs a model on data and hands what its layers receive to meters.

    A layer that is called several times is measured at every call. A model of a fixed batch size reads whole batches.

    Args:
        model: built, functional or sequential; it is not changed.
        meters: by layer name, as `dss_layers` and `matrix_layers` give it.
        data: inputs of the model, numpy.

    Raises:
        ValueError: the data has not the shape of the model's inputs, is empty, or holds NaN or infinite numbers.
    """
    check_data(model, data)
    copy = clone(model, {})
    for name, meter in meters.items():
        _listen(layer_at(copy, name), meter)
    arrays = keras.tree.flatten(data)
    fixed = model.inputs[0].shape[0]
    size, count = fixed or BATCH_SIZE, len(arrays[0])
    for start in range(0, count - count % fixed if fixed else count, size):
        copy(keras.tree.map_structure(lambda array, start=start: array[start : start + size], data), training=False)


def check_data(model: keras.Model, data: Any) -> None:
    """Refuses data that a model does not take.

    Raises:
        ValueError: see `measure`.
    """
    arrays = [np.asarray(array) for array in keras.tree.flatten(data)]
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


def _listen(layer: keras.layers.Layer, meter: Meter) -> None:
    """Makes a layer show its inputs to a meter at every call."""
    call = layer.call

    @functools.wraps(call)
    def call_and_show(*args, **kwargs):
        inputs = keras.tree.flatten((args, kwargs))[0]
        mask = kwargs.get("mask")
        mask = None if mask is None else keras.ops.convert_to_numpy(mask).astype(bool)
        meter.add(keras.ops.convert_to_numpy(inputs), mask)
        return call(*args, **kwargs)

    layer.call = call_and_show


def _fits(array: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    sizes = array.shape
    return (
        len(sizes) == len(shape)
        and sizes[0] >= (shape[0] or 1)
        and all(expected in (None, size) for size, expected in zip(sizes[1:], shape[1:], strict=True))
    )


def _windows(layer: keras.layers.Layer, inputs: np.ndarray) -> np.ndarray:
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
