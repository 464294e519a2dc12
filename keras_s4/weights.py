"""Reading the weights of Keras layers as float64."""

from __future__ import annotations

import keras
import numpy as np


def finite_weights(layer: keras.layers.Layer, *names: str) -> list[np.ndarray]:
    """Weights of a layer by attribute name, as float64.

    Raises:
        ValueError: the layer has no weights yet, or some are NaN or infinite: by layer and weight.
    """
    if not layer.built:
        raise ValueError(f"Layer {layer.name!r} has no weights yet; call the model on data or build it first.")
    values = [keras.ops.convert_to_numpy(getattr(layer, name)).astype(np.float64) for name in names]
    for name, value in zip(names, values, strict=True):
        unusable = np.count_nonzero(~np.isfinite(value))
        if unusable:
            raise ValueError(
                f"Layer {layer.name!r} holds {unusable} NaN or infinite numbers in {name}; train again with a smaller "
                "learning rate, or load a sound checkpoint."
            )
    return values
