"""What a layer does with features that have units of their own: it takes them into its coefficients, or settles them.

`Signal.encoding` says what the values of a tensor stand for. A lowering is registered with what it takes: "nothing",
"units" (without offsets), or "both". What it does not take is settled in front of it by one affine operation.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol

import numpy as np

from keras_s4.tflite.lowering.calibration import power_of_two_scale
from keras_s4.tflite.lowering.rounding import KernelFormat
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import Affine, Operation
from keras_s4.tflite.program.tensors import Tensor

Takes = Literal["nothing", "units", "both"]
GAIN_BITS = 15
# Features whose largest values lie within this factor share a scale: 13 bits are left of each, and the weights of all
# are rounded at one scale, as they were trained. (With a factor of 4, the six features of the smartwatch had units, and
# the logits of one training of the demo had 26 dB in place of 31, and 127 of 137 labels were Keras', not 136.)
ALIKE = 8.0


class Builder(Protocol):
    """What is needed of a `ProgramBuilder`."""

    encodings: dict[str, Encoding]

    def tensor(self, name: str, size, type: str, scale, zero_point: int = 0) -> Tensor:
        """A new tensor."""

    def constant(self, name: str, data: np.ndarray, type: str, scale=1.0) -> Tensor:
        """A new constant."""

    def add(self, operation: Operation) -> Operation:
        """Appends an operation."""

    def observed(self, values: np.ndarray) -> np.ndarray:
        """The values of the steps that count."""

    def peak(self, values: np.ndarray) -> float:
        """The largest of them."""


def settle(name: str, signal: Signal, takes: Takes, builder: Builder) -> Signal:
    """The signal with no more of an encoding than a layer takes.

    What has no offset, as zeros of a padding need it, has units that fit the features with their offsets.
    """
    encoding = signal.encoding
    if encoding is None or takes == "both" or (takes == "units" and not np.any(encoding.offset)):
        return signal
    unit = units_of(encoding.real(builder.observed(signal.values))) if takes == "units" else None
    return rescaled(name, signal, unit, builder)


def rescaled(name: str, signal: Signal, unit: np.ndarray | None, builder: Builder, bits: int = 16) -> Signal:
    """The signal in other units `[H]` and without an offset, through an affine operation; None is for one scale."""
    unit = np.ones(signal.tensor.shape[-1]) if unit is None else unit
    result = add_affine(name, signal, 1.0 / unit, np.zeros_like(unit), builder, bits)
    encoding = Encoding(unit, np.zeros_like(unit))
    return with_encoding(dataclasses.replace(signal, tensor=result.tensor, values=result.values), encoding, builder)


def with_encoding(signal: Signal, encoding: Encoding | None, builder: Builder) -> Signal:
    """A signal whose values stand for what this encoding says, which the program remembers for its tensor."""
    if encoding is None or encoding.is_plain:
        return dataclasses.replace(signal, encoding=None)
    builder.encodings[signal.tensor.name] = encoding
    return dataclasses.replace(signal, encoding=encoding)


def units_of(real: np.ndarray) -> np.ndarray | None:
    """Powers of two that bring features `[.., H]` to at most 1; None where they are alike as they are."""
    peaks = np.abs(real).max(axis=tuple(range(real.ndim - 1)))
    seen = peaks[peaks > 0.0]
    if not seen.size or seen.max() <= ALIKE * seen.min():
        return None
    return 2.0 ** np.ceil(np.log2(np.where(peaks > 0.0, peaks, seen.max())))


def absorbed(
    kernel: np.ndarray, bias: np.ndarray, signal: Signal, rounded: KernelFormat | None = None
) -> tuple[np.ndarray, np.ndarray, Signal]:
    """A kernel `[.., F, units]` and its bias for the values of a signal in place of what they stand for.

    Args:
        kernel: it is summed over all but the last axis.
        bias: `[units]`.
        signal: `[.., F]`.
        rounded: to what the kernel was trained to be rounded, where its product with the offsets is of the rounded one.

    Returns:
        kernel, bias, and the signal without its encoding.
    """
    encoding = signal.encoding
    if encoding is None:
        return kernel, bias, signal
    inside, unit = kernel * encoding.unit[:, None], encoding.unit[:, None]
    if rounded is not None:
        step = max(rounded.scale(inside), 1e-11)
        nearest = rounded.rounded(inside, step) * step
        kernel = np.where(unit == 0.0, kernel, nearest / np.where(unit == 0.0, 1.0, unit))
    sums = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
    return inside, bias + encoding.offset @ sums, dataclasses.replace(signal, encoding=None)


def add_affine(
    name: str,
    signal: Signal,
    gain: np.ndarray,
    offset: np.ndarray,
    builder: Builder,
    bits: int = 16,
    finest: float = 0.0,
) -> Signal:
    """`gain * x + offset` per channel of what a signal stands for, with an int16 result of which `bits` bits are used.

    Args:
        name: of the layer.
        signal: `[.., H]`.
        gain: `[H]`.
        offset: `[H]`.
        builder: takes the operation.
        bits: fewer than 16 leave room for the product with a coefficient that follows.
        finest: the least scale of the result.
    """
    if signal.encoding is not None:
        gain, offset = gain * signal.encoding.unit, offset + gain * signal.encoding.offset
    values = signal.values * gain + offset
    scale = power_of_two_scale(builder.peak(values), bits, finest=finest)
    # The finest accumulator whose worst case, a full-scale input, still fits 31 bits.
    worst = (
        np.abs(gain).max() * 2.0 ** (15 if signal.tensor.type == "int16" else 8) * signal.tensor.scale
        + np.abs(offset).max()
    )
    accumulator_scale = max(
        power_of_two_scale(worst, 32, headroom=1.0),
        power_of_two_scale(np.abs(gain).max() * signal.tensor.scale, GAIN_BITS + 1, headroom=1.0),
    )
    output = builder.tensor(f"{name}/output", signal.tensor.shape, "int16", scale)
    gains = builder.constant(
        f"{name}/gain", gain * signal.tensor.scale / accumulator_scale, "int32", accumulator_scale / signal.tensor.scale
    )
    offsets = builder.constant(f"{name}/offset", offset / accumulator_scale, "int32", accumulator_scale)
    builder.add(Affine(signal.tensor, gains, offsets, accumulator_scale, output))
    return Signal(output, values)
