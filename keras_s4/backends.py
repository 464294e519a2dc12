"""The backends of Keras on which this library runs."""

from __future__ import annotations

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
