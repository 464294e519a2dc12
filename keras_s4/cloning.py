"""Copies of trained models whose DSS layers have other arguments."""

from __future__ import annotations

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


def clone(model: keras.Model, changes: dict[str, dict[str, Any]], inputs: Any = None) -> keras.Model:
    """A copy of a model with all weights that still fit; a compiled model gives a compiled one with a fresh optimizer.

    Args:
        model: built, functional or sequential.
        changes: other arguments of DSS layers, by the names that `dss_layers` gives.
        inputs: `keras.Input`s in place of the model's own, or None.

    Raises:
        ValueError: the model is not built.
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it, or call it on data once.")

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, DSS):
            config |= changes.get(layer.name, {})
        elif isinstance(layer, S4Block):
            config["dss"] |= changes.get(f"{layer.name}/dss", {})
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    for old, new in zip(model.layers, copied.layers, strict=True):
        for source, target in zip(old.weights, new.weights, strict=True):
            if source.shape == target.shape:
                target.assign(np.asarray(source))
    config = model.get_compile_config() if model.compiled else None
    if config:
        copied.compile_from_config(config)
    return copied
