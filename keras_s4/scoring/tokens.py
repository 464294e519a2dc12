"""Tokens that no Embedding of a model has: found before Keras looks them up, which fails or clips by backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_s4.samples import check_tokens
from keras_s4.surgery.calls import input_names
from keras_s4.surgery.graph import graph_of, walk
from keras_s4.surgery.padding import layers_within

BATCH_SIZE = 1024


def check_tokens_of(model: keras.Model, x: Any) -> None:
    """Refuse inputs of a model that an Embedding in it cannot look up; subclassed models are not looked into.

    Args:
        model: built.
        x: an array `[B, ...]`, or a nest of them.

    Raises:
        ValueError: numbers that are not whole, or outside the vocabulary.
    """
    if not any(isinstance(layer, keras.layers.Embedding) for layer in layers_within(model)):
        return
    try:
        graph_of(model)
    except ValueError:  # a graph that cannot be read
        return
    if isinstance(x, Mapping):
        if set(x) != set(names := input_names(model)):
            return  # Keras refuses them
        x = [x[name] for name in names]
    arrays = keras.tree.flatten(x)
    for start in range(0, len(arrays[0]), BATCH_SIZE):
        _look_up(model, [ops.convert_to_tensor(array[start : start + BATCH_SIZE]) for array in arrays])


def _look_up(model: keras.Model, inputs: list) -> None:
    """Calls a model layer by layer, and refuses tokens in front of those that look them up."""

    def call(path: str, layer: keras.layers.Layer, values: list):
        if isinstance(layer, keras.layers.Embedding):
            check_tokens(ops.convert_to_numpy(values[0]), layer.input_dim)
        return layer(values if len(values) > 1 else values[0])

    walk(model, call, inputs)
