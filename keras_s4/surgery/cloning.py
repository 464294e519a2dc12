"""Copies of trained models with other arguments of some layers, or other layers in their place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_s4.layers import DSS, Block, StateSpaceLayer
from keras_s4.surgery.graph import is_graph
from keras_s4.surgery.layer_state import copy_state, layers_inside
from keras_s4.surgery.paths import layer_at, layers_by_path, sublayers

# Arguments of wrappers and recurrent layers that are layers.
INSIDE = ("layer", "backward_layer", "cell", "cells")

OF_ALL_LAYERS = ("name", "trainable", "dtype")

__all__ = ["clone", "dss_layers", "layer_at", "state_space_layers"]


def dss_layers(model: keras.Model) -> dict[str, DSS]:
    """The DSS layers of a model, also inside of others, by their paths: "block_1/dss" for that of a block."""
    return {path: layer for path, layer in layers_by_path(model).items() if isinstance(layer, DSS)}


def state_space_layers(model: keras.Model) -> dict[str, StateSpaceLayer]:
    """The same, and the layers whose channels share their modes: all whose states can be reduced."""
    return {path: layer for path, layer in layers_by_path(model).items() if isinstance(layer, StateSpaceLayer)}


def clone(
    model: keras.Model,
    changes: Mapping[str, dict[str, Any]],
    inputs: Any = None,
    replacements: Mapping[str, keras.layers.Layer] | None = None,
) -> keras.Model:
    """A copy of a model that computes what the model does, but for what is changed.

    Weights, and all else that layers hold (see `keras_s4.surgery.layer_state`), are carried over as far as they fit. A
    compiled model gives a compiled one with a fresh optimizer.

    A layer that is shared, also by models inside of the model, is shared in the copy.

    Args:
        model: a built model, functional or sequential.
        changes: other arguments of layers, by their paths as `layers_by_path` gives them.
        inputs: `keras.Input`s in place of the model's own, or None.
        replacements: new layers that stand in for layers of the model, by those layers' paths; they take over the
            weights that have the same names and shapes.

    Raises:
        ValueError: the model is not built, or written by subclassing.
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it, or call it on data once.")
    if not is_graph(model):
        raise ValueError(
            f"Model {model.name!r} is a {type(model).__name__} written by subclassing, which cannot be copied with "
            "changes; build it with the functional API (keras.Input, layers, keras.Model)."
        )
    layers = layers_by_path(model)
    copy = _Copies(layers, changes, replacements or {})
    with keras.saving.custom_object_scope(_custom_objects(model)):
        copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    if not copied.built:
        copied.build_from_config(model.get_build_config())
    copy_state(model, copied, _touched(layers, [*changes, *(replacements or {})]), equal_shapes=inputs is None)
    config = model.get_compile_config() if model.compiled else None
    if config:
        copied.compile_from_config(config)
    return copied


def _touched(layers: Mapping[str, keras.layers.Layer], paths: Sequence[str]) -> frozenset[int]:
    """The identities of layers that are changed, or that contain one that is."""
    return frozenset(
        id(layer) for path, layer in layers.items() if any(f"{to}/".startswith(f"{path}/") for to in paths)
    )


class _Copies:
    """Copies layers without their weights, each once.

    Args:
        layers: the layers of the model by path.
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
            self._copies[id(layer)] = self._copy(layer, self._paths.get(id(layer), ""))
        return self._copies[id(layer)]

    def _copy(self, layer, path: str):
        if path in self._replacements:
            return self._replacements[path]
        if is_graph(layer):
            return keras.models.clone_model(layer, clone_function=self)
        if not isinstance(layer, keras.layers.Layer):  # one of keras.ops
            return type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.Lambda):
            return layer  # it is nothing but a function, of which no copy can be made
        config = {**_config_of(layer), **self._changes.get(path, {})}
        if isinstance(layer, Block):
            return self._copy_block(layer, path, config)
        inside = [self(inner) for inner in sublayers(layer).values()]
        if not inside:
            return _make_from(config, layer)
        config = {name: value for name, value in config.items() if name not in INSIDE}
        if isinstance(layer, keras.layers.Bidirectional):  # which makes a forward layer of its own, like the one given
            return keras.layers.Bidirectional(inside[0], backward_layer=inside[1], **config)
        cell = getattr(layer, "cell", None)
        if type(cell) is keras.layers.StackedRNNCells:
            inside = [keras.layers.StackedRNNCells(inside, name=cell.name, dtype=cell.dtype_policy)]
        return type(layer)(*inside, **config)

    def _copy_block(self, block: Block, path: str, config: dict[str, Any]) -> Block:
        """A block that makes its sublayers by itself, but for those that are other ones, or shared."""
        others = {
            name: self(inner)
            for name, inner in sublayers(block).items()
            if self._paths[id(inner)] != f"{path}/{name}" or self._is_touched(f"{path}/{name}")
        }
        if others and not _takes_any(type(block)):
            raise ValueError(
                f"Block {block.name!r} ({type(block).__name__}) cannot be copied with other sublayers "
                f"({', '.join(others)}): let its __init__ take **kwargs, and hand them to super().__init__."
            )
        return _make_from(
            {**config, "sublayers": {**config.get("sublayers", {}), **others}} if others else config, block
        )

    def _is_touched(self, path: str) -> bool:
        return any(f"{to}/".startswith(f"{path}/") for to in (*self._changes, *self._replacements))


def _config_of(layer: keras.layers.Layer) -> dict[str, Any]:
    try:
        return layer.get_config()
    except NotImplementedError:  # with a page on how to write one
        raise ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied: its class takes arguments of its "
            "own, and get_config() does not give them. Let it return {**super().get_config(), ...} with all "
            "arguments of __init__."
        ) from None


def _make_from(config: dict[str, Any], original: keras.layers.Layer) -> keras.layers.Layer:
    """A layer of a configuration. What the class does not take of the arguments that all layers have, it gets after."""
    if not _takes_any(type(original)):
        taken = set(inspect.signature(type(original).__init__).parameters)
        config = {name: value for name, value in config.items() if name in taken or name not in OF_ALL_LAYERS}
    layer = type(original).from_config(config)
    layer.name = original.name
    if "dtype" not in config and layer.dtype_policy != original.dtype_policy:
        layer.dtype_policy = original.dtype_policy
    return layer


def _takes_any(kind: type) -> bool:
    """Whether a class hands arguments that it does not know to its base."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _custom_objects(model: keras.Model) -> dict[str, Any]:
    """Classes and functions by name, for the configurations of layers that contain others and were not registered."""
    found: dict[str, Any] = {}
    for layer in layers_inside(model):
        found[type(layer).__name__] = type(layer)
        found |= {value.__name__: value for value in vars(layer).values() if inspect.isfunction(value)}
    return {name: value for name, value in found.items() if not value.__module__.startswith("keras.")}
