"""The real numbers that the operations of a program stand for, on whole sequences `[B, L, ...]` in float64.

One function for each kind of operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import scipy.signal
import scipy.special

from keras_s4.tflite.analysis.realised import mode_arrays, pole_array, realised_kernel
from keras_s4.tflite.program.operations import (
    Accumulate,
    Add,
    Affine,
    Concatenate,
    DepthwiseProduct,
    DiagonalStep,
    Embed,
    FullyConnected,
    Interpolate,
    Lookup,
    Maximum,
    Minimum,
    ModalStep,
    Multiply,
    Normalize,
    Operation,
    RecentMean,
    Requantize,
    Reshape,
    Slice,
    SlidingSum,
    Squash,
    Window,
    WindowMaximum,
)
from keras_s4.tflite.program.tensors import Tensor

Values = dict[str, np.ndarray]


class Rounding(Protocol):
    """What becomes of values that a device rounds."""

    def round(self, values: np.ndarray, tensor: Tensor) -> np.ndarray:
        """Values as a tensor holds them."""

    def is_rounded(self, tensor: Tensor) -> bool:
        """Whether there is an error."""

    def draw_noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Errors in units."""


Run = Callable[[Operation, Values, Rounding], None]
RUNS: dict[type, Run] = {}


def real(*kinds: type[Operation]) -> Callable[[Run], Run]:
    """Decorator: this function is the real arithmetic of operations of these kinds; it rounds what they round."""

    def add(run: Run) -> Run:
        RUNS.update(dict.fromkeys(kinds, run))
        return run

    return add


