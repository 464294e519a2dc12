"""The layers of a Keras model in the order in which they run, and what feeds what."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_s4.layers import Block
from keras_s4.surgery.calls import Call, calls_of, holds_constant, output_names, tensors_in

TensorKey = tuple[str, int, int]
# Layers that do what their graphs say, if they have one.
GRAPHS = (keras.Model, Block)


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

        `inputs` and what `call` returns may be anything: arrays, symbolic tensors, or tensors of an integer program. A
        list, tuple or dict is what a layer with several outputs gives, numbered as by `as_numbered`.

        Raises:
            ValueError: an output is read that `call` has not given.
        """
        values = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            results = keras.tree.flatten(call(node.layer, [_value(values, key) for key in node.inputs]))
            values.update({(*node.output[:2], index): result for index, result in enumerate(results)})
        return [_value(values, key) for key in self.outputs]

    def readers(self, key: TensorKey) -> Iterator[keras.layers.Layer]:
        """The layers that read a tensor, those of nested models and blocks in place of these."""
        for node in self.nodes:
            for place, read in enumerate(node.inputs):
                if read == key and isinstance(node.layer, GRAPHS):
                    inner = graph_of(node.layer)
                    yield from inner.readers(inner.inputs[place])
                elif read == key:
                    yield node.layer


def walk(
    outer: keras.Model | Block,
    call: Callable[[str, keras.layers.Layer, list], Any],
    inputs: list,
    prefix: str = "",
) -> list:
    """`Graph.run` through models and blocks inside of a model as well.

    Args:
        outer: a model or block.
        call: gets the path of a layer, "outer/inner/dense", the layer, which is no model or block, and its inputs.
        inputs: the inputs of the model.
        prefix: text in front of all paths.

    Raises:
        ValueError: see `graph_of` and `Graph.run`.
    """

    def call_inside(layer: keras.layers.Layer, values: list):
        if isinstance(layer, GRAPHS):
            return as_numbered(layer, walk(layer, call, values, f"{prefix}{layer.name}/"))
        return call(prefix + layer.name, layer, values)

    return graph_of(outer).run(call_inside, inputs)


def graph_of(model: keras.Model | Block) -> Graph:
    """The graph of a functional or sequential model, or of a block; masks, which pass beside tensors, are left out.

    Its inputs stand in the order of `model.inputs`.

    Raises:
        ValueError: the model is not built, is a subclassed model, computes something between its layers, or calls a
            layer in a way that has no graph: with a state from elsewhere, with a constant, or as in training. Or a
            layer hands its state to others.
    """
    if isinstance(model, Block):
        return _connections(model)
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; give it an Input, or call it on data once.")
    if not is_graph(model):
        raise _no_graph(model)
    return _chain(model) if isinstance(model, keras.Sequential) else _functional(model)


def is_graph(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a functional or sequential model that computes what its graph says."""
    has_graph = isinstance(layer, keras.Sequential) or (isinstance(layer, keras.Model) and hasattr(layer, "operations"))
    return has_graph and type(layer).call.__module__.split(".")[0] == "keras"


def _functional(model: keras.Model) -> Graph:
    recorded = calls_of(model)
    inputs = tuple((name, 0, 0) for name in _input_layers(model))
    keys = {id(tensor): key for tensor, key in zip(recorded.inputs, inputs, strict=True)}
    counts: Counter[str] = Counter()
    for call in recorded.calls:
        name = call.operation.name
        keys |= {id(tensor): (name, counts[name], place) for place, tensor in enumerate(call.outputs)}
        counts[name] += 1
    called = [call for call in recorded.calls if call.is_of_layer]
    for call in called:
        _check_call(model, call, keys)
    # Operations that are no layers are parts of masks, or else read by a layer or by whoever reads the outputs.
    layers = {key[0] for key in inputs} | {call.operation.name for call in called}
    read = [tensor for call in called for tensor in call.reads()] + list(recorded.outputs)
    if between := sorted({keys[id(tensor)][0] for tensor in read} - layers):
        raise ValueError(
            f"Model {model.name!r} computes {', '.join(between)} between its layers, with keras.ops or operators of "
            f"Python; use layers for that: {_layers_for(between)}."
        )
    pending = [
        Node(call.operation, tuple(keys[id(tensor)] for tensor in call.reads()), keys[id(call.outputs[0])])
        for call in called
    ]
    outputs = tuple(keys[id(tensor)] for tensor in recorded.outputs)
    graph = Graph(tuple(_ordered(pending, set(inputs))), inputs, outputs)
    _check_states_stay(model, graph)
    return graph


def as_numbered(model: keras.Model | Block, outputs: list) -> list:
    """The outputs of a model's graph in the order in which Keras numbers them: those of a dict by its sorted keys."""
    names = None if isinstance(model, Block) else output_names(model)
    if names is None:
        return outputs
    by_name = dict(zip(names, outputs, strict=True))
    return [by_name[name] for name in sorted(by_name)]


def _no_graph(model: keras.Model) -> ValueError:
    return ValueError(
        f"Model {model.name!r} is a {type(model).__name__} written by subclassing, whose graph cannot be read; "
        "build it with the functional API (keras.Input, layers, keras.Model)."
    )


# By the beginnings of the names that Keras gives to the operations.
LAYERS_FOR = {
    "get_item": "keras_s4.layers.LastStep for x[:, -1], keras.layers.Cropping1D for x[:, n:]",
    "mean": "keras.layers.GlobalAveragePooling1D for a mean over time",
    "max": "keras.layers.GlobalMaxPooling1D for a maximum over time",
    "add": "keras.layers.Add",
    "subtract": "keras.layers.Subtract",
    "multiply": "keras.layers.Multiply, or Rescaling by a number",
    "concatenate": "keras.layers.Concatenate",
    "split": "a Dense layer for each part",
    "reshape": "keras.layers.Reshape",
}


def _layers_for(operations: list[str]) -> str:
    """The layers that do what operations do."""
    found = [text for name, text in LAYERS_FOR.items() if any(each.startswith(name) for each in operations)]
    return "; ".join(found) or "keras.layers.Add, Rescaling or Activation, for example"


def _connections(block: Block) -> Graph:
    """The graph of a block, whose tensors are called as those of a model."""
    nodes: list[Node] = []

    def call(layer: keras.layers.Layer, *keys: TensorKey) -> TensorKey:
        if getattr(block, layer.name, None) is not layer:
            raise ValueError(
                f"Block {block.name!r} ({type(block).__name__}) calls layer {layer.name!r}, which is none of its "
                "attributes; keep each layer that `connect` calls as an attribute of its own."
            )
        index = sum(node.layer is layer for node in nodes)
        nodes.append(Node(layer, keys, (layer.name, index, 0)))
        return nodes[-1].output

    start = ("input", 0, 0)
    output = block.follow(call, start)
    return Graph(tuple(nodes), (start,), (output,))


def _chain(model: keras.Sequential) -> Graph:
    nodes, key = [], ("input", 0, 0)
    for layer in model.layers:
        nodes.append(Node(layer, (key,), (layer.name, 0, 0)))
        key = nodes[-1].output
    return Graph(tuple(nodes), (("input", 0, 0),), (key,))


def _input_layers(model: keras.Model) -> list[str]:
    """The names of the input layers, in the order of `model.inputs`."""
    names = {id(layer.output): layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)}
    return [names[id(tensor)] for tensor in model.inputs]


