"""Small random integer programs with realistic scales, from a seed: each operation alone, and whole models.

One for a new operation is a function with the decorator `_single`: tests of all readers then run it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_s4.testing.program_builder import Builder
from keras_s4.tflite.program.operations import Maximum, Minimum, Requantize, Reshape
from keras_s4.tflite.program.program import Program, State, limits
from keras_s4.tflite.program.tensors import Tensor

# Programs of one operation, and of its twins on the other types, by name.
SINGLE: dict[str, Callable[[Builder, Tensor, Tensor], Program]] = {}


def single(operation: str, seed: int = 0, lowered: bool = False) -> Program:
    """A program of one operation (and of its twins on the other types); `SINGLE` lists the names."""
    if operation not in SINGLE:
        raise ValueError(f"Unknown operation {operation!r}; expected one of {', '.join(SINGLE)}.")
    b = Builder(seed, lowered)
    channels = int(b.random.integers(3, 9))
    x8 = b.activation(channels, "int8", 0.05, -17, "x")
    return SINGLE[operation](b, x8, b.activation(channels, "int16", 2.0**-12, 0, "x"))


def _single(function: Callable[[Builder, Tensor, Tensor], Program]) -> Callable[[Builder, Tensor, Tensor], Program]:
    """Decorator: puts into `SINGLE` what makes a program from a builder, an int8 and an int16 input."""
    SINGLE[function.__name__.removeprefix("_")] = function
    return function


@_single
def _fully_connected_int8(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x8, b.fully_connected(x8, 5))


@_single
def _fully_connected_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.fully_connected(x16, 5))


@_single
def _fully_connected_int4(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    """Rows that end inside a byte; more outputs than a group of four; too few; and too many inputs for words."""
    even = b.fully_connected(b.fully_connected(x8, 10, weights="int4"), 7, weights="int4")
    wide = b.fully_connected(x8, 140, weights="int4")
    words = b.fully_connected(b.fully_connected(x8, 36, weights="int4"), 9, weights="int4")
    return b.program(x8, even, words, b.fully_connected(wide, 3, weights="int4"))


@_single
def _affine_int8(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x8, b.affine(x8, "int8"), b.affine(x8, "int16"))


@_single
def _affine_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.affine(x16, "int8"), b.affine(x16, "int16"))


@_single
def _diagonal_step(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.diagonal_step(x16, 4))


@_single
def _diagonal_step_fed_back(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.diagonal_step(x16, 9, feedback=True))


@_single
def _diagonal_step_real_poles(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.diagonal_step(x16, 3, "int8", real_poles=True))


@_single
def _modal_step(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    """Between two products, as lowerings make it; the other has real poles."""
    real = b.modal_step(b.fully_connected(x16, 6), real_poles=True)
    return b.program(x16, b.fully_connected(b.modal_step(b.fully_connected(x16, 10)), 4), real)


@_single
def _modal_step_fed_back(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    """States that are clamped; feedback of some modes, of none and of all."""
    u = b.fully_connected(x16, 14)
    return b.program(x16, *(b.modal_step(u, limit=2**30, feedback=count) for count in (3, 0, 7)))


@_single
def _lookup(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x8, b.lookup(x8))


@_single
def _multiply(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    product = b.multiply(b.lookup(x8), b.lookup(x8, zero_point=0))
    return b.program(x8, product, b.requantize(product, "int8", 2.0**-6), b.requantize(product, "int16", 2.0**-13))


@_single
def _add(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    other = b.lookup(x8)
    return b.program(x8, b.sum(x8, other), b.sum(x8, other, 1, 2, "int8"), b.sum(b.multiply(x8, other), x8))


@_single
def _accumulate(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x8, b.requantize(b.accumulate(x8), "int16", 0.3), b.accumulate(b.lookup(x8, zero_point=0)))


@_single
def _recent_mean(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x8, b.recent_mean(x8, [1, 300, 2**15]), b.recent_mean(x8, [77]), b.recent_mean(x8, [9, 8], 5))


@_single
def _recent_mean_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.recent_mean(x16, [2**15, 1, 4000]), b.recent_mean(x16, [500], 1))


@_single
def _sliding_sum(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    sums = b.sliding_sum(x8, 3, 4), b.sliding_sum(x8, 1, 2, 2), b.sliding_sum(x8, 5, 1, 1), b.sliding_sum(x8, 1, 1)
    return b.program(x8, *sums, b.requantize(b.sliding_sum(x8, 2, 3), "int16", x8.scale / 100))


@_single
def _sliding_sum_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.sliding_sum(x16, 2, 5), b.sliding_sum(b.requantize(x16, "int32", x16.scale), 4, 12, 3))


@_single
def _requantize_int8(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(
        x8,
        b.requantize(x8, "int8", 0.07),
        b.requantize(x8, "int16", 0.05),
        b.requantize(x8, "int16", 0.0123),
        b.requantize(x8, "int8", 0.05, -17),
        b.requantize(x8, "int8", 0.05, 3),
    )


@_single
def _requantize_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.requantize(x16, "int8", 0.07), b.requantize(x16, "int16", 2.0**-11), x16)


@_single
def _multiply_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    scaled = b.requantize(x16, "int16", 2.0**-11)
    product = b.multiply(x16, scaled)
    return b.program(x16, product, b.requantize(b.multiply(x16, x16), "int16", product.scale * 9000))


@_single
def _broadcast(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x16.shape[0]
    one = b.activation(1, "int16", 2.0**-12, 0, "x")
    many = b.concatenate([one] * H)
    return b.program(one, b.multiply(many, one), b.sum(many, one, 3, -5), b.sum(many, one, -1, 1, "int8"))


@_single
def _maximum(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    a, c = (b.requantize(b.lookup(x8, zero_point=0), "int32", 2.0**-7) for _ in range(2))
    return b.program(x8, b.extremum(Maximum, a, c), b.extremum(Maximum, a, b.constant([3], "int32")))


@_single
def _minimum(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    a, c = (b.requantize(b.lookup(x8, zero_point=0), "int32", 2.0**-7) for _ in range(2))
    return b.program(x8, b.extremum(Minimum, a, c), b.extremum(Minimum, a, b.constant([3], "int32")))


@_single
def _concatenate(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    parts = [b.lookup(x8, zero_point=5) for _ in range(12)]
    u = b.diagonal_step(b.requantize(x8, "int16", 2.0**-12), 2)
    return b.program(x8, b.concatenate(parts[:3]), b.concatenate(parts), b.concatenate([u, u]))


@_single
def _squash(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    wide = b.requantize(x16, "int16", 2.0**-11)
    return b.program(x16, *(b.squash(kind, x) for kind in ("sigmoid", "tanh") for x in (x16, wide)))


@_single
def _interpolate(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x16.shape[0]
    rows = b.add(Reshape(b.concatenate([x16, x16]), b.like(x16, (2, H))))
    lines = b.interpolate(x16, 512), b.interpolate(x16, 2, 8, 1), b.interpolate(rows, 64, 5, 16)
    return b.program(x16, *lines)


@_single
def _slice(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x8.shape[0]
    ends = b.slice(x8, 0, 2), b.slice(x8, H - 1, 1), b.slice(b.requantize(x8, "int16", 0.05), 1, H - 2)
    return b.program(x8, *ends)


@_single
def _embed(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x16.shape[0]
    token = Tensor("token", (1,), "int32")
    rows = b.embed(token, 11, H)
    return b.program(token, rows, b.requantize(rows, "int16", 0.03), b.embed(token, 9, H))


@_single
def _state_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    before, after = (b.like(x16, x16.shape) for _ in range(2))
    b.states.append(State(before, after))
    total = b.sum(x16, b.add(Requantize(before, b.like(x16, x16.shape))), 1, 1)
    return b.program(x16, total, b.add(Requantize(b.requantize(total, "int16", x16.scale), after)))


@_single
def _reshape(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    x = b.activation(6, "int16", 0.5, name="x")
    return b.program(x, b.add(Reshape(x, b.like(x, (2, 3)))))


@_single
def _window(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x8.shape[0]
    x8 = b.activation(H, "int8", 0.05, 0, "x")
    return b.program(x8, b.window(x8, 2, 1), b.window(x8, 3, 2), b.window_maximum(x8, 4))


@_single
def _window_int16(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    return b.program(x16, b.window(x16, 4, 1), b.window(x16, 2, 3), b.window_maximum(x16, 3))


@_single
def _depthwise_product(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x16.shape[0]
    return b.program(x16, b.depthwise(b.window(x16, 4, 1), H, 1), b.depthwise(b.window(x16, 3, 2), H, 2))


@_single
def _normalize(b: Builder, x8: Tensor, x16: Tensor) -> Program:
    H = x16.shape[0]
    x16 = b.activation(2 * H, "int16", 2.0**-12, 0, "x")
    rows = b.add(Reshape(x16, b.like(x16, (2, H))))
    return b.program(x16, b.normalize(x16, "int16"), b.normalize(x16, "int8", 3), b.normalize(rows, "int16", 1))


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
