"""Which types each layer has: activations of int8 or int16, weights of int8 or int4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras

from keras_s4.checks import quote
from keras_s4.layers.quantized import QuantizedLayer
from keras_s4.surgery.graph import GRAPHS, Node, graph_of
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite.lowering.builder import Activations, Weights
from keras_s4.tflite.lowering.registry import is_lowered_inside

TYPES = ("int8", "int16")
WEIGHT_TYPES = ("int4", "int8")


def check_activations(model: keras.Model, activations: Activations) -> None:
    """Refuses types that there are not, and names of layers that the model has not.

    Args:
        model: built.
        activations: "int8" or "int16", or one of them by the names of layers, as `layer_paths` gives them.

    Raises:
        ValueError: it is something else.
    """
    _check_types(model, "activations", activations, TYPES)


def four_bit_layers(model: keras.Model, weights: Weights | None) -> list[str]:
    """The layers whose dense products are to have weights of 4 bits, by the names that `layer_paths` gives them.

    Of all layers those are left out that no matrix comes before, or none behind: the first and the last of a model.

    Args:
        model: built.
        weights: "int4" or "int8", or one of them by the names of layers; None for what a quantisation-aware training
            was made for, int8 without one.

    Raises:
        ValueError: it is something else, or another than a quantisation-aware training was made for.
    """
    if weights is None:
        return []
    _check_types(model, "weights", weights, WEIGHT_TYPES)
    twins = _twins(model)
    if twins:
        _check_trained(model, twins, weights)
        return []
    if isinstance(weights, Mapping):
        return [name for name, type in weights.items() if type == "int4"]
    return list(_inner_layers(model)) if weights == "int4" else []


def check_packed(model: keras.Model, weights: Weights | None, asked: list[str], packed: set[str]) -> None:
    """Refuses weights of 4 bits where no product of a layer takes them.

    Args:
        model: whose layers they are.
        weights: as they were asked for.
        asked: the layers that were to have them.
        packed: those that have them.

    Raises:
        ValueError: nothing has them, or a layer that was named has not.
    """
    without = [name for name in asked if name not in packed] if isinstance(weights, Mapping) else []
    if without:
        raise ValueError(
            f"Received weights 'int4' of layers {', '.join(map(repr, without))}, which have no product of int8 with a "
            "matrix: kernels take weights of 4 bits with int8 inputs alone, and neither recurrent layers nor those "
            "behind int16 values have these. Leave them int8."
        )
    if weights == "int4" and not packed and not _twins(model):
        raise ValueError(
            f"Received weights='int4', but no layer of model {model.name!r} would have them: its first and last layers "
            "stay int8, and so does what reads int16 values. Leave weights out."
        )


def _check_types(model: keras.Model, what: str, given: Activations | Weights, types: tuple[str, ...]) -> None:
    """Refuses other types, and names of layers that the model has not.

    Raises:
        ValueError: see `check_activations`.
    """
    by_layer = isinstance(given, Mapping)
    for type in given.values() if by_layer else [given]:
        if not isinstance(type, str) or type not in types:
            raise ValueError(
                f"Received {what} {quote(type)}; expected {' or '.join(map(repr, types))}, for all layers or in a "
                "dict by layer."
            )
    names = list(layer_paths(model)) if by_layer else []
    unknown = [name for name in given if name not in names] if by_layer else []
    if unknown:
        raise ValueError(
            f"Received {what} of layers {', '.join(map(repr, unknown))}, which model {model.name!r} has not; it "
            f"has {', '.join(names)}."
        )


def _check_trained(model: keras.Model, twins: list[QuantizedLayer], weights: Weights) -> None:
    """Refuses other weights than a training was made for."""
    trained = "int4" if any(twin.kernels for twin in twins) else "int8"
    if weights != trained:
        raise ValueError(
            f"Received weights={weights!r} for model {model.name!r}, which was trained for {trained} weights; leave "
            "weights out, or train what keras_s4.quantize_aware(model, data, weights=...) makes of the model before."
        )


def _twins(model: keras.Model) -> list[QuantizedLayer]:
    return [layer for layer in layers_by_path(model).values() if isinstance(layer, QuantizedLayer)]


def _inner_layers(model: keras.Model, prefix: str = "", before: bool = False, behind: bool = False) -> Iterator[str]:
    """Paths of the layers with a matrix that another comes before and another behind, those of nested models too.

    Args:
        model: or a block.
        prefix: in front of the paths.
        before: whether one comes before the model.
        behind: whether one comes behind it.
    """
    nodes = graph_of(model).nodes
    earlier, later = _beside_matrices(nodes), _beside_matrices(nodes, backwards=True)
    seen = set()
    for index, node in enumerate(nodes):
        layer, ends = node.layer, (before or earlier[index], behind or later[index])
        inner = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
        path = f"{prefix}{layer.name}" if inner is layer else f"{prefix}{layer.name}/{inner.name}"
        if path in seen:
            continue
        seen.add(path)
        if isinstance(inner, GRAPHS) and is_lowered_inside(inner):
            yield from _inner_layers(inner, f"{path}/", *ends)
        elif all(ends) and _has_matrix(inner):
            yield path


def _beside_matrices(nodes: tuple[Node, ...], backwards: bool = False) -> list[bool]:
    """Of each node of a graph, whether it is reached from a matrix; backwards, whether it reaches one."""
    order = list(range(len(nodes)))[:: -1 if backwards else 1]
    found = [False] * len(nodes)
    for index in order:
        for other in order:
            giver, reader = (index, other) if backwards else (other, index)
            if any(key[:2] == nodes[giver].output[:2] for key in nodes[reader].inputs):
                found[index] |= found[other] or _has_matrix(nodes[other].layer)
    return found


def _has_matrix(layer: keras.layers.Layer) -> bool:
    return any(len(weight.shape) > 1 for weight in layer.weights)


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
