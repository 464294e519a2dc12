"""The backends of Keras on which this library runs."""

from __future__ import annotations

from collections.abc import Callable

import keras

# On torch, layers (by the conformance harness, where torch is installed), training and reduction are tested; compiled
# steps and export are not.
SUPPORTED = ("tensorflow", "jax", "torch")


def is_supported() -> bool:
    """Whether Keras runs on one of them."""
    return keras.backend.backend() in SUPPORTED


def check_backend() -> None:
    """Refuses the others.

    Raises:
        RuntimeError: Keras runs on a backend on which layers cannot be trained, or on which nobody has tried.
    """
    if not is_supported():
        raise RuntimeError(
            f"keras-s4 runs on Keras' tensorflow and jax backends, and trains and reduces on torch; this is "
            f"{keras.backend.backend()!r}. Set the environment variable KERAS_BACKEND to tensorflow or jax before "
            "Keras is imported."
        )


def without_autograph(function: Callable) -> Callable:
    """A function that AutoGraph leaves alone where a `tf.function` calls it; on other backends the function itself.

    Our code decides nothing in Python by the values of tensors. AutoGraph would rewrite all of it at the first call,
    and warn of what it cannot read; within calls of layers Keras keeps it away.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow

    return tensorflow.autograph.experimental.do_not_convert(function)
