"""The state that a stateful layer carries from batch to batch."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.errors import LayerError


def add_carried_state(layer: keras.layers.Layer, batch: int | None, *shape: int) -> keras.Variable:
    """A weight `[batch, *shape]` of a layer that is being built, zero and not trained.

    Raises:
        ValueError: the batch size is open.
    """
    if batch is None:
        raise LayerError(
            f"{type(layer).__name__} {layer.name!r} carries its state from batch to batch, so it must know the batch "
            "size: keras.Input(batch_shape=(B, L, H))."
        )
    return layer.add_weight(
        name="carried_state",
        shape=(batch, *shape),
        initializer="zeros",
        dtype=layer.state_dtype,
        autocast=False,
        trainable=False,
    )


def reset_carried_state(layer: keras.layers.Layer) -> None:
    """Sets it to zero.

    Raises:
        ValueError: the layer is not stateful, or not built.
    """
    if not layer.stateful:
        raise LayerError(f"{type(layer).__name__} {layer.name!r} carries no state; create it with stateful=True.")
    check_built(layer)
    layer.carried_state.assign(ops.zeros(layer.carried_state.shape, layer.state_dtype))


def check_built(layer: keras.layers.Layer) -> None:
    """Refuses a layer without weights.

    Raises:
        ValueError: it is not built.
    """
    if not layer.built:
        raise LayerError(
            f"{type(layer).__name__} {layer.name!r} has no weights yet; call the model on data or build it first."
        )
