"""Small random integer programs with realistic scales, from a seed: each operation alone, and whole models."""

from __future__ import annotations

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
    Maximum,
    Minimum,
    Multiply,
    Normalize,
    Operation,
    Requantize,
    Reshape,
    Slice,
    Squash,
    Window,
    WindowMaximum,
)
from keras_s4.tflite.program.program import Program, State, limits
from keras_s4.tflite.program.tensors import Tensor


class Builder:
    """Chains operations with random constants; the scales keep every 32-bit accumulator inside its range."""

    def __init__(self, seed: int, lowered: bool = False):
        # Diagonal steps as lowerings make them: powers of two, and nothing is read out of imaginary parts.
        self.lowered = lowered
        self.random = np.random.default_rng(seed)
        self.operations: list[Operation] = []
        self.states: list[State] = []
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def activation(self, size: int, type: str, scale: float, zero_point: int = 0, name: str = "activation") -> Tensor:
        return Tensor(self.name(name), (size,), type, scale, zero_point)

    def constant(self, values: np.ndarray, type: str, scale: float | np.ndarray = 1.0) -> Tensor:
        values = np.asarray(values).astype(type)
        return Tensor(self.name("constant"), values.shape, type, scale, data=values)

    def zero_point(self, type: str) -> int:
        return int(self.random.integers(-60, 60)) if type == "int8" else 0

    def add(self, operation: Operation) -> Tensor:
        self.operations.append(operation)
        return getattr(operation, "output", None) or operation.next_state

    def fully_connected(self, x: Tensor, size: int, zero_point: int | None = None) -> Tensor:
        weights = self.random.integers(-127, 128, (size, *x.shape))
        scale_weights = 2.0 ** self.random.uniform(-9, -6)
        typical = x.scale * scale_weights * np.sqrt(x.shape[0]) * 74 * (74 if x.type == "int8" else 19000)
        scale = float(typical * 3 / (127 if x.type == "int8" else 32767))
        bias = self.random.normal(0, typical / (x.scale * scale_weights), size)
        bias = np.clip(bias, -(2**29), 2**29)
        output = self.activation(size, x.type, scale, self.zero_point(x.type) if zero_point is None else zero_point)
        return self.add(
            FullyConnected(
                x,
                self.constant(weights, "int8", float(scale_weights)),
                self.constant(bias, "int32", float(x.scale * scale_weights)),
                output,
            )
        )

    def affine(self, x: Tensor, type: str = "int16") -> Tensor:
        bits = 8 if x.type == "int8" else 14
        gain = self.random.integers(-(1 << bits), 1 << bits, x.shape)
        offset = self.random.integers(-(1 << 20), 1 << 20, x.shape)
        accumulator_scale = x.scale / (1 << bits)
        scale = float(x.scale * self.random.uniform(0.7, 1.5) * (256 if (x.type, type) == ("int16", "int8") else 1))
        output = self.activation(x.shape[0], type, scale, self.zero_point(type))
        return self.add(
            Affine(x, self.constant(gain, "int32"), self.constant(offset, "int32"), accumulator_scale, output)
        )

    def diagonal_step(self, u: Tensor, modes: int, type: str = "int16", real_poles: bool = False) -> Tensor:
        H, shape = u.shape[0], (2, modes, u.shape[0])
        radius, angle = self.random.uniform(0.9, 0.999, shape[1:]), self.random.uniform(0, 2, shape[1:])
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
            )
        )

    def lookup(self, x: Tensor, zero_point: int | None = None) -> Tensor:
        table = self.constant(self.random.integers(-128, 128, 256), "int8")
        zero_point = self.zero_point("int8") if zero_point is None else zero_point
        return self.add(Lookup(x, table, self.activation(x.shape[0], "int8", 2.0**-7, zero_point)))

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add(Multiply(a, b, self.activation(a.shape[0], "int32", float(a.scale * b.scale))))

    def sum(self, a: Tensor, b: Tensor, gain_a: int = 4, gain_b: int = 16, type: str = "int16") -> Tensor:
        accumulator_scale = a.scale / abs(gain_a)
        scale = float(a.scale * self.random.uniform(1, 3) * (200 if type == "int8" and a.type != "int8" else 1))
        output = self.activation(a.shape[0], type, scale, self.zero_point(type))
        return self.add(Add(a, b, gain_a, gain_b, accumulator_scale, output))

    def accumulate(self, x: Tensor) -> Tensor:
        before, after = (Tensor(self.name("sum"), x.shape, "int32", x.scale) for _ in range(2))
        self.states.append(State(before, after))
        return self.add(Accumulate(x, before, after))

    def requantize(self, x: Tensor, type: str, scale: float, zero_point: int | None = None) -> Tensor:
        zero_point = self.zero_point(type) if zero_point is None else zero_point
        return self.add(Requantize(x, self.activation(x.shape[0], type, scale, zero_point)))

    def extremum(self, kind: type, a: Tensor, b: Tensor) -> Tensor:
        return self.add(kind(a, b, self.activation(a.shape[0], "int32", a.scale)))

    def squash(self, function: str, x: Tensor) -> Tensor:
        return self.add(Squash(function, x, self.activation(x.shape[0], "int16", 2.0**-15)))

    def interpolate(self, x: Tensor, rows: int, bits: int = 6, gain: int = 64) -> Tensor:
        # The output is twice as coarse as the input.
        slope = self.constant(self.random.integers(-127, 128, rows), "int8", 2.0 ** (1 - bits))
        offset = self.random.integers(-(2**15), 32640, rows)
        offset = self.constant(offset, "int16", x.scale * slope.scale * gain)
        return self.add(Interpolate(x, slope, offset, gain, Tensor(self.name("line"), x.shape, "int16", 2 * x.scale)))

    def slice(self, x: Tensor, start: int, size: int) -> Tensor:
        return self.add(Slice(x, start, self.like(x, (size,))))

    def embed(self, row: Tensor, vocabulary: int, size: int) -> Tensor:
        table = self.constant(self.random.integers(-128, 128, (vocabulary, size)), "int8", 0.03)
        return self.add(Embed(row, table, self.activation(size, "int8", 0.03)))

    def like(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return Tensor(self.name("activation"), shape, x.type, x.scale, x.zero_point)

    def concatenate(self, parts: list[Tensor]) -> Tensor:
        size = sum(part.shape[0] for part in parts)
        return self.add(Concatenate(tuple(parts), self.like(parts[0], (size,))))

    def window_maximum(self, x: Tensor, steps: int) -> Tensor:
        return self.add(WindowMaximum(self.window(x, steps, 1), self.like(x, x.shape)))

    def window(self, x: Tensor, steps: int, dilation: int) -> Tensor:
        size = x.shape[0]
        before, after = (self.like(x, ((steps - 1) * dilation * size,)) for _ in range(2))
        self.states.append(State(before, after))
        return self.add(Window(x, before, after, dilation, self.like(x, (steps * size,))))

    def depthwise(self, window: Tensor, size: int, multiplier: int) -> Tensor:
        shape = (window.shape[0] // size, size * multiplier)
        scales = 2.0 ** self.random.uniform(-8, -6, shape[1])
        weights = self.constant(self.random.integers(-127, 128, shape), "int8", scales)
        bias = self.constant(self.random.integers(-(2**20), 2**20, shape[1]), "int32", window.scale * scales)
        output = self.activation(shape[1], "int16", window.scale * self.random.uniform(0.5, 2))
        return self.add(DepthwiseProduct(window, weights, bias, output))

    def normalize(self, x: Tensor, type: str, ranges: int = 6) -> Tensor:
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
        return Program("random", (x,), outputs, tuple(self.states), tuple(self.operations))


def single(operation: str, seed: int = 0, lowered: bool = False) -> Program:
    """A program of one operation (and of its twins on the other types); `SINGLE` lists the names."""
    b = Builder(seed, lowered)
    H = int(b.random.integers(3, 9))
    x8, x16 = b.activation(H, "int8", 0.05, -17, "x"), b.activation(H, "int16", 2.0**-12, 0, "x")
    match operation:
        case "fully_connected_int8":
            return b.program(x8, b.fully_connected(x8, 5))
        case "fully_connected_int16":
            return b.program(x16, b.fully_connected(x16, 5))
        case "affine_int8":
            return b.program(x8, b.affine(x8, "int8"), b.affine(x8, "int16"))
        case "affine_int16":
            return b.program(x16, b.affine(x16, "int8"), b.affine(x16, "int16"))
        case "diagonal_step":
            return b.program(x16, b.diagonal_step(x16, 4))
        case "diagonal_step_real_poles":
            return b.program(x16, b.diagonal_step(x16, 3, "int8", real_poles=True))
        case "lookup":
            return b.program(x8, b.lookup(x8))
        case "multiply":
            product = b.multiply(b.lookup(x8), b.lookup(x8, zero_point=0))
            return b.program(
                x8, product, b.requantize(product, "int8", 2.0**-6), b.requantize(product, "int16", 2.0**-13)
            )
        case "add":
            other = b.lookup(x8)
            return b.program(x8, b.sum(x8, other), b.sum(x8, other, 1, 2, "int8"), b.sum(b.multiply(x8, other), x8))
        case "accumulate":
            return b.program(x8, b.requantize(b.accumulate(x8), "int16", 0.3), b.accumulate(b.lookup(x8, zero_point=0)))
        case "requantize_int8":
            return b.program(
                x8,
                b.requantize(x8, "int8", 0.07),
                b.requantize(x8, "int16", 0.05),
                b.requantize(x8, "int16", 0.0123),
                b.requantize(x8, "int8", 0.05, -17),
                b.requantize(x8, "int8", 0.05, 3),
            )
        case "requantize_int16":
            return b.program(x16, b.requantize(x16, "int8", 0.07), b.requantize(x16, "int16", 2.0**-11), x16)
        case "multiply_int16":
            scaled = b.requantize(x16, "int16", 2.0**-11)
            product = b.multiply(x16, scaled)
            return b.program(x16, product, b.requantize(b.multiply(x16, x16), "int16", product.scale * 9000))
        case "broadcast":
            one = b.activation(1, "int16", 2.0**-12, 0, "x")
            many = b.concatenate([one] * H)
            return b.program(one, b.multiply(many, one), b.sum(many, one, 3, -5), b.sum(many, one, -1, 1, "int8"))
        case "maximum" | "minimum":
            kind = Maximum if operation == "maximum" else Minimum
            a, c = (b.requantize(b.lookup(x8, zero_point=0), "int32", 2.0**-7) for _ in range(2))
            return b.program(x8, b.extremum(kind, a, c), b.extremum(kind, a, b.constant([3], "int32")))
        case "concatenate":
            parts = [b.lookup(x8, zero_point=5) for _ in range(12)]
            u = b.diagonal_step(b.requantize(x8, "int16", 2.0**-12), 2)
            return b.program(x8, b.concatenate(parts[:3]), b.concatenate(parts), b.concatenate([u, u]))
        case "squash":
            wide = b.requantize(x16, "int16", 2.0**-11)
            return b.program(x16, *(b.squash(kind, x) for kind in ("sigmoid", "tanh") for x in (x16, wide)))
        case "interpolate":
            rows = b.add(Reshape(b.concatenate([x16, x16]), b.like(x16, (2, H))))
            lines = b.interpolate(x16, 512), b.interpolate(x16, 2, 8, 1), b.interpolate(rows, 64, 5, 16)
            return b.program(x16, *lines)
        case "slice":
            ends = b.slice(x8, 0, 2), b.slice(x8, H - 1, 1), b.slice(b.requantize(x8, "int16", 0.05), 1, H - 2)
            return b.program(x8, *ends)
        case "embed":
            token = Tensor("token", (1,), "int32")
            rows = b.embed(token, 11, H)
            return b.program(token, rows, b.requantize(rows, "int16", 0.03), b.embed(token, 9, H))
        case "state_int16":
            before, after = (b.like(x16, x16.shape) for _ in range(2))
            b.states.append(State(before, after))
            total = b.sum(x16, b.add(Requantize(before, b.like(x16, x16.shape))), 1, 1)
            return b.program(x16, total, b.add(Requantize(b.requantize(total, "int16", x16.scale), after)))
        case "reshape":
            x = b.activation(6, "int16", 0.5, name="x")
            return b.program(x, b.add(Reshape(x, b.like(x, (2, 3)))))
        case "window":
            x8 = b.activation(H, "int8", 0.05, 0, "x")
            return b.program(x8, b.window(x8, 2, 1), b.window(x8, 3, 2), b.window_maximum(x8, 4))
        case "window_int16":
            return b.program(x16, b.window(x16, 4, 1), b.window(x16, 2, 3), b.window_maximum(x16, 3))
        case "depthwise_product":
            return b.program(x16, b.depthwise(b.window(x16, 4, 1), H, 1), b.depthwise(b.window(x16, 3, 2), H, 2))
        case "normalize":
            x16 = b.activation(2 * H, "int16", 2.0**-12, 0, "x")
            rows = b.add(Reshape(x16, b.like(x16, (2, H))))
            return b.program(x16, b.normalize(x16, "int16"), b.normalize(x16, "int8", 3), b.normalize(rows, "int16", 1))
    raise ValueError(f"Unknown operation {operation!r}; expected one of {', '.join(SINGLE)}.")


SINGLE = (
    "fully_connected_int8",
    "fully_connected_int16",
    "affine_int8",
    "affine_int16",
    "diagonal_step",
    "diagonal_step_real_poles",
    "lookup",
    "multiply",
    "add",
    "accumulate",
    "requantize_int8",
    "requantize_int16",
    "multiply_int16",
    "broadcast",
    "maximum",
    "minimum",
    "concatenate",
    "squash",
    "interpolate",
    "slice",
    "embed",
    "state_int16",
    "reshape",
    "window",
    "window_int16",
    "depthwise_product",
    "normalize",
)


def model(
    seed: int = 0,
    features: int = 3,
    channels: int = 8,
    modes: int = 4,
    blocks: int = 1,
    classes: int = 5,
    lowered: bool = False,
) -> Program:
    """A classifier: encoder, blocks (normalisation, DSS, GELU, gated linear unit, residual), pooling, head."""
    b = Builder(seed, lowered)
    x = b.activation(features, "int16", 2.0**-13, name="x")
    stream = b.fully_connected(x, channels)
    for _ in range(blocks):
        u = b.affine(stream, "int16")
        y = b.lookup(b.diagonal_step(u, modes, "int8"))
        value, gate = b.fully_connected(y, channels), b.lookup(b.fully_connected(y, channels), zero_point=-128)
        gated = b.multiply(value, gate)
        gain = 2 ** max(0, round(np.log2(gated.scale / stream.scale)))
        stream = b.sum(stream, gated, 1, int(gain))
    pooled = b.accumulate(b.requantize(stream, "int8", stream.scale * 256))
    logits = b.fully_connected(b.requantize(pooled, "int8", pooled.scale * 40), classes)
    return b.program(x, logits)


def random_inputs(program: Program, batch: int, length: int, seed: int = 0) -> np.ndarray:
    """Streams `[B, L, ...]` for a program's first input, uniform over all that it may hold."""
    x = program.inputs[0]
    ends = limits(program, x)
    return np.random.default_rng(seed).integers(*ends, (batch, length, *x.shape), x.type, endpoint=True)


def full_range(random: np.random.Generator, shape: tuple[int, ...], type: str) -> np.ndarray:
    """Uniform over all values of a type."""
    limits = np.iinfo(type)
    return random.integers(limits.min, limits.max, shape, type, endpoint=True)
