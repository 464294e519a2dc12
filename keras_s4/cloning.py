"""Copies of trained models with other arguments of some layers, or other layers in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.layers import DSS, S4Block
from keras_s4.paths import is_graph, layer_at, layers_by_path, sublayers

# Arguments of wrappers and recurrent layers that are layers.
INSIDE = ("layer", "backward_layer", "cell", "cells")

__all__ = ["clone", "dss_layers", "layer_at"]


def dss_layers(model: keras.Model) -> dict[str, DSS]:
    """The DSS layers of a model, also inside of others, by their paths: "block_1/dss" for that of a block."""
    return {path: layer for path, layer in layers_by_path(model).items() if isinstance(layer, DSS)}


def clone(
    model: keras.Model,
    changes: Mapping[str, dict[str, Any]],
    inputs: Any = None,
    replacements: Mapping[str, keras.layers.Layer] | None = None,
) -> keras.Model:
    """A copy of a model with all weights that still fit; a compiled model gives a compiled one with a fresh optimizer.

    A layer that is shared, also by models inside of the model, is shared in the copy.

    Args:
        model: built, functional or sequential.
        changes: other arguments of layers, by their paths as `layers_by_path` gives them.
        inputs: `keras.Input`s in place of the model's own, or None.
        replacements: new layers that stand in for layers of the model, by those layers' paths; they take over the
            weights that have the same names and shapes.

    Raises:
        ValueError: the model is not built.
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it, or call it on data once.")
    layers = layers_by_path(model)
    copy = _Copies(layers, changes, replacements or {})
    copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    new_layers = layers_by_path(copied)
    for path, layer in layers.items():
        if not sublayers(layer):
            _copy_weights(layer, new_layers[path])
    config = model.get_compile_config() if model.compiled else None
    if config:
        copied.compile_from_config(config)
    return copied


class _Copies:
    """Copies layers without their weights, each once.

    Args:
        layers: of the model by path.
        changes: see `clone`.
        replacements: see `clone`.
    """

    def __init__(
        self,
        layers: Mapping[str, keras.layers.Layer],
        changes: Mapping[str, dict[str, Any]],
        replacements: Mapping[str, keras.layers.Layer],
    ):
        self._paths = {id(layer): path for path, layer in layers.items()}
        self._changes = changes
        self._replacements = replacements
        self._copies: dict[int, keras.layers.Layer] = {}

    def __call__(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """The copy of a layer, or of an operation between layers."""
        if id(layer) not in self._copies:
            self._copies[id(layer)] = self._copied(layer, self._paths.get(id(layer), ""))
        return self._copies[id(layer)]

    def _copied(self, layer, path: str):
        if path in self._replacements:
            return self._replacements[path]
        if is_graph(layer):
            return keras.models.clone_model(layer, clone_function=self)
        config = {**layer.get_config(), **self._changes.get(path, {})}
        if isinstance(layer, S4Block):
            config["dss"] |= self._changes.get(f"{path}/dss", {})
            return type(layer).from_config(config)
        inside = [self(inner) for inner in sublayers(layer).values()]
        if not inside:
            return type(layer).from_config(config)
        config = {name: value for name, value in config.items() if name not in INSIDE}
        if isinstance(layer, keras.layers.Bidirectional):  # which makes a forward layer of its own, like the one given
            return keras.layers.Bidirectional(inside[0], backward_layer=inside[1], **config)
        cell = getattr(layer, "cell", None)
        if type(cell) is keras.layers.StackedRNNCells:
            inside = [keras.layers.StackedRNNCells(inside, name=cell.name, dtype=cell.dtype_policy)]
        return type(layer)(*inside, **config)


def _copy_weights(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Weights of the same shape; of layers with other weights than before, those that also have the same name."""
    if len(old.weights) == len(new.weights):
        pairs = zip(old.weights, new.weights, strict=True)
    else:
        targets = {weight.name: weight for weight in new.weights}
        pairs = ((weight, targets[weight.name]) for weight in old.weights if weight.name in targets)
    for source, target in pairs:
        if source.shape == target.shape:
            target.assign(np.asarray(source))
