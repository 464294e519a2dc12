"""The layers of a Keras model in the order in which they run, and what feeds what."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
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
        """The layers that read a tensor, those of nested models in place of the models."""
        for node in self.nodes:
            for place, read in enumerate(node.inputs):
                if read == key and isinstance(node.layer, keras.Model):
                    inner = graph_of(node.layer)
                    yield from inner.readers(inner.inputs[place])
                elif read == key:
                    yield node.layer


def graph_of(model: keras.Model) -> Graph:
    """The graph of a functional or sequential model; masks, which Keras passes beside the tensors, are left out.

    Its inputs stand in the order of `model.inputs`.

    Raises:
        ValueError: the model is not built, is a subclassed model, computes something between its layers, or calls a
            layer in a way that has no graph: with a state from elsewhere, with a constant, or as in training. Or a
            layer hands its state to others.
    """
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; give it an Input, or call it on data once.")
    if type(model).call.__module__.split(".")[0] != "keras":
        raise _no_graph(model)
    if isinstance(model, keras.Sequential):
        return _chain(model)
    config = _config_of(model)
    layers = {layer.name: layer for layer in model.layers}
    pending = []
    for entry in config["layers"]:
        if entry["name"] not in layers:
            continue  # one of keras.ops: part of a mask, or else refused below, where it is read
        layer = layers[entry["name"]]
        for index, call in enumerate(entry["inbound_nodes"]):
            arguments = _arguments(layer, call)
            _check_call(model, layer, arguments)
            pending.append(Node(layer, tuple(_histories(layer, list(arguments.values()))), (layer.name, index, 0)))
    described = _keys(config["output_layers"])
    read = [key for node in pending for key in node.inputs] + described
    if between := sorted({name for name, _, _ in read} - set(layers)):
        raise ValueError(
            f"Model {model.name!r} computes {', '.join(between)} between its layers, with keras.ops or operators of "
            f"Python; use layers for that: {_layers_for(between)}."
        )
    outputs = tuple(_as_produced(layers[key[0]], key) for key in described)
    inputs = _input_keys(model, config, layers)
    graph = Graph(tuple(_ordered(pending, set(inputs))), inputs, outputs)
    _check_states_stay(model, graph)
    return graph


def input_names(model: keras.Model) -> tuple[str, ...]:
    """The names by which data for the inputs of a model may be given, in the order of `model.inputs`.

    They are the keys of a model that takes a dict, and otherwise the names of the `keras.Input`s.
    """
    if isinstance(model, keras.Sequential):
        return tuple(tensor.name for tensor in model.inputs)
    if isinstance(model.input, dict):
        return tuple(sorted(model.input))  # as Keras flattens a dict
    names = {id(layer.output): layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)}
    return tuple(names.get(id(tensor), tensor.name) for tensor in model.inputs)


def as_numbered(model: keras.Model, outputs: list) -> list:
    """The outputs of a model's graph in the order in which Keras numbers them: those of a dict by its sorted keys."""
    described = [] if isinstance(model, keras.Sequential) else model.get_config()["output_layers"]
    if isinstance(described, dict):
        by_name = dict(zip(described, outputs, strict=True))
        return [by_name[name] for name in sorted(by_name)]
    return outputs


def _config_of(model: keras.Model) -> dict[str, Any]:
    try:
        config = model.get_config()
    except NotImplementedError:  # what Keras says of subclassed models with arguments of their own
        config = {}
    if "input_layers" not in config:
        raise _no_graph(model)
    return config


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


def _chain(model: keras.Sequential) -> Graph:
    nodes, key = [], ("input", 0, 0)
    for layer in model.layers:
        nodes.append(Node(layer, (key,), (layer.name, 0, 0)))
        key = nodes[-1].output
    return Graph(tuple(nodes), (("input", 0, 0),), (key,))


def _input_keys(model: keras.Model, config: dict, layers: dict[str, keras.layers.Layer]) -> tuple[TensorKey, ...]:
    """The inputs in the order of `model.inputs`, which is not that of a configuration that describes a dict."""
    keys = {id(layers[key[0]].output): key for key in _keys(config["input_layers"])}
    return tuple(keys[id(tensor)] for tensor in model.inputs)


def _arguments(layer: keras.layers.Layer, call: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by their names, as the configuration describes them, without the mask."""
    names = list(inspect.signature(layer.call).parameters)
    # Of a function of any number of arguments only the first have names.
    names += [f"argument {index}" for index in range(len(names), len(call["args"]))]
    arguments = dict(zip(names, call["args"], strict=False)) | call["kwargs"]
    return {name: value for name, value in arguments.items() if name != "mask"}


def _check_call(model: keras.Model, layer: keras.layers.Layer, arguments: dict[str, Any]) -> None:
    """Refuses what a call says beside its tensors, since whoever runs the graph calls the layer with tensors alone."""
    who = f"Model {model.name!r} calls layer {layer.name!r} ({type(layer).__name__})"
    defaults = {name: each.default for name, each in inspect.signature(layer.call).parameters.items()}
    for name, value in arguments.items():
        tensors = _histories(layer, value)
        if name == "initial_state" and tensors:
            raise ValueError(
                f"{who} with a state to start from (initial_state), which comes from {tensors[0][0]!r}. Step by step "
                "each layer keeps its state to itself, and starts from zero: leave initial_state out, and let what it "
                "is to say come as an input of the layer. An encoder and a decoder run as two models."
            )
        if _holds_constant(value):
            raise ValueError(
                f"{who} with an array of numbers as {name!r}, which is no part of its graph; keep it in a layer, such "
                "as keras.layers.Rescaling, or in a weight."
            )
        harmless = value is None or value == defaults.get(name) or (name == "training" and not value)
        if not tensors and not harmless:
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


def _as_produced(layer: keras.layers.Layer, key: TensorKey) -> TensorKey:
    """The key under which a call gives an output of the model.

    Among outputs, but not among inputs of layers, Keras counts the calls of a functional model from 1.
    """
    name, call, output = key
    functional = isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential)
    return (name, call - 1, output) if functional else key


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


def _keys(description) -> list[TensorKey]:
    """Tensor names from a configuration, which holds one `[name, call, output]` or a nest of them."""
    if isinstance(description, (list, tuple)) and len(description) == 3 and isinstance(description[0], str):
        return [tuple(description)]
    values = description.values() if isinstance(description, dict) else description
    return [key for value in values for key in _keys(value)]


def _histories(layer: keras.layers.Layer, argument) -> list[TensorKey]:
    """The tensors in an argument of a call, in the order in which the layer takes them."""
    if isinstance(argument, dict):
        if argument.get("class_name") == "__keras_tensor__":
            return [tuple(argument["config"]["keras_history"])]
        names = input_names(layer) if isinstance(layer, keras.Model) else ()
        names = names if set(names) <= set(argument) and names else sorted(argument)
        argument = [argument[name] for name in names]
    if isinstance(argument, (list, tuple)):
        return [key for value in argument for key in _histories(layer, value)]
    return []


def _holds_constant(argument) -> bool:
    """Whether an argument holds an array, or numbers among tensors."""
    if isinstance(argument, dict):
        kind = argument.get("class_name")
        if kind == "__keras_tensor__":
            return False
        return kind in ("__tensor__", "__numpy__") or any(map(_holds_constant, argument.values()))
    if isinstance(argument, (list, tuple)):
        return any(isinstance(value, (int, float)) or _holds_constant(value) for value in argument)
    return False