def _check_call(model: keras.Model, call: Call, keys: dict[int, TensorKey]) -> None:
    """Refuses what a call says beside its tensors, since whoever runs the graph calls the layer with tensors alone."""
    layer = call.operation
    who = f"Model {model.name!r} calls layer {layer.name!r} ({type(layer).__name__})"
    defaults = {name: each.default for name, each in inspect.signature(layer.call).parameters.items()}
    for name, value in call.arguments.items():
        if name == "mask":
            continue
        tensors = list(tensors_in(value))
        if name == "initial_state" and tensors:
            raise ValueError(
                f"{who} with a state to start from (initial_state), which comes from {keys[id(tensors[0])][0]!r}. "
                "Step by step each layer keeps its state to itself, and starts from zero: leave initial_state out, and "
                "let what it is to say come as an input of the layer. An encoder and a decoder run as two models."
            )
        if holds_constant(value):
            raise ValueError(
                f"{who} with an array of numbers as {name!r}, which is no part of its graph; keep it in a layer, such "
                "as keras.layers.Rescaling, or in a weight."
            )
        if not (tensors or value is None or value == defaults.get(name) or (name == "training" and not value)):
            raise ValueError(
                f"{who} with {name}={value!r}; only what a layer does without further arguments can be run from a "
                "graph. Leave the argument out, or make it one of the layer itself."
            )


def _check_states_stay(model: keras.Model, graph: Graph) -> None:
    """Refuses states that recurrent layers hand to others."""
    layers = {node.layer.name: node.layer for node in graph.nodes}
    reads = [(key, f"layer {node.layer.name!r} reads it") for node in graph.nodes for key in node.inputs]
    for (name, _, index), reader in [*reads, *((key, "it is an output") for key in graph.outputs)]:
        if index and getattr(layers.get(name), "return_state", False):
            raise ValueError(
                f"Layer {name!r} ({type(layers[name]).__name__}) of model {model.name!r} gives away its state "
                f"(return_state=True), and {reader}. Step by step each layer keeps its state to itself: use "
                "return_state=False and what the layer gives at its last step (keras_s4.layers.LastStep), which of a "
                "GRU or SimpleRNN is the state. An encoder and a decoder run as two models."
            )


def _ordered(pending: list[Node], known: set[TensorKey]) -> list[Node]:
    ordered = []
    known = {key[:2] for key in known}
    while pending:
        ready = [node for node in pending if known.issuperset(key[:2] for key in node.inputs)]
        if not ready:
            raise ValueError(
                f"The inputs of layer {pending[0].layer.name!r} cannot be traced back to the model's inputs."
            )
        ordered += ready
        known |= {node.output[:2] for node in ready}
        pending = [node for node in pending if node not in ready]
    return ordered


def _value(values: dict[TensorKey, Any], key: TensorKey) -> Any:
    if key not in values:
        name, _, index = key
        raise ValueError(
            f"Output {index} of layer {name!r} is read, but only its first output can be computed here. Build the "
            "model without the others."
        )
    return values[key]
