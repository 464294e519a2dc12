"""The layers of a Keras model in the order in which they run, and what feeds what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

TensorKey = tuple[str, int, int]


@dataclasses.dataclass(frozen=True)
class Node:
    """One call of a layer: its tensors are named (layer name, call index, output index), as Keras does."""

    layer: keras.layers.Layer
    inputs: tuple[TensorKey, ...]
    output: TensorKey


@dataclasses.dataclass(frozen=True)
class Graph:
    """A model's calls in the order in which they can run, with the tensors that come in and go out."""

    nodes: tuple[Node, ...]
    inputs: tuple[TensorKey, ...]
    outputs: tuple[TensorKey, ...]

    def run(self, call: Callable[[keras.layers.Layer, list], Any], inputs: list) -> list:
        """Computes the outputs with `call(layer, inputs)` in place of each layer's own call.

        `inputs` and what `call` returns may be anything: arrays, symbolic tensors, or tensors of an integer program.
        """
        values = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            values[node.output] = call(node.layer, [values[key] for key in node.inputs])
        return [values[key] for key in self.outputs]


def graph_of(model: keras.Model) -> Graph:
    """The graph of a functional or sequential model; masks, which Keras passes beside the tensors, are left out.

    Raises:
        ValueError: the model is not built, is a subclassed model, computes something between its layers, or calls a
            layer in a way that has no graph.
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; give it an Input, or call it on data once.")
    if isinstance(model, keras.Sequential):
        return _chain(model)
    try:
        config = model.get_config()
    except NotImplementedError:  # what Keras says of subclassed models with arguments of their own
        config = {}
    if "input_layers" not in config:
        raise ValueError(
            f"Model {model.name!r} is a {type(model).__name__} written by subclassing, whose graph cannot be read; "
            "build it with the functional API (keras.Input, layers, keras.Model)."
        )
    inputs = _keys(config["input_layers"])
    layers = {layer.name: layer for layer in model.layers}
    pending = []
    for entry in config["layers"]:
        if entry["name"] not in layers:
            continue  # one of keras.ops: part of a mask, or else refused below, where it is read
        for index, call in enumerate(entry["inbound_nodes"]):
            read = [call["args"], {name: value for name, value in call["kwargs"].items() if name != "mask"}]
            pending.append(Node(layers[entry["name"]], tuple(_histories(read)), (entry["name"], index, 0)))
    read = [key for node in pending for key in node.inputs] + _keys(config["output_layers"])
    if between := sorted({name for name, _, _ in read} - set(layers)):
        raise ValueError(
            f"Model {model.name!r} computes {', '.join(between)} between its layers, with keras.ops or operators of "
            "Python; use layers for that, such as keras.layers.Add, Rescaling or Activation."
        )
    produced = {*inputs, *(node.output for node in pending)}
    outputs = [_as_produced(key, produced) for key in _keys(config["output_layers"])]
    return Graph(tuple(_ordered(pending, set(inputs))), tuple(inputs), tuple(outputs))


def _chain(model: keras.Sequential) -> Graph:
    nodes, key = [], ("input", 0, 0)
    for layer in model.layers:
        nodes.append(Node(layer, (key,), (layer.name, 0, 0)))
        key = nodes[-1].output
    return Graph(tuple(nodes), (("input", 0, 0),), (key,))


def _as_produced(key: TensorKey, produced: set[TensorKey]) -> TensorKey:
    """The key under which a call gives an output of the model.

    Among outputs, but not among inputs of layers, Keras counts the calls of a nested model from 1.
    """
    layer, call, output = key
    return key if key in produced else (layer, call - 1, output)


def _ordered(pending: list[Node], known: set[TensorKey]) -> list[Node]:
    ordered = []
    while pending:
        ready = [node for node in pending if known.issuperset(node.inputs)]
        if not ready:
            raise ValueError(
                f"The inputs of layer {pending[0].layer.name!r} cannot be traced back to the model's inputs."
            )
        ordered += ready
        known |= {node.output for node in ready}
        pending = [node for node in pending if node not in ready]
    return ordered


def _keys(description) -> list[TensorKey]:
    """Tensor names from a configuration, which holds one `[name, call, output]` or a nest of them."""
    if isinstance(description, (list, tuple)) and len(description) == 3 and isinstance(description[0], str):
        return [tuple(description)]
    values = description.values() if isinstance(description, dict) else description
    return [key for value in values for key in _keys(value)]


def _histories(call) -> list[TensorKey]:
    """The tensors among the arguments of a call, in order, as its configuration names them."""
    if isinstance(call, dict):
        if call.get("class_name") == "__keras_tensor__":
            return [tuple(call["config"]["keras_history"])]
        call = list(call.values())
    if isinstance(call, (list, tuple)):
        return [key for value in call for key in _histories(value)]
    return []
