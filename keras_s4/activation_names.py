"""The names of activations, of which Keras takes any function."""

from __future__ import annotations

from collections.abc import Callable

# Their functions of the same name compute the same.
_LIBRARIES = ("keras", "tensorflow", "jax", "torch")


def activation_name(activation: Callable) -> str:
    """The name of an activation of Keras or of a backend; one that a user wrote has its module in front of its name.

    So nobody's `relu` is taken for Keras' for its name.
    """
    name = getattr(activation, "__name__", type(activation).__name__).removesuffix("_v2")  # as TensorFlow has it
    module = getattr(activation, "__module__", None) or type(activation).__module__
    return name if module.split(".")[0] in _LIBRARIES else f"{module}.{name}"
