"""Types of numbers that are fine enough."""

from __future__ import annotations

import contextlib

import keras


def at_least_single(dtype: str) -> str:
    """Single precision in place of half, and double precision where that is asked for.

    `keras.backend.result_type` would not do: on JAX and torch it makes single precision of double.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def double_precision() -> contextlib.AbstractContextManager:
    """A scope in which tensors of float64 are what they say: JAX makes float32 of them by default."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)
