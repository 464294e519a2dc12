"""Copies of trained models with other arguments of some layers, or other layers in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.layers import DSS, S4Block


def dss_layers(model: keras.Model) -> dict[str, DSS]:
    """The DSS layers of a model, also inside blocks, by name: "block_1/dss" for the DSS layer of a block."""
    layers = {}
    for layer in model.layers:
        if isinstance(layer, DSS):
            layers[layer.name] = layer
        elif isinstance(layer, S4Block):
            layers[f"{layer.name}/dss"] = layer.dss
    return layers


def layer_at(model: keras.Model, name: str) -> keras.layers.Layer:
    """The layer of a name as `dss_layers` gives it: "head", or "block_1/dss" for a layer inside a block."""
    layer_name, *inside = name.split("/")
    layer = model.get_layer(layer_name)
    return getattr(layer, inside[0]) if inside else layer


def clone(
    model: keras.Model,
    changes: Mapping[str, dict[str, Any]],
    inputs: Any = None,
    replacements: Mapping[str, keras.layers.Layer] | None = None,
) -> keras.Model:
    """A copy of a model with all weights that still fit; a compiled model gives a compiled one with a fresh optimizer.

    Args:
        model: built, functional or sequential.
        changes: other arguments of layers, by their names; DSS layers inside blocks by those that `dss_layers` gives.
        inputs: `keras.Input`s in place of the model's own, or None.
        replacements: new layers that stand in for layers of the model, by those layers' names; they take over the
            weights that have the same names and shapes.

    Raises:
        ValueError: the model is not built.
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it, or call it on data once.")
    replacements = replacements or {}

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in replacements:
            return replacements[layer.name]
        config = {**layer.get_config(), **changes.get(layer.name, {})}
        if isinstance(layer, S4Block):
            config["dss"] |= changes.get(f"{layer.name}/dss", {})
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    for old, new in zip(model.layers, copied.layers, strict=True):
        _copy_weights(old, new)
    config = model.get_compile_config() if model.compiled else None
    if config:
        copied.compile_from_config(config)
    return copied


def _copy_weights(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Weights of the same shape; of layers with other weights than before, those that also have the same name."""
    if isinstance(old, S4Block):
        for name in ("normalization", "dss", "value", "gate"):
            _copy_weights(getattr(old, name), getattr(new, name))
        return
    if len(old.weights) == len(new.weights):
        pairs = zip(old.weights, new.weights, strict=True)
    else:
        targets = {weight.name: weight for weight in new.weights}
        pairs = ((weight, targets[weight.name]) for weight in old.weights if weight.name in targets)
    for source, target in pairs:
        if source.shape == target.shape:
            target.assign(np.asarray(source))