def convolve(kernel: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Causal convolution of `[B, L, H]` inputs with kernels `[H, L]`."""
    return scipy.signal.fftconvolve(inputs, kernel.T[None], axes=1)[:, : inputs.shape[1]]


@real(FullyConnected)
def fully_connected(operation: FullyConnected, values: Values, rounding: Rounding) -> None:
    """The product with the weights, and the bias."""
    result = values[operation.input.name] @ _constant(operation.weights).T + _constant(operation.bias)
    values[operation.output.name] = rounding.round(result, operation.output)


@real(DepthwiseProduct)
def depthwise_product(operation: DepthwiseProduct, values: Values, rounding: Rounding) -> None:
    """The weights lie by step and output channel."""
    window = values[operation.input.name]
    weights = _constant(operation.weights)
    steps = window.reshape(*window.shape[:-1], len(weights), -1)
    repeated = np.repeat(steps, weights.shape[-1] // steps.shape[-1], axis=-1)
    result = (repeated * weights).sum(axis=-2) + _constant(operation.bias)
    values[operation.output.name] = rounding.round(result, operation.output)


@real(Affine)
def affine(operation: Affine, values: Values, rounding: Rounding) -> None:
    """Gain and offset."""
    units = values[operation.input.name] / operation.input.scale
    result = (units * operation.gain.data + operation.offset.data) * operation.accumulator_scale
    values[operation.output.name] = rounding.round(result, operation.output)


@real(DiagonalStep)
def diagonal_step(step: DiagonalStep, values: Values, rounding: Rounding) -> None:
    """The kernel that the integers stand for, split where a device rounds."""
    u = values[step.input.name]
    kernel = realised_kernel(step, u.shape[1])
    direct = u * kernel[:, 0]
    kernel[:, 0] = 0.0
    read = convolve(kernel, u)
    if rounding.is_rounded(step.hidden):
        read = read + _rounding_of_states(step, u.shape, rounding)
    values[step.partial.name] = rounding.round(read, step.partial)
    values[step.output.name] = rounding.round(values[step.partial.name] + direct, step.output)


def _rounding_of_states(step: DiagonalStep, shape: tuple[int, ...], rounding: Rounding) -> np.ndarray:
    """What the rounding of a layer's states adds to its readout, `[B, L, H]`, from a reset on.

    An error e is read out, enters the state times `pole - 1`, and is read out again from there: in all
    `(1 - 1/z) / (1 - pole/z)`. That vanishes at frequency 0, so that averages over time hardly notice it. Where errors
    are fed back, they are read out once.
    """
    poles, gains, weights = mode_arrays(step)
    fed = np.zeros(poles.shape, bool) if step.feedback is None else step.feedback.T
    weights = np.where(gains == 0.0, 0.0, weights)  # a state that stays at zero is rounded without error
    total = np.zeros(shape)
    for mode in range(poles.shape[1]):
        pole = poles[:, mode, None]
        again = np.where(fed[:, mode, None], 0.0, pole - 1.0)
        response = np.concatenate([np.ones_like(pole), again * pole ** np.arange(shape[1] - 1)], axis=1)
        error = rounding.draw_noise(shape) + 1j * rounding.draw_noise(shape)
        total += (weights[:, mode].conj() * convolve(response, error)).real
    return total


@real(ModalStep)
def modal_step(step: ModalStep, values: Values, rounding: Rounding) -> None:
    """The recurrence of each mode. What rounding adds comes again from the state, unless it is fed back."""
    modes = step.decay.shape[0]
    u, unit = values[step.input.name], step.input.scale
    gains, poles = step.input_gain.data * step.state.scale, pole_array(step)
    driven = (u[..., :modes] * gains[0] + 1j * u[..., modes:] * gains[1]) / unit
    noisy = rounding.is_rounded(step.output)
    result = np.empty((*driven.shape, 2))
    for mode, pole in enumerate(poles):
        state = scipy.signal.lfilter([1.0], [1.0, -pole], driven[..., mode], axis=1)
        if noisy and np.any(gains[:, mode]):  # a state that stays at zero is rounded without error
            error = rounding.draw_noise(state.shape) + 1j * rounding.draw_noise(state.shape)
            again = 0.0 if mode >= modes - step.feedback else pole - 1.0
            state = state + step.output.scale * scipy.signal.lfilter([1.0, again - pole], [1.0, -pole], error, axis=1)
        result[..., mode, :] = np.stack([state.real, state.imag], axis=-1)
    values[step.output.name] = np.concatenate([result[..., 0], result[..., 1]], axis=-1)


@real(Lookup)
def lookup(operation: Lookup, values: Values, rounding: Rounding) -> None:
    """Straight lines between the entries of the table, whose rounding stays in it."""
    input, output = operation.input, operation.output
    places = values[input.name] / input.scale + input.zero_point
    entries = (operation.table.data.astype(np.float64) - output.zero_point) * output.scale
    values[output.name] = np.interp(places, np.arange(-128, 128), entries)


@real(Squash)
def squash(operation: Squash, values: Values, rounding: Rounding) -> None:
    """The function itself, which the device's table follows closely."""
    function = {"sigmoid": scipy.special.expit, "tanh": np.tanh}[operation.function]
    values[operation.output.name] = rounding.round(function(values[operation.input.name]), operation.output)


@real(Interpolate)
def interpolate(operation: Interpolate, values: Values, rounding: Rounding) -> None:
    """The lines, which are the function but for a unit or so."""
    slope = operation.slope
    places = values[operation.input.name] / operation.input.scale
    rows = np.clip((places + 2.0**15) * len(slope.data) / 2.0**16, 0, len(slope.data) - 1).astype(np.int64)
    units = places * slope.data[rows] + operation.offset.data[rows].astype(np.float64) * operation.offset_gain
    result = units * operation.input.scale * slope.scale
    values[operation.output.name] = rounding.round(result, operation.output)


@real(Embed)
def embed(operation: Embed, values: Values, rounding: Rounding) -> None:
    """Rows of a table."""
    rows = values[operation.input.name][..., 0].astype(np.int64)
    table = operation.table.data.astype(np.float64) - operation.output.zero_point
    values[operation.output.name] = table[rows] * operation.output.scale


@real(Multiply)
def multiply(operation: Multiply, values: Values, rounding: Rounding) -> None:
    """Exact."""
    a, b = _operands(operation, values)
    values[operation.output.name] = a * b


@real(Add)
def add(operation: Add, values: Values, rounding: Rounding) -> None:
    """Gains are whole numbers, so that they may differ a little from the ratio of the scales."""
    a, b = _operands(operation, values)
    units = a / operation.a.scale * operation.gain_a + b / operation.b.scale * operation.gain_b
    values[operation.output.name] = rounding.round(units * operation.accumulator_scale, operation.output)


@real(Maximum, Minimum)
def extremum(operation: Maximum | Minimum, values: Values, rounding: Rounding) -> None:
    """Exact; a constant is in units of the other input."""
    function = np.maximum if isinstance(operation, Maximum) else np.minimum
    a, b = _operands(operation, values)
    if operation.b.data is not None:
        b = operation.b.data * operation.a.scale
    values[operation.output.name] = function(a, b)


@real(Concatenate)
def concatenate(operation: Concatenate, values: Values, rounding: Rounding) -> None:
    """Exact."""
    values[operation.output.name] = np.concatenate([values[tensor.name] for tensor in operation.inputs], axis=-1)


@real(Slice)
def slice_(operation: Slice, values: Values, rounding: Rounding) -> None:
    """Exact."""
    end = operation.start + operation.output.shape[-1]
    values[operation.output.name] = values[operation.input.name][..., operation.start : end]


@real(Reshape)
def reshape(operation: Reshape, values: Values, rounding: Rounding) -> None:
    """Exact."""
    array = values[operation.input.name]
    values[operation.output.name] = array.reshape(*array.shape[:2], *operation.output.shape)


@real(Window)
def window(operation: Window, values: Values, rounding: Rounding) -> None:
    """Delayed copies, the current input last; zeros before the first step."""
    array = values[operation.input.name]
    delays = range(operation.output.shape[0] // array.shape[-1] - 1, -1, -1)
    padded = [np.pad(array, ((0, 0), (delay * operation.dilation, 0), (0, 0))) for delay in delays]
    values[operation.output.name] = np.concatenate([copy[:, : array.shape[1]] for copy in padded], axis=-1)


@real(WindowMaximum)
def window_maximum(operation: WindowMaximum, values: Values, rounding: Rounding) -> None:
    """Exact."""
    array = values[operation.input.name]
    values[operation.output.name] = array.reshape(*array.shape[:2], -1, operation.output.shape[0]).max(axis=-2)


@real(Normalize)
def normalize(operation: Normalize, values: Values, rounding: Rounding) -> None:
    """The reciprocal root that the tables stand for, with straight lines between their entries."""
    x, level, root = values[operation.input.name], operation.level, operation.root
    energy = (x**2).sum(axis=-1, keepdims=True)
    coarse, fine = (rounding.round(energy, tensor) for tensor in (operation.coarse, operation.fine))
    sums = coarse / operation.coarse.scale * operation.coarse_gain.data
    sums = sums + fine / operation.fine.scale * operation.fine_gain.data
    places = rounding.round(sums, level) / level.scale + level.zero_point
    tables = operation.table.data.reshape(-1, 256).astype(np.float64)
    parts = [np.interp(places[..., j], np.arange(-128, 128), table) for j, table in enumerate(tables)]
    total = (np.stack(parts, axis=-1) * operation.weights.data[0]).sum(axis=-1, keepdims=True) + operation.bias.data
    reciprocal = (rounding.round(total, root) / root.scale + 2.0**15) * operation.root_scale
    values[operation.output.name] = rounding.round(x * reciprocal, operation.output)


@real(Accumulate)
def accumulate(operation: Accumulate, values: Values, rounding: Rounding) -> None:
    """Exact; the sum's scale may have a division in it."""
    units = np.cumsum(values[operation.input.name], axis=1) / operation.input.scale
    values[operation.next_state.name] = units * operation.next_state.scale


@real(RecentMean)
def recent_mean(operation: RecentMean, values: Values, rounding: Rounding) -> None:
    """The recurrence, from a first value on that is its own mean."""
    x = values[operation.input.name][:, operation.start :]
    result = np.zeros((len(x), x.shape[1] + operation.start, x.shape[2]))
    for channel, rate in enumerate(operation.rate.data * 2.0**-15):
        signal = x[..., channel]
        before = (1.0 - rate) * signal[:, :1]
        filtered, _ = scipy.signal.lfilter([rate], [1.0, rate - 1.0], signal, axis=1, zi=before)
        result[:, operation.start :, channel] = filtered
    values[operation.output.name] = rounding.round(result, operation.output)


@real(SlidingSum)
def sliding_sum(operation: SlidingSum, values: Values, rounding: Rounding) -> None:
    """Exact; the sum's scale has a division in it. Hops before the first one are like it."""
    x, hop, hops = values[operation.input.name], operation.hop, operation.hops
    full = max(x.shape[1] - operation.start, 0) // hop
    steps = x[:, operation.start :][:, : full * hop]
    sums = steps.reshape(len(x), full, hop, -1).sum(axis=2)
    sums = np.concatenate([np.repeat(sums[:, :1], hops, axis=1), sums], axis=1)
    totals = sum(sums[:, 1 + place :][:, :full] for place in range(hops))
    totals = np.concatenate([np.zeros_like(x[:, :1]), totals], axis=1)
    due = np.maximum(np.arange(x.shape[1]) + 1 - operation.start, 0) // hop
    values[operation.output.name] = totals[:, due] / operation.input.scale * operation.output.scale


@real(Requantize)
def requantize(operation: Requantize, values: Values, rounding: Rounding) -> None:
    """The same numbers in another type."""
    values[operation.output.name] = rounding.round(values[operation.input.name], operation.output)


def _constant(tensor: Tensor) -> np.ndarray:
    return (tensor.data.astype(np.float64) - tensor.zero_point) * np.asarray(tensor.scale)


def _operands(operation: Multiply | Add | Maximum | Minimum, values: Values) -> list[np.ndarray]:
    """Both inputs, with axes of length 1 where numpy's broadcasting of the shapes without batch and time wants them."""
    rank = max(len(operation.a.shape), len(operation.b.shape))
    found = []
    for tensor in (operation.a, operation.b):
        if tensor.data is not None:
            found.append(_constant(tensor))
            continue
        array = values[tensor.name]
        found.append(array.reshape(*array.shape[:2], *[1] * (rank - len(tensor.shape)), *tensor.shape))
    return found
