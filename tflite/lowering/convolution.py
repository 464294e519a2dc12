"""Causal convolutions over time, poolings of a few steps, and what is put in front of them.

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
from keras_s4.tflite.lowering.activation import add_activation, in_float64, int16_scale
from keras_s4.tflite.lowering.calibration import Signal, int8_range, power_of_two_scale
from keras_s4.tflite.lowering.dense import add_product, add_product_of, range_between
from keras_s4.tflite.lowering.registry import ProgramBuilder, refusal, register
from keras_s4.tflite.lowering.units import Takes, absorbed, units_of, with_encoding
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import DepthwiseProduct, Requantize, Window, WindowMaximum
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.weights import finite_weights


def _taken(layer: keras.layers.Layer) -> Takes:
    """The zeros in front of a causal convolution are real ones: no offset may move them."""
    return "units" if layer.padding == "causal" else "both"


@register(keras.layers.Conv1D, takes_padding=True, takes=_taken)
def lower_conv1d(layer, inputs, builder):
    """A window and a product."""
    taps = _Taps.of_convolution(layer, inputs[0])
    (kernel,) = finite_weights(layer, "kernel")
    if layer.groups > 1:
        raise refusal(layer, f"groups={layer.groups}", "Use groups=1, or SeparableConv1D")
    result = _add_product(layer, layer.name, taps, kernel, _bias(layer, kernel.shape[-1]), builder)
    return taps.delayed(add_activation(layer.name, layer.activation, result, builder))


@register(LowRankConv1D, takes_padding=True, takes=_taken)
def lower_low_rank_conv1d(layer, inputs, builder):
    """A window, a product with few filters, and a product with the other factor."""
    taps = _Taps.of_convolution(layer, inputs[0])
    left, right = finite_weights(layer, "kernel_left", "kernel_right")
    left = left.reshape(taps.count, -1, left.shape[-1])
    hidden = _add_product(None, f"{layer.name}/left", taps, left, np.zeros(left.shape[-1]), builder)
    bias = _bias(layer, right.shape[1])
    result = add_product(layer.name, right, bias, hidden, builder, _range_before(layer, hidden.tensor))
    return taps.delayed(add_activation(layer.name, layer.activation, result, builder))


@register(keras.layers.DepthwiseConv1D, takes_padding=True, takes=_taken)
def lower_depthwise_conv1d(layer, inputs, builder):
    """A window, and for each channel a product with weights of its own."""
    taps = _Taps.of_convolution(layer, inputs[0])
    (kernel,) = finite_weights(layer, "kernel")
    bias = _bias(layer, kernel.shape[1] * kernel.shape[2])
    result = _add_depthwise(layer.name, taps, kernel, bias, builder)
    if layer.activation is not keras.activations.linear:
        result = builder.settled(result, "nothing")
    return taps.delayed(add_activation(layer.name, layer.activation, result, builder))


@register(keras.layers.SeparableConv1D, takes_padding=True, takes=_taken)
def lower_separable_conv1d(layer, inputs, builder):
    """A depthwise product of a window, and a product of the channels."""
    taps = _Taps.of_convolution(layer, inputs[0])
    depthwise, pointwise = finite_weights(layer, "depthwise_kernel", "pointwise_kernel")
    pointwise = pointwise[0]
    hidden = _add_depthwise(f"{layer.name}/depthwise", taps, depthwise, np.zeros(len(pointwise)), builder)
    bias = _bias(layer, pointwise.shape[1])
    result = add_product(layer.name, pointwise, bias, hidden, builder, _range_before(layer, hidden.tensor))
    return taps.delayed(add_activation(layer.name, layer.activation, result, builder))


@register(keras.layers.AveragePooling1D, takes="both")
def lower_average_pooling(layer, inputs, builder):
    """A depthwise product of a window with equal weights."""
    encoding = inputs[0].encoding
    taps = _Taps.of_pooling(layer, dataclasses.replace(inputs[0], encoding=None))
    channels = inputs[0].tensor.shape[-1]
    kernel = np.full((taps.count, channels, 1), 1.0 / taps.count)
    result = _add_depthwise(layer.name, taps, kernel, np.zeros(channels), builder)
    return taps.delayed(with_encoding(result, encoding, builder))


@register(keras.layers.MaxPooling1D, takes="both")
def lower_max_pooling(layer, inputs, builder):
    """The largest of a window, exactly."""
    signal = inputs[0]
    if signal.encoding is not None and np.any(signal.encoding.unit <= 0.0):
        signal = builder.settled(signal, "nothing")
    taps = _Taps.of_pooling(layer, signal)
    encoding = signal.encoding
    window, signal = _add_window(layer.name, taps, builder)
    tensor = builder.tensor(f"{layer.name}/output", signal.tensor.shape, signal.tensor.type, signal.tensor.scale)
    builder.add(WindowMaximum(window, tensor))
    result = Signal(tensor, np.max(list(taps.lagged()), axis=0))
    return taps.delayed(with_encoding(result, encoding, builder))


@register(keras.layers.ZeroPadding1D, takes="units")
def lower_zero_padding(layer, inputs, builder):
    """Nothing: the zeros in the initial state of the convolution behind it are the padding."""
    signal = inputs[0]
    _check_time_axis(layer)
    front, back = layer.padding
    if back:
        raise refusal(layer, f"padding={layer.padding} adds steps at the end", f"Use padding=({front + back}, 0)")
    if signal.phase:
        raise refusal(
            layer,
            f"its input means something from step {signal.phase} on only, and the steps before would not be zeros",
            "Put all padding in front of the first convolution",
        )
    return dataclasses.replace(signal, padding=front)


@register(keras.layers.Cropping1D, takes="both")
def lower_cropping(layer, inputs, builder):
    """Nothing: what comes behind it starts at a later step."""
    _check_time_axis(layer)
    front, back = layer.cropping
    if back:
        raise refusal(layer, f"cropping={layer.cropping} needs to know where a sequence ends", "Crop at the front")
    return dataclasses.replace(inputs[0], phase=inputs[0].phase + front)


@dataclasses.dataclass(frozen=True)
class _Taps:
    """The inputs that an output depends on: the current one and `count - 1` before it, `dilation` steps apart.

    The first output is due `delay` inputs behind the first one, the others `stride` inputs behind each other.
    """

    signal: Signal
    count: int
    dilation: int
    delay: int
    stride: int

    @classmethod
    def of_convolution(cls, layer: keras.layers.Layer, signal: Signal) -> _Taps:
        (count,), (dilation,) = layer.kernel_size, layer.dilation_rate
        span = (count - 1) * dilation + 1
        causal = layer.padding == "causal"
        if layer.padding == "same":
            raise refusal(
                layer,
                "padding='same' looks at steps to come",
                "Use padding='causal'"
                if isinstance(layer, (keras.layers.Conv1D, LowRankConv1D))
                else f"Use padding='valid' behind ZeroPadding1D(({span - 1}, 0))",
            )
        if causal and signal.phase:
            raise refusal(
                layer,
                f"its input means something from step {signal.phase} on only, and the steps before would not be zeros",
                "Use padding='causal' in the convolutions in front of it as well",
            )
        delay = (0 if causal else span - 1) - signal.padding
        if delay < 0:
            raise refusal(
                layer,
                f"the {signal.padding} zeros in front of it make it give outputs before the first sample",
                f"It takes at most {delay + signal.padding}",
            )
        return cls._checked(layer, signal, count, dilation, delay)

    @classmethod
    def of_pooling(cls, layer: keras.layers.Layer, signal: Signal) -> _Taps:
        if layer.padding != "valid":
            raise refusal(layer, f"padding={layer.padding!r} looks at steps to come", "Use padding='valid'")
        (count,) = layer.pool_size
        return cls._checked(layer, signal, count, 1, count - 1)

    @classmethod
    def _checked(cls, layer, signal: Signal, count: int, dilation: int, delay: int) -> _Taps:
        _check_time_axis(layer)
        if len(signal.tensor.shape) != 1 or not signal.has_time:
            raise refusal(layer, f"a step has shape {list(signal.tensor.shape)}", "Give it sequences of vectors")
        return cls(signal, count, dilation, delay, layer.strides[0])

    @property
    def offset(self) -> int:
        """Of each `stride` inputs, the number of the one at which an output is due."""
        return (self.signal.phase + self.delay) % self.stride

    def lagged(self) -> Iterator[np.ndarray]:
        """The values of each tap where an output is due, the oldest first, `[B, L, H]`."""
        for lag in reversed(range(0, self.count * self.dilation, self.dilation)):
            values = self.signal.values
            yield np.pad(values, ((0, 0), (lag, 0), (0, 0)))[:, self.offset : values.shape[1] : self.stride]

    def delayed(self, result: Signal) -> Signal:
        """A result, which is due so many steps later, at every so many of them."""
        phase = (self.signal.phase + self.delay) // self.stride
        return dataclasses.replace(result, phase=phase, period=self.signal.period * self.stride)


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
    if taps.count == taps.stride == 1:
        return tensor, signal
    channels = tensor.shape[-1]
    before = after = None
    if taps.count > 1:
        shape = ((taps.count - 1) * taps.dilation * channels,)
        state = builder.state(f"{name}/window", shape, tensor.scale, tensor.type)
        before, after = state.before, state.after
    window = builder.tensor(f"{name}/taps", taps.count * channels, tensor.type, tensor.scale)
    builder.add(Window(tensor, before, after, taps.dilation, window, taps.stride, taps.offset))
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
    # Features without an offset may be far from zero, and what their weights lose then is a constant.
    inputs = np.concatenate(list(taps.lagged()), axis=-1) if encoded else None
    return add_product_of(name, flat, bias, window, values, builder, range_of, inputs)


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


def _check_time_axis(layer: keras.layers.Layer) -> None:
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        raise refusal(layer, "data_format='channels_first' puts the time axis last", 'Use "channels_last"')
