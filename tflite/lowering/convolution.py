"""Causal convolutions over time, and poolings of a few steps.

The state of each is the window of the last inputs. A convolution is one product of the flattened window with the
flattened kernel: as many multiply-accumulates as the kernel has weights. The alternatives cost more: a product of each
input with all taps at once, whose partial sums wait in a state, has as many multiplications, but K states of the
output's size in 32 bits with an addition each; CONV_2D over the window has the same count and one more operator to
link. Only a depthwise convolution has a product of its own, which spares the zeros of a block-diagonal matrix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np

from keras_s4.layers import LowRankConv1D
from keras_s4.streaming.plan import Effect, Reach
from keras_s4.tflite.lowering.activation import add_activation, in_float64, int16_scale
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import int8_range, power_of_two_scale
from keras_s4.tflite.lowering.dense import add_product, add_product_of, range_between
from keras_s4.tflite.lowering.registry import refusal, register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import Takes, absorbed, units_of, with_encoding
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import DepthwiseProduct, Requantize, Window, WindowMaximum
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.weights import finite_weights


def _taken(layer: keras.layers.Layer) -> Takes:
    """The zeros in front of a causal convolution are real ones: no offset may move them."""
    return "units" if layer.padding == "causal" else "both"


@register(keras.layers.Conv1D, takes=_taken)
def lower_conv1d(layer, inputs, builder):
    """A window and a product."""
    taps = _Taps.of(inputs[0], builder)
    (kernel,) = finite_weights(layer, "kernel")
    if layer.groups > 1:
        raise refusal(layer, f"groups={layer.groups}", "Use groups=1, or SeparableConv1D")
    result = _add_product(layer, layer.name, taps, kernel, _bias(layer, kernel.shape[-1]), builder)
    return add_activation(layer.name, layer.activation, result, builder)


@register(LowRankConv1D, takes=_taken)
def lower_low_rank_conv1d(layer, inputs, builder):
    """A window, a product with few filters, and a product with the other factor."""
    taps = _Taps.of(inputs[0], builder)
    left, right = finite_weights(layer, "kernel_left", "kernel_right")
    left = left.reshape(taps.reach.taps, -1, left.shape[-1])
    hidden = _add_product(None, f"{layer.name}/left", taps, left, np.zeros(left.shape[-1]), builder)
    bias = _bias(layer, right.shape[1])
    result = add_product(layer.name, right, bias, hidden, builder, _range_before(layer, hidden.tensor))
    return add_activation(layer.name, layer.activation, result, builder)


@register(keras.layers.DepthwiseConv1D, takes=_taken)
def lower_depthwise_conv1d(layer, inputs, builder):
    """A window, and for each channel a product with weights of its own."""
    taps = _Taps.of(inputs[0], builder)
    (kernel,) = finite_weights(layer, "kernel")
    bias = _bias(layer, kernel.shape[1] * kernel.shape[2])
    result = _add_depthwise(layer.name, taps, kernel, bias, builder)
    if layer.activation is not keras.activations.linear:
        result = builder.settle(result, "nothing")
    return add_activation(layer.name, layer.activation, result, builder)


@register(keras.layers.SeparableConv1D, takes=_taken)
def lower_separable_conv1d(layer, inputs, builder):
    """A depthwise product of a window, and a product of the channels."""
    taps = _Taps.of(inputs[0], builder)
    depthwise, pointwise = finite_weights(layer, "depthwise_kernel", "pointwise_kernel")
    pointwise = pointwise[0]
    hidden = _add_depthwise(f"{layer.name}/depthwise", taps, depthwise, np.zeros(len(pointwise)), builder)
    bias = _bias(layer, pointwise.shape[1])
    result = add_product(layer.name, pointwise, bias, hidden, builder, _range_before(layer, hidden.tensor))
    return add_activation(layer.name, layer.activation, result, builder)


@register(keras.layers.AveragePooling1D, takes="both")
def lower_average_pooling(layer, inputs, builder):
    """A depthwise product of a window with equal weights."""
    encoding = inputs[0].encoding
    taps = _Taps.of(dataclasses.replace(inputs[0], encoding=None), builder)
    channels = inputs[0].tensor.shape[-1]
    kernel = np.full((taps.reach.taps, channels, 1), 1.0 / taps.reach.taps)
    result = _add_depthwise(layer.name, taps, kernel, np.zeros(channels), builder)
    return with_encoding(result, encoding, builder)


@register(keras.layers.MaxPooling1D, takes="both")
def lower_max_pooling(layer, inputs, builder):
    """The largest of a window, exactly."""
    signal = inputs[0]
    if signal.encoding is not None and np.any(signal.encoding.unit <= 0.0):
        signal = builder.settle(signal, "nothing")
    taps = _Taps.of(signal, builder)
    encoding = signal.encoding
    window, signal = _add_window(layer.name, taps, builder)
    tensor = builder.tensor(f"{layer.name}/output", signal.tensor.shape, signal.tensor.type, signal.tensor.scale)
    builder.add(WindowMaximum(window, tensor))
    result = Signal(tensor, np.max(list(taps.lagged()), axis=0))
    return with_encoding(result, encoding, builder)


@dataclasses.dataclass(frozen=True)
class _Taps:
    """The inputs that an output depends on, in a signal of which the layer being lowered gives an output now and then.

    Args:
        signal: that is read.
        effect: what the layer does in time, with a reach.
        offset: of each `stride` inputs, the number of the one at which an output is due.
    """

    signal: Signal
    effect: Effect
    offset: int

    @classmethod
    def of(cls, signal: Signal, builder: ProgramBuilder) -> _Taps:
        """Of the only input of the layer that is being lowered."""
        call = builder.call
        return cls(signal, call.effect, (signal.phase + call.delay) % call.effect.stride)

    @property
    def reach(self) -> Reach:
        """The inputs that an output depends on."""
        return self.effect.reach

    def lagged(self) -> Iterator[np.ndarray]:
        """The values of each tap where an output is due, the oldest first, `[B, L, H]`."""
        for lag in reversed(range(0, self.reach.span, self.reach.dilation)):
            values = self.signal.values
            yield np.pad(values, ((0, 0), (lag, 0), (0, 0)))[:, self.offset : values.shape[1] : self.effect.stride]


def _add_window(name: str, taps: _Taps, builder: ProgramBuilder, type: str | None = None) -> tuple[Tensor, Signal]:
    """The window of a signal, and the signal as it goes in.

    Zeros in the state must stand for 0.0: where int8 has a zero point, the signal is widened to int16, exactly.
    """
    signal, tensor = taps.signal, taps.signal.tensor
    type = "int16" if builder.activations == "int16" else type
    if tensor.zero_point or tensor.type != (type or tensor.type):
        wide = builder.tensor(f"{name}/wide", tensor.shape, "int16", tensor.scale)
        builder.add(Requantize(tensor, wide))
        signal, tensor = Signal(wide, signal.values), wide
    if taps.reach.taps == taps.effect.stride == 1:
        return tensor, signal
    channels = tensor.shape[-1]
    before = after = None
    if taps.reach.taps > 1:
        shape = ((taps.reach.taps - 1) * taps.reach.dilation * channels,)
        state = builder.state(f"{name}/window", shape, tensor.scale, tensor.type)
        before, after = state.before, state.after
    window = builder.tensor(f"{name}/taps", taps.reach.taps * channels, tensor.type, tensor.scale)
    builder.add(Window(tensor, before, after, taps.reach.dilation, window, taps.effect.stride, taps.offset))
    return window, signal


def _add_product(
    layer: keras.layers.Layer | None,
    name: str,
    taps: _Taps,
    kernel: np.ndarray,
    bias: np.ndarray,
    builder: ProgramBuilder,
) -> Signal:
    """A window times a kernel `[K, F, units]`; `layer` is asked which range of the result matters."""
    encoded = taps.signal.encoding is not None
    kernel, bias, signal = absorbed(kernel, bias, taps.signal)
    taps = dataclasses.replace(taps, signal=signal)
    window, signal = _add_window(name, taps, builder)
    values = sum(lagged @ weights for lagged, weights in zip(taps.lagged(), kernel, strict=True)) + bias
    range_of = range_between(signal) if layer is None else _range_before(layer, window)
    flat = kernel.reshape(-1, kernel.shape[-1])
    format = builder.kernel_format(window)
    # Features without an offset may be far from zero, and what their weights lose then is a constant.
    inputs = np.concatenate(list(taps.lagged()), axis=-1) if encoded or format.reach is None else None
    return add_product_of(name, flat, bias, window, values, builder, range_of, inputs, format)


def _add_depthwise(name: str, taps: _Taps, kernel: np.ndarray, bias: np.ndarray, builder: ProgramBuilder) -> Signal:
    """A window times a kernel `[K, F, m]`, each channel alone, with an int16 result `[F m]`.

    Of features with units of their own the result has such units, too, unless its channels are alike.
    """
    encoding = taps.signal.encoding
    if encoding is not None:
        bias = bias + (encoding.offset[:, None] * kernel.sum(axis=0)).ravel()
        kernel = kernel * encoding.unit[:, None]
    window, _ = _add_window(name, taps, builder, "int16")
    values = sum(
        (lagged[..., None] * weights).reshape(*lagged.shape[:-1], -1)
        for lagged, weights in zip(taps.lagged(), kernel, strict=True)
    )
    weights = kernel.reshape(len(kernel), -1)
    values = values + bias
    unit = None if encoding is None else units_of(values)
    if unit is not None:
        weights, bias, values = weights / unit, bias / unit, values / unit
    scales = np.maximum(np.abs(weights).max(axis=0), 1e-9) / 127.0
    scale = power_of_two_scale(builder.peak(values), 16, finest=window.scale * float(scales.max()))
    output = builder.tensor(f"{name}/product", weights.shape[1], "int16", scale)
    bias_scales = window.scale * scales
    builder.add(
        DepthwiseProduct(
            window,
            builder.constant(f"{name}/kernel", weights / scales, "int8", scales),
            builder.constant(f"{name}/bias", bias / bias_scales, "int32", bias_scales),
            output,
        )
    )
    return with_encoding(Signal(output, values), None if unit is None else Encoding(unit, 0.0 * unit), builder)


def _range_before(layer: keras.layers.Layer, tensor: Tensor):
    """Scale and zero point of a product in the type of a tensor, in front of a layer's activation."""
    if tensor.type == "int16":
        return lambda values: (int16_scale(layer.activation, values), 0)
    return lambda values: int8_range(values, lambda sample: in_float64(layer.activation, sample))


def _bias(layer: keras.layers.Layer, units: int) -> np.ndarray:
    """The layer's bias, or zeros."""
    return finite_weights(layer, "bias")[0] if layer.use_bias else np.zeros(units)
