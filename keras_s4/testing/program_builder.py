"""Chains operations with random constants of realistic scales into a program."""

from __future__ import annotations

from typing import Literal

import numpy as np

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
    ModalStep,
    Multiply,
    Normalize,
    Operation,
    RecentMean,
    Requantize,
    Slice,
    SlidingSum,
    Squash,
    Window,
    WindowMaximum,
)
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor


class Builder:
    """Chains operations with random constants; the scales keep every 32-bit accumulator inside its range.

    Each method for a kind of operation takes the tensors that it reads, appends it, and returns what it writes.

    Args:
        seed: a number that decides on all constants.
        lowered: whether diagonal steps are such as lowerings make them: readouts have powers of two as scales, and
            nothing is read out of imaginary parts.
    """

    def __init__(self, seed: int, lowered: bool = False):
        self.lowered = lowered
        self.random = np.random.default_rng(seed)
        self.operations: list[Operation] = []
        self.states: list[State] = []
        self.count = 0

    def name(self, kind: str) -> str:
        """A name that no other tensor has."""
        self.count += 1
        return f"{kind}_{self.count}"

    def activation(self, size: int, type: str, scale: float, zero_point: int = 0, name: str = "activation") -> Tensor:
        """A tensor of one axis that an operation writes, or an input."""
        return Tensor(self.name(name), (size,), type, scale, zero_point)

    def constant(self, values: np.ndarray, type: str, scale: float | np.ndarray = 1.0) -> Tensor:
        """Integers of a type."""
        values = np.asarray(values).astype("int8" if type == "int4" else type)
        return Tensor(self.name("constant"), values.shape, type, scale, data=values)

    def zero_point(self, type: str) -> int:
        """Any zero point that the type may have."""
        return int(self.random.integers(-60, 60)) if type == "int8" else 0

    def add(self, operation: Operation) -> Tensor:
        """Append an operation; returns what it is there for."""
        self.operations.append(operation)
        return operation.result

    def fully_connected(
        self, x: Tensor, size: int, zero_point: int | None = None, weights: Literal["int4", "int8"] = "int8"
    ) -> Tensor:
        """A dense layer, at whose output random int8 or int16 inputs keep to a third of the range."""
        largest = {"int4": 7, "int8": 127}[weights]
        kernel = self.random.integers(-largest, largest + 1, (size, *x.shape))
        scale_weights = 2.0 ** self.random.uniform(-9, -6)
        deviation = {"int4": 4.3, "int8": 74}[weights]
        typical = x.scale * scale_weights * np.sqrt(x.shape[0]) * deviation * (74 if x.type == "int8" else 19000)
        scale = float(typical * 3 / (127 if x.type == "int8" else 32767))
        bias = self.random.normal(0, typical / (x.scale * scale_weights), size)
        bias = np.clip(bias, -(2**29), 2**29)
        output = self.activation(size, x.type, scale, self.zero_point(x.type) if zero_point is None else zero_point)
        return self.add(
            FullyConnected(
                x,
                self.constant(kernel, weights, float(scale_weights)),
                self.constant(bias, "int32", float(x.scale * scale_weights)),
                output,
            )
        )

    def affine(self, x: Tensor, type: str = "int16") -> Tensor:
        """Gains, and offsets of about a gain times an input."""
        bits = 8 if x.type == "int8" else 14
        gain = self.random.integers(-(1 << bits), 1 << bits, x.shape)
        offset = self.random.integers(-(1 << 20), 1 << 20, x.shape)
        accumulator_scale = x.scale / (1 << bits)
        scale = float(x.scale * self.random.uniform(0.7, 1.5) * (256 if (x.type, type) == ("int16", "int8") else 1))
        output = self.activation(x.shape[0], type, scale, self.zero_point(type))
        return self.add(
            Affine(x, self.constant(gain, "int32"), self.constant(offset, "int32"), accumulator_scale, output)
        )

    def diagonal_step(
        self, u: Tensor, modes: int, type: str = "int16", real_poles: bool = False, feedback: bool = False
    ) -> Tensor:
        """A step of a DSS layer whose poles lie between 0.9 and 0.999 from zero; its state stays below 2**31.

        With feedback it has that for some of the last modes of each channel, poles on both sides, and states that are
        clamped.
        """
        H, shape = u.shape[0], (2, modes, u.shape[0])
        radius, angle = self.random.uniform(0.9, 0.999, shape[1:]), self.random.uniform(0, 2, shape[1:])
        fed = self.random.integers(0, modes + 1, H) > np.arange(modes)[::-1, None] if feedback else None
        angle = angle * np.pi / 2 if feedback else angle
        delta = radius * np.exp(0j if real_poles else 1j * angle) - 1
        # The worst case of the state, in the input's units, is the gain over (1 - radius): it must stay below 2**31.
        room = 2.0**29 * (1 - radius) / 2**15
        gain = self.random.uniform(-1, 1, shape) * room
        scale_state = 2.0**-30
        state, after = (Tensor(self.name("state"), shape, "int32", scale_state) for _ in range(2))
        self.states.append(State(state, after))
        hidden = Tensor(self.name("hidden"), shape, "int16", 2.0**-15)
        scale_readout = 2.0 ** self.random.uniform(-8, -6, H)
        readout = self.random.integers(-127, 128, shape)
        if self.lowered:
            scale_readout, readout[1] = 2.0 ** np.rint(np.log2(scale_readout)), 0
        readout = self.constant(readout, "int8", scale_readout)
        partial_scale = float(2.0 ** np.round(np.log2(2.0**-15 * scale_readout.mean() * 74 * np.sqrt(2 * modes))))
        partial = self.activation(H, "int16", partial_scale, name="partial")
        partial_gain = 256
        accumulator_scale = partial_scale / partial_gain
        feedthrough = self.random.integers(-(1 << 6), 1 << 6, H)
        scale = float(partial_scale * self.random.uniform(0.5, 1.0) * (256 if type == "int8" else 1))
        output = self.activation(H, type, scale, self.zero_point(type))
        return self.add(
            DiagonalStep(
                u,
                state,
                after,
                self.constant(np.round(delta.real * 2**15), "int32", 2.0**-15),
                self.constant(np.round(delta.imag * 2**15), "int32", 2.0**-15),
                self.constant(np.round(gain), "int32", scale_state / u.scale),
                hidden,
                readout,
                partial,
                partial_gain,
                self.constant(feedthrough, "int32", accumulator_scale / u.scale),
                accumulator_scale,
                output,
                2**30 if feedback else 0,
                fed,
            )
        )

    def modal_step(self, u: Tensor, real_poles: bool = False, limit: int = 0, feedback: int = 0) -> Tensor:
        """A step of a bank of modes, half as many as `u` has numbers; poles as those of `diagonal_step`.

        Without a limit no state reaches 2**31; with one noise of full scale brings some to it.
        """
        modes = u.shape[-1] // 2
        radius = self.random.uniform(0.9, 0.999, modes)
        angle = self.random.uniform(*((1, np.pi) if limit else (0, 2)), modes)
        delta = radius * np.exp(0j if real_poles else 1j * angle) - 1
        # What a product gives has a deviation of a third of its range.
        room = 0.45 * limit * np.sqrt(1 - radius**2) * 3 if limit else 2.0**29 * (1 - radius)
        gain = self.random.uniform(0.5, 1, (2, modes)) * np.minimum(room / 2**15, 2.0**14)
        scale_state, scale_hidden = 2.0**-30, 2.0**-15
        state, after = (Tensor(self.name("state"), (2, modes), "int32", scale_state) for _ in range(2))
        self.states.append(State(state, after))
        return self.add(
            ModalStep(
                u,
                state,
                after,
                self.constant(np.round(delta.real * 2**15), "int32", 2.0**-15),
                self.constant(np.round(delta.imag * 2**15), "int32", 2.0**-15),
                self.constant(np.round(gain), "int32", scale_state / u.scale),
                Tensor(self.name("hidden"), (2, modes), "int16", scale_hidden),
                self.activation(2 * modes, "int16", scale_hidden),
                limit,
                feedback,
            )
        )

    def lookup(self, x: Tensor, zero_point: int | None = None) -> Tensor:
        """A random table."""
        table = self.constant(self.random.integers(-128, 128, 256), "int8")
        zero_point = self.zero_point("int8") if zero_point is None else zero_point
        return self.add(Lookup(x, table, self.activation(x.shape[0], "int8", 2.0**-7, zero_point)))

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """The product of two tensors."""
        return self.add(Multiply(a, b, self.activation(a.shape[0], "int32", float(a.scale * b.scale))))

    def sum(self, a: Tensor, b: Tensor, gain_a: int = 4, gain_b: int = 16, type: str = "int16") -> Tensor:
        """A sum whose rounding drops up to two bits, or eight more to int8."""
        accumulator_scale = a.scale / abs(gain_a)
        scale = float(a.scale * self.random.uniform(1, 3) * (200 if type == "int8" and a.type != "int8" else 1))
        output = self.activation(a.shape[0], type, scale, self.zero_point(type))
        return self.add(Add(a, b, gain_a, gain_b, accumulator_scale, output))

    def accumulate(self, x: Tensor) -> Tensor:
        """The running sum."""
        before, after = (Tensor(self.name("sum"), x.shape, "int32", x.scale) for _ in range(2))
        self.states.append(State(before, after))
        return self.add(Accumulate(x, before, after, 2**30))

    def recent_mean(self, x: Tensor, rates: list[int], start: int = 0) -> Tensor:
        """A recent average: int8 values get 7 bits more."""
        finer = 128 if x.type == "int8" else 1
        output = self.activation(x.shape[0], "int16", x.scale / finer)
        before, after = (Tensor(self.name("mean"), (x.shape[0] + 1,), "int32", output.scale / 2**15) for _ in range(2))
        self.states.append(State(before, after))
        rate = self.constant(np.resize(rates, x.shape), "int32")
        return self.add(RecentMean(x, before, after, rate, finer, start, output))

    def sliding_sum(self, x: Tensor, hop: int, hops: int, start: int = 0) -> Tensor:
        """The sum of the last hops."""
        size = (hops + 2) * x.shape[0] + 1
        before, after = (Tensor(self.name("hops"), (size,), "int32", x.scale) for _ in range(2))
        self.states.append(State(before, after))
        output = self.activation(x.shape[0], "int32", x.scale / (hop * hops))
        return self.add(SlidingSum(x, before, after, hop, start, output))

    def requantize(self, x: Tensor, type: str, scale: float, zero_point: int | None = None) -> Tensor:
        """The same numbers in another type or scale."""
        zero_point = self.zero_point(type) if zero_point is None else zero_point
        return self.add(Requantize(x, self.activation(x.shape[0], type, scale, zero_point)))

    def extremum(self, kind: type, a: Tensor, b: Tensor) -> Tensor:
        """The larger or the smaller of two tensors: `kind` is `Maximum` or `Minimum`."""
        return self.add(kind(a, b, self.activation(a.shape[0], "int32", a.scale)))

    def squash(self, function: str, x: Tensor) -> Tensor:
        """A sigmoid or a tanh."""
        return self.add(Squash(function, x, self.activation(x.shape[0], "int16", 2.0**-15)))

    def interpolate(self, x: Tensor, rows: int, bits: int = 6, gain: int = 64) -> Tensor:
        """Random lines over the range of int16, with slopes of some `bits` behind the point."""
        # The output is twice as coarse as the input.
        slope = self.constant(self.random.integers(-127, 128, rows), "int8", 2.0 ** (1 - bits))
        offset = self.random.integers(-(2**15), 32640, rows)
        offset = self.constant(offset, "int16", x.scale * slope.scale * gain)
        return self.add(Interpolate(x, slope, offset, gain, Tensor(self.name("line"), x.shape, "int16", 2 * x.scale)))

    def slice(self, x: Tensor, start: int, size: int) -> Tensor:
        """Some of the channels."""
        return self.add(Slice(x, start, self.like(x, (size,))))

    def embed(self, row: Tensor, vocabulary: int, size: int) -> Tensor:
        """A row of a random table."""
        table = self.constant(self.random.integers(-128, 128, (vocabulary, size)), "int8", 0.03)
        return self.add(Embed(row, table, self.activation(size, "int8", 0.03)))

    def like(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A tensor of another shape, and the type, scale and zero point of `x`."""
        return Tensor(self.name("activation"), shape, x.type, x.scale, x.zero_point)

    def concatenate(self, parts: list[Tensor]) -> Tensor:
        """All channels of some tensors."""
        size = sum(part.shape[0] for part in parts)
        return self.add(Concatenate(tuple(parts), self.like(parts[0], (size,))))

    def window_maximum(self, x: Tensor, steps: int) -> Tensor:
        """The largest of the last steps."""
        return self.add(WindowMaximum(self.window(x, steps, 1), self.like(x, x.shape)))

    def window(self, x: Tensor, steps: int, dilation: int) -> Tensor:
        """The last steps, one after the other, and the state that holds them."""
        size = x.shape[0]
        before, after = (self.like(x, ((steps - 1) * dilation * size,)) for _ in range(2))
        self.states.append(State(before, after))
        return self.add(Window(x, before, after, dilation, self.like(x, (steps * size,))))

    def depthwise(self, window: Tensor, size: int, multiplier: int) -> Tensor:
        """Weights for each channel of a window of `size` channels, `multiplier` times."""
        shape = (window.shape[0] // size, size * multiplier)
        scales = 2.0 ** self.random.uniform(-8, -6, shape[1])
        weights = self.constant(self.random.integers(-127, 128, shape), "int8", scales)
        bias = self.constant(self.random.integers(-(2**20), 2**20, shape[1]), "int32", window.scale * scales)
        output = self.activation(shape[1], "int16", window.scale * self.random.uniform(0.5, 2))
        return self.add(DepthwiseProduct(window, weights, bias, output))

    def normalize(self, x: Tensor, type: str, ranges: int = 6) -> Tensor:
        """Division by the root of the energy, whose tables are random and fall."""
        lead, size = x.shape[:-1], x.shape[-1]

        def between(name: str, axis: int, type: str, scale: float = 1.0, zero_point: int = 0) -> Tensor:
            return Tensor(self.name(name), (*lead, axis), type, scale, zero_point)

        coarse_scale = x.scale**2 * size * 2.0**14
        fine = np.arange(ranges) >= 4
        gains = [4 ** np.arange(ranges) * ~fine, fine * 4 ** np.arange(ranges) // 256]
        table = np.sort(self.random.integers(-128, 128, (ranges, 256)), axis=1)[:, ::-1]
        weights = 2 ** np.arange(ranges)
        operation = Normalize(
            input=x,
            coarse=between("coarse", 1, "int16", coarse_scale),
            fine=between("fine", 1, "int16", coarse_scale / 256),
            coarse_gain=self.constant(gains[0], "int32"),
            fine_gain=self.constant(gains[1], "int32"),
            level=between("level", ranges, "int8", 2.0**7, -128),
            table=self.constant(table.ravel(), "int8"),
            part=between("part", ranges, "int8"),
            weights=self.constant(weights[None], "int8"),
            bias=self.constant(128 * weights.sum(keepdims=True) - 2**15, "int32"),
            root=between("root", 1, "int16"),
            root_scale=2.0**-10,
            output=between("output", size, type, x.scale * (8.0 if type == "int16" else 2000.0)),
        )
        return self.add(operation)

    def program(self, x: Tensor, *outputs: Tensor) -> Program:
        """The program of all operations so far."""
        return Program("random", (x,), outputs, tuple(self.states), tuple(self.operations))
