"""When it pays to let XLA compile the training step."""

from __future__ import annotations

import keras

AUTO = "auto"
# Gradient steps after which compiling has paid for itself.
WORTHWHILE_STEPS = 100


def pays_to_compile(model: keras.Model, steps: int) -> bool:
    """Whether compiling the training step by XLA takes less time than it saves in so many steps.

    On JAX always, and on PyTorch never. On TensorFlow not for sequences of unknown length, since XLA compiles anew for
    every length.

    Args:
        model: built.
        steps: gradient steps of the training.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        return backend == "jax"
    lengths = {tensor.shape[1] for tensor in getattr(model, "inputs", None) or () if len(tensor.shape) > 1}
    return steps >= WORTHWHILE_STEPS and None not in lengths
