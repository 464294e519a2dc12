"""What poolings over time refuse."""

from __future__ import annotations

import keras

from keras_s4.errors import LayerError


def check_sequence(layer: keras.layers.Layer, shape: tuple, least: int = 1) -> None:
    """Refuses shapes other than `[B, L, H]` with H known and L at least so many steps.

    Raises:
        ValueError: another shape.
    """
    if len(shape) != 3 or shape[-1] is None or (shape[1] is not None and shape[1] < least):
        steps = f"at least {least} step{'s' if least > 1 else ''}"
        raise LayerError(
            f"{type(layer).__name__} {layer.name!r} got input of shape {tuple(shape)}; expected [B, L, H] with H known "
            f"and {steps}."
        )
