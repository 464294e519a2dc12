"""Dense layers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_s4.layers import LowRankDense
from keras_s4.tflite.lowering.activation import (
    SQUASHED,
    add_activation,
    as_int16,
    in_float64,
    int16_scale,
    product_scale,
)
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import (
    AMPLE_HEADROOM,
    HEADROOM,
    int8_range,
    power_of_two_scale,
    symmetric_int8_scale,
)
from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.lowering.rounding import EIGHT_BITS, KernelFormat, choose_reach, round_kernel
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import absorbed
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import FullyConnected
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.weights import finite_weights

# The least scale of a result, in scales of its products: kernels multiply 64-bit sums by less than 2**7 only.
FINEST_OF_PRODUCTS = 2.0**-6
# With weights of 4 bits, whose products are coarse, in such scales: the fast kernel of C takes twice and more, and a
# training may make weights larger. What is lost is nothing beside what the weights have lost.
COARSE = 2.5
# The same with 8 bits and inputs of 16, whose fast kernel takes more than 4 times; scales of weights move by 0.4%.
FAST_FROM = 4.05


@register(keras.layers.Dense, LowRankDense, takes="both")
def lower_dense(layer, inputs, builder):
    """A fully connected operation of the input's type for every factor of the kernel, then the activation."""
    return add_activation(layer.name, layer.activation, add_dense(layer, layer.name, inputs[0], builder), builder)


def add_dense(
    layer: keras.layers.Layer,
    name: str,
    signal: Signal,
    builder: ProgramBuilder,
    shifts: bool = False,
    coarser_than: float = 0.0,
) -> Signal:
    """The matrix product and bias of a Dense or LowRankDense layer, before its activation.

    Args:
        layer: its activation is only asked which range of the result matters.
        name: for the tensors.
        signal: int8 (the result is int8, unless `builder.activations` is int16) or int16 (the result is int16).
        builder: takes the operations.
        shifts: the result gets a power of two as its scale and 0 as its zero point, so that it can be added exactly.
        coarser_than: the least scale of an int16 result.
    """
    wide = builder.activations == "int16"
    if wide and signal.tensor.type == "int8":
        signal = as_int16(f"{name}/input", signal, builder)
    names = ("kernel_left", "kernel_right") if isinstance(layer, LowRankDense) else ("kernel",)
    *left, kernel = finite_weights(layer, *names)
    for factor in left:
        nothing = np.zeros(factor.shape[1])
        format = builder.kernel_format(signal.tensor, layer, "left/kernel")
        signal = add_product(f"{name}/left", factor, nothing, signal, builder, range_between(signal), format=format)
    format = builder.kernel_format(signal.tensor, layer, "kernel")
    bias = finite_weights(layer, "bias")[0] if layer.use_bias else np.zeros(kernel.shape[1])
    if wide:
        return add_product(
            name,
            kernel,
            bias,
            signal,
            builder,
            lambda values: (max(_wide_scale(layer, values), coarser_than), 0),
            format=format,
        )

    def range_of(values: np.ndarray) -> tuple[float, int]:
        return _range(layer, values, signal, shifts)

    return add_product(name, kernel, bias, signal, builder, range_of, format=format)


def add_product(
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    signal: Signal,
    builder: ProgramBuilder,
    range_of: Callable[[np.ndarray], tuple[float, int]],
    on_data: bool = True,
    format: KernelFormat | None = None,
) -> Signal:
    """One fully connected operation; `range_of` gives the scale and zero point of its result from the values.

    The kernel is rounded with regard to the signal's values, unless it was trained for plain rounding, or `on_data` is
    False: in a loop, where the bias that makes up for rounding would keep a memory from decaying to nothing. Its
    integers have a `format`, by default that of the layer that is being lowered.
    """
    format = format or builder.kernel_format(signal.tensor)
    kernel, bias, signal = absorbed(kernel, bias, signal, rounded=format if builder.ranges else None)
    values = signal.values @ kernel + bias
    inputs = builder.observed(signal.values) if on_data and not builder.ranges else None
    return add_product_of(name, kernel, bias, signal.tensor, values, builder, range_of, inputs, format)


def add_product_of(
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    tensor: Tensor,
    values: np.ndarray,
    builder: ProgramBuilder,
    range_of: Callable[[np.ndarray], tuple[float, int]],
    inputs: np.ndarray | None = None,
    format: KernelFormat = EIGHT_BITS,
    shifts: bool = True,
) -> Signal:
    """`add_product` of a tensor whose values need not be known (`inputs`): those of the result are given.

    `shifts` is as in `round_kernel`.
    """
    if format.reach is None and inputs is not None:
        format = format._replace(reach=choose_reach(kernel, bias, inputs, format))
    # A kernel that is small beside the bias gives way, so that the bias fits 31 bits in units of their product.
    weight_scale = max(format.scale(kernel), 1e-11, np.abs(bias).max() / (tensor.scale * 2.0**30))
    scale, zero_point = range_of(builder.observed(values))
    finest = tensor.scale * weight_scale * FINEST_OF_PRODUCTS
    if scale < finest:  # where calibration saw hardly more than zeros
        scale = 2.0 ** np.ceil(np.log2(finest))
    if format.type == "int4":
        scale = coarse_scale(scale, COARSE * tensor.scale * weight_scale)
    weight_scale = fixed_point.agreeing_scale(weight_scale, tensor.scale, scale, tensor.type)
    bias_scale = tensor.scale * weight_scale
    shape = (*tensor.shape[:-1], kernel.shape[1])
    output = builder.tensor(f"{name}/product", shape, tensor.type, scale, zero_point)
    integers = format.rounded(kernel, weight_scale)
    if inputs is not None:
        integers, bias = round_kernel(kernel, bias, inputs, weight_scale, format.largest, shifts)
    weights = builder.constant(f"{name}/kernel", integers.T, format.type, weight_scale)
    offsets = builder.constant(f"{name}/bias", bias / bias_scale, "int32", bias_scale)
    builder.add(FullyConnected(tensor, weights, offsets, output))
    return Signal(output, values)


def coarse_scale(scale: float, least: float) -> float:
    """The scale or, if it is finer, the least one; of powers of two another."""
    if scale >= least:
        return scale
    return 2.0 ** np.ceil(np.log2(least)) if np.frexp(scale)[0] == 0.5 else least


def range_between(signal: Signal) -> Callable[[np.ndarray], tuple[float, int]]:
    """Scale and zero point of what goes from one factor to the next, in the type of a signal."""
    if signal.tensor.type == "int16":
        return lambda values: (power_of_two_scale(float(np.abs(values).max()), 16), 0)
    return lambda values: int8_range(values, lambda sample: sample)


def _wide_scale(layer: keras.layers.Layer, values: np.ndarray) -> float:
    """The scale of a result in int16, which is what the activation wants to read."""
    if layer.activation in SQUASHED:
        return product_scale(values)
    headroom = AMPLE_HEADROOM if layer.activation is keras.activations.linear else HEADROOM
    return power_of_two_scale(float(np.abs(values).max()), 16, headroom)


def _range(layer, values: np.ndarray, signal: Signal, shifts: bool) -> tuple[float, int]:
    """Scale and zero point of the result."""
    if signal.tensor.type == "int16":
        return int16_scale(layer.activation, values), 0
    if shifts:
        return symmetric_int8_scale(values), 0
    return int8_range(values, lambda sample: in_float64(layer.activation, sample))
