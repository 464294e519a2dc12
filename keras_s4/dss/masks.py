"""Masks of padded sequences, bool `[B, L]`, on signals `[B, L, H]`."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def zeroed(signal: Tensor, mask: Tensor) -> Tensor:
    """The signal with zeros at the masked steps, whatever they held: NaN too."""
    return ops.where(mask[:, :, None], signal, ops.zeros_like(signal))


def steps_to_the_last(mask: Tensor) -> Tensor:
    """How many steps there are up to the last unmasked one, int32 `[B]`."""
    return ops.max(ops.cast(mask, "int32") * ops.arange(1, ops.shape(mask)[1] + 1, dtype="int32"), axis=1)


def moved_to_the_end(signal: Tensor, steps: Tensor) -> Tensor:
    """Sequences of which only the first `steps[b]` samples count, moved so that these come last, behind zeros."""
    length = ops.shape(signal)[1]
    source = ops.arange(length, dtype="int32")[None, :, None] - (length - steps[:, None, None])
    moved = ops.take_along_axis(signal, ops.broadcast_to(ops.maximum(source, 0), ops.shape(signal)), axis=1)
    return ops.where(source >= 0, moved, ops.zeros_like(moved))
