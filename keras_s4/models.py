"""Ready-made functional models."""

from __future__ import annotations

import keras

from keras_s4.layers import S4Block


def classifier(
    input_shape: tuple[int, int],
    classes: int,
    channels: int = 32,
    states: int = 32,
    blocks: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    name: str = "classifier",
) -> keras.Model:
    """A sequence classifier: Dense encoder, S4 blocks, average over time, Dense with softmax.

    Args:
        input_shape: `(L, features)` of one sequence.
        classes: C, number of classes.
        channels: H, width of the blocks.
        states: N, complex modes per channel.
        blocks: number of S4 blocks.
        activation: inside the blocks.
        dropout: fraction of channels dropped in each block while training.
        name: of the model.

    Returns:
        A model from `[B, L, features]` to class probabilities `[B, C]`.

    Raises:
        ValueError: a size below 1.
    """
    sizes = {"classes": classes, "channels": channels, "states": states, "blocks": blocks}
    for key, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"classifier got {key}={size!r}; expected a whole number of at least 1.")
    if len(input_shape) != 2:
        raise ValueError(f"classifier got input_shape={tuple(input_shape)}; expected (steps, features).")
    inputs = keras.Input(input_shape, name="samples")
    hidden = keras.layers.Dense(channels, name="encoder")(inputs)
    for index in range(blocks):
        hidden = S4Block(states, activation=activation, dropout=dropout, name=f"block_{index + 1}")(hidden)
    pooled = keras.layers.GlobalAveragePooling1D(name="pooling")(hidden)
    outputs = keras.layers.Dense(classes, activation="softmax", name="head")(pooled)
    return keras.Model(inputs, outputs, name=name)
