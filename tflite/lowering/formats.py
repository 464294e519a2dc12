"""Which type the activations of each layer have: int8, or int16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras

from keras_s4.checks import quote
from keras_s4.surgery.graph import graph_of
from keras_s4.tflite.lowering.builder import Activations
from keras_s4.tflite.lowering.registry import is_lowered_inside

TYPES = ("int8", "int16")


def check_activations(model: keras.Model, activations: Activations) -> None:
    """Refuses types that there are not, and names of layers that the model has not.

    Args:
        model: built.
        activations: "int8" or "int16", or one of them by the names of layers, as `layer_paths` gives them.

    Raises:
        ValueError: it is something else.
    """
    by_layer = isinstance(activations, Mapping)
    for type in activations.values() if by_layer else [activations]:
        if not isinstance(type, str) or type not in TYPES:
            raise ValueError(
                f"Received activations {quote(type)}; expected {' or '.join(map(repr, TYPES))}, for all layers or in a "
                "dict by layer."
            )
    names = list(layer_paths(model)) if by_layer else []
    unknown = [name for name in activations if name not in names] if by_layer else []
    if unknown:
        raise ValueError(
            f"Received activations of layers {', '.join(map(repr, unknown))}, which model {model.name!r} has not; it "
            f"has {', '.join(names)}."
        )


def layer_paths(model: keras.Model, prefix: str = "") -> Iterator[str]:
    """The names of a model's layers in the order in which they run; "outer/inner" for one inside of another."""
    seen = set()
    for node in graph_of(model).nodes:
        layer = node.layer
        if layer.name in seen:
            continue
        seen.add(layer.name)
        path = prefix + layer.name
        yield path
        if is_lowered_inside(layer):
            yield from layer_paths(layer, f"{path}/")
        elif isinstance(layer, keras.layers.TimeDistributed):
            inside = f"{path}/{layer.layer.name}"
            yield inside
            if is_lowered_inside(layer.layer):
                yield from layer_paths(layer.layer, f"{inside}/")
