"""First-order recurrences with real factors, for all steps at once, in `keras.ops`."""

from __future__ import annotations

from typing import Any

from keras import ops

# Sequences of a length that is not known before the graph runs are cut into chunks of so many steps; what the chunks
# end with is a shorter sequence, and so on, for up to CHUNK**LEVELS steps.
CHUNK = 64
LEVELS = 4

Tensor = Any


def first_order(log_factors: Tensor, inputs: Tensor) -> Tensor:
    """`y[t] = exp(log_factors[t]) y[t - 1] + inputs[t]`, from `y[-1] = 0` on.

    A prefix sum by doubling: after k passes each step has met the `2**k - 1` before it, so that rounding errors grow
    with the logarithm of the length.

    Args:
        log_factors: `[1 or B, L, 1 or H]`, at most 0.
        inputs: `[B, L, H]`.

    Returns:
        `[B, L, H]`.
    """
    if inputs.shape[1] is not None:
        return _doubled(log_factors, inputs, inputs.shape[1])
    return _in_chunks(log_factors, inputs, LEVELS)


def _doubled(log_factors, outputs, length):
    distance = 1
    while distance < length:
        outputs = outputs + ops.exp(log_factors) * _delayed(outputs, distance)
        log_factors = log_factors + _delayed(log_factors, distance)
        distance *= 2
    return outputs


def _in_chunks(log_factors, inputs, levels):
    length = ops.shape(inputs)[1]
    chunks = (length - 1) // CHUNK + 1
    padding = [[0, 0], [0, chunks * CHUNK - length], [0, 0]]
    log_factors, inputs = (
        ops.reshape(ops.pad(each, padding), (ops.shape(each)[0], chunks, CHUNK, each.shape[-1]))
        for each in (log_factors, inputs)
    )
    outputs = _doubled(log_factors, inputs, CHUNK)
    if levels > 1:
        since = ops.cumsum(log_factors, axis=2)
        ends = _in_chunks(since[:, :, -1], outputs[:, :, -1], levels - 1)
        outputs = outputs + ops.exp(since) * _delayed(ends, 1)[:, :, None]
    return ops.reshape(outputs, (ops.shape(outputs)[0], chunks * CHUNK, outputs.shape[-1]))[:, :length]


def _delayed(values, steps):
    """The values so many steps later, behind zeros; time is the last axis but one."""
    return ops.pad(values[..., :-steps, :], [[0, 0]] * (len(values.shape) - 2) + [[steps, 0], [0, 0]])
