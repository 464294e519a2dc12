"""Layers inside of layers, and their names: "outer/inner" for one in a nested model, a wrapper, a cell or a block."""

from __future__ import annotations

import keras

from keras_s4.layers import Block, DSSCell
from keras_s4.surgery.graph import graph_of, is_graph

Layers = dict[str, keras.layers.Layer]
# Of layers of a user's own, subclasses of these included, nothing says what they do with those inside.
_ONE_INSIDE = {keras.layers.TimeDistributed: "layer", keras.layers.RNN: "cell", DSSCell: "layer"}


def layers_by_path(model: keras.Model) -> Layers:
    """All layers of a model, also those inside of others, each once and behind the one that it is in.

    Looked into are functional and sequential models, blocks, TimeDistributed, Bidirectional, RNN with its cells, and
    DSSCell. A layer that is shared has the path at which it comes first.

    Args:
        model: a built model.

    Returns:
        Layers by path: "head", "block_1/dss", "outer/inner/dense", "rnn/gru_cell", "bidirectional/forward_gru".
    """
    found: Layers = {}
    _gather(_layers_of(model), "", found, set())
    return found


def layer_at(model: keras.Model, path: str) -> keras.layers.Layer:
    """The layer of a path as `layers_by_path` gives it.

    Raises:
        ValueError: there is none.
    """
    layers = layers_by_path(model)
    if path not in layers:
        raise ValueError(f"Model {model.name!r} has no layer {path!r}; it has {', '.join(layers)}.")
    return layers[path]


def sublayers(layer: keras.layers.Layer) -> Layers:
    """The layers directly inside of one by name; none if it is not one that `layers_by_path` looks into."""
    if is_graph(layer):
        return _layers_of(layer)
    if isinstance(layer, Block):
        return {node.layer.name: node.layer for node in graph_of(layer).nodes}
    if type(layer) is keras.layers.Bidirectional:
        return {inner.name: inner for inner in (layer.forward_layer, layer.backward_layer)}
    if type(layer) in _ONE_INSIDE:
        inner = getattr(layer, _ONE_INSIDE[type(layer)])
        return _cells_of(inner) if type(inner) is keras.layers.StackedRNNCells else {inner.name: inner}
    return {}


def _layers_of(model: keras.Model) -> Layers:
    return {layer.name: layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}


def _cells_of(stack: keras.layers.StackedRNNCells) -> Layers:
    names = [cell.name for cell in stack.cells]
    if len(set(names)) < len(names):
        names = map(str, range(len(names)))
    return dict(zip(names, stack.cells, strict=True))


def _gather(layers: Layers, prefix: str, found: Layers, seen: set[int]) -> None:
    for name, layer in layers.items():
        if id(layer) not in seen:
            seen.add(id(layer))
            found[prefix + name] = layer
            _gather(sublayers(layer), f"{prefix}{name}/", found, seen)
