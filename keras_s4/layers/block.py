"""A layer that is a graph of its sublayers: what is done to models layer by layer reaches into it."""

from __future__ import annotations

import abc
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_s4.errors import LayerError


class Block(keras.layers.Layer):
    """A layer that does nothing but call its sublayers, as `connect` says.

    Copies of models, reduction, error bounds, other sampling rates, quantisation-aware training, export and analysis
    then see the sublayers: "block/dense" is a layer like any other, which can have other arguments, or a layer of low
    rank or a quantised twin in its place.

    A subclass makes its sublayers in `__init__`, or in `build` where they are not there yet, and keeps each as an
    attribute of its own, whose name the sublayer gets. It takes `**kwargs` and hands them to `super().__init__`, and
    writes `connect`; `build`, `call` and the output's shape follow from that. It has one input and one output. What
    computes without weights is a layer as well: `keras.layers.Add()` and the like.

    Args:
        sublayers: layers in place of those that the class makes, by the names of the attributes.
    """

    def __init__(self, *, sublayers: Mapping[str, Any] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        given = {name: _as_layer(layer) for name, layer in (sublayers or {}).items()}
        self._given = types.MappingProxyType(given)  # no dict, whose layers Keras would track a second time

    @abc.abstractmethod
    def connect(self, call: Callable[..., Any], inputs: Any) -> Any:
        """What is computed: each sublayer is called by `call(layer, *inputs)`, and by nothing else.

        It is run on tensors, on shapes, and on what stands for them in a program or an analysis, so that it may do
        nothing else with its inputs.

        Returns:
            The output, one of those that `call` gave.
        """
        raise NotImplementedError(
            f"Block {self.name!r} ({type(self).__name__}) has no connect(call, inputs), which says how its sublayers "
            "are connected."
        )

    def handled_as(self) -> tuple[type, ...]:
        """The classes as one of which it is streamed, exported and analysed, the nearest first.

        A class that is known as a whole leaves itself out for forms that are to be known by their sublayers.
        """
        return type(self).__mro__

    def __setattr__(self, name, value):
        if isinstance(value, keras.layers.Layer):
            value = self._sublayer(name, value)
            if value.name != name:
                value.name = name
        super().__setattr__(name, value)

    def follow(self, call: Callable[..., Any], inputs: Any) -> Any:
        """What `connect` gives where `call(layer, *inputs)` is done in place of calling each sublayer.

        Raises:
            ValueError: `connect` does something else than to call layers.
        """

        def call_on_contents(layer, *values):
            return _Value(self, call(layer, *(self._content(value) for value in values)))

        return self._content(self.connect(call_on_contents, _Value(self, inputs)))

    def build(self, input_shape):
        """Creates the sublayers' weights, each for the shape that reaches it."""

        def build(layer, *shapes):
            shape = _one_or_list(shapes)
            if not layer.built:
                layer.build(shape)
            return layer.compute_output_shape(shape)

        if unknown := [name for name in self._given if not hasattr(self, name)]:
            raise LayerError(
                f"Block {self.name!r} got sublayers {', '.join(map(repr, unknown))}, which it has not; the class keeps "
                "its layers under other names."
            )
        self.follow(build, tuple(input_shape))

    def call(self, inputs, mask=None, training=None):
        """Calls the sublayers, with the mask as far as it gets; Keras tells them whether it is training."""
        return self.follow(_call_with_mask, (inputs, mask))[0]

    def compute_mask(self, inputs, previous_mask=None):
        """The mask behind the last sublayer; None where the output has no steps any more."""
        if previous_mask is None:
            return None

        def follow_mask(layer, *values):
            tensors, masks = (_one_or_list(parts) for parts in zip(*values, strict=True))
            shape = layer.compute_output_shape(keras.tree.map_structure(lambda tensor: tuple(tensor.shape), tensors))
            return keras.KerasTensor(shape), _mask_behind(layer, tensors, masks)

        outputs, mask = self.follow(follow_mask, (inputs, previous_mask))
        return mask if len(outputs.shape) >= len(inputs.shape) else None

    def compute_output_shape(self, input_shape):
        """The shape behind the last sublayer."""
        return self.follow(lambda layer, *shapes: layer.compute_output_shape(_one_or_list(shapes)), tuple(input_shape))

    def get_config(self):
        """With the sublayers that stand in place of the class's own."""
        config = super().get_config()
        if self._given:
            config["sublayers"] = {
                name: keras.saving.serialize_keras_object(layer) for name, layer in self._given.items()
            }
        return config

    def _sublayer(self, name: str, made: keras.layers.Layer) -> keras.layers.Layer:
        """The layer to keep under a name, in place of one that the class made."""
        return vars(self).get("_given", {}).get(name, made)

    def _content(self, value: Any) -> Any:
        if not isinstance(value, _Value):
            raise self._refusal(f"hands on {value!r}, which no layer gave")
        return value.content

    def _refusal(self, reason: str) -> LayerError:
        return LayerError(
            f"Block {self.name!r} ({type(self).__name__}) {reason}; let `connect` do nothing with its input but call "
            "layers on it, such as keras.layers.Add() and Multiply(), and return what `call` returns."
        )


class _Value:
    """What stands for a tensor in `connect`: it may be handed on, and nothing else."""

    def __init__(self, block: Block, content: Any):
        self._block, self.content = block, content

    def __getattr__(self, name):
        raise self._block._refusal("computes something by itself")


def _refuse(value: _Value, *others):
    raise value._block._refusal("computes something by itself")


for _operator in ("add", "sub", "mul", "truediv", "matmul", "pow", "neg", "getitem", "iter", "bool", "len"):
    setattr(_Value, f"__{_operator}__", _refuse)
    setattr(_Value, f"__r{_operator}__", _refuse)


def _as_layer(layer: Any) -> keras.layers.Layer:
    layer = keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer
    if not isinstance(layer, keras.layers.Layer):
        raise LayerError(f"A block got {layer!r} as one of its sublayers; expected a layer.")
    return layer


def _one_or_list(values: tuple) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _call_with_mask(layer: keras.layers.Layer, *values: tuple[Any, Any]) -> tuple[Any, Any]:
    """A layer's output and the mask behind it, of inputs with their masks."""
    tensors, masks = (_one_or_list(parts) for parts in zip(*values, strict=True))
    outputs = layer(tensors, mask=masks) if _takes_mask(type(layer)) else layer(tensors)
    return outputs, _mask_behind(layer, tensors, masks)


def _mask_behind(layer: keras.layers.Layer, tensors: Any, masks: Any) -> Any:
    return layer.compute_mask(tensors, masks) if layer.supports_masking else None


@functools.cache
def _takes_mask(kind: type) -> bool:
    return "mask" in inspect.signature(kind.call).parameters
