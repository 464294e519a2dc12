"""Every call that a functional model makes of its layers, with its arguments, as Keras makes them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer, or of one of `keras.ops`.

    Attributes:
        operation: the layer or operation.
        arguments: values by name; tensors are `keras.KerasTensor`s.
        outputs: the tensors that it gives.
    """

    operation: keras.Operation
    arguments: dict[str, Any]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def is_of_layer(self) -> bool:
        """Whether a layer is called."""
        return isinstance(self.operation, keras.layers.Layer)

    def reads(self) -> Iterator[keras.KerasTensor]:
        """The tensors among the arguments but the mask, in the order in which the operation takes them."""
        for name, value in self.arguments.items():
            if name != "mask":
                yield from tensors_in(value, self.operation)


@dataclasses.dataclass(frozen=True)
class Calls:
    """A functional model as its calls.

    Attributes:
        calls: all calls, in an order in which they can be made.
        inputs: tensors, in the order of `model.inputs`.
        outputs: tensors, in the order in which the model describes them.
    """

    calls: tuple[Call, ...]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def calls_of(model: keras.Model) -> Calls:
    """The calls of a functional model. Nothing is computed, and the model and its layers stay as they are.

    Args:
        model: functional, built.
    """
    calls: list[Call] = []

    def note(operation: keras.Operation, *args, **kwargs):
        outputs = _StandIn(operation, len(calls))(*args, **kwargs)
        calls.append(Call(operation, _by_name(operation, args, kwargs), tuple(keras.tree.flatten(outputs))))
        return outputs

    # Of its tensors alone, as Keras would compile a copy of a compiled model, which asks for its own losses by name.
    bare = keras.Model(model.inputs, model.output)
    copy = keras.models.clone_model(bare, clone_function=lambda operation: operation, call_function=note)
    places = {id(operation): place for place, operation in enumerate(model.operations)}
    calls.sort(key=lambda call: places[id(call.operation)])
    return Calls(tuple(calls), tuple(copy.inputs), tuple(tensors_in(copy.output)))


class _StandIn(keras.Operation):
    """Is called in the place of an operation, so that the model's own have no calls more than before."""

    def __init__(self, operation: keras.Operation, number: int):
        super().__init__(name=f"call_{number}")
        self._operation = operation

    def compute_output_spec(self, *args, **kwargs):
        return self._operation.compute_output_spec(*args, **kwargs)


def tensors_in(value: Any, taker: keras.Operation | None = None) -> Iterator[keras.KerasTensor]:
    """The tensors in a nest of lists and dicts.

    Args:
        value: the nest.
        taker: an operation that it is an argument of, in whose order the tensors of a dict then stand.
    """
    if isinstance(value, keras.KerasTensor):
        yield value
    elif isinstance(value, dict):
        names = list(value) if taker is None else _names_in_order(value, taker)
        yield from tensors_in([value[name] for name in names], taker)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each, taker)


def holds_constant(value: Any) -> bool:
    """Whether an argument holds an array, or numbers in a list."""
    if isinstance(value, keras.KerasTensor):
        return False
    if isinstance(value, dict):
        return any(map(holds_constant, value.values()))
    if isinstance(value, (list, tuple)):
        return any(isinstance(each, (int, float)) or holds_constant(each) for each in value)
    return isinstance(value, (np.ndarray, np.generic)) or keras.ops.is_tensor(value)


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


def output_names(model: keras.Model) -> list[str] | None:
    """The keys of a functional model that gives a dict, in the order in which it was described; None of another."""
    described = None if isinstance(model, keras.Sequential) else model.output
    return list(described) if isinstance(described, dict) else None


def _names_in_order(value: dict, taker: keras.Operation) -> list[str]:
    names = input_names(taker) if isinstance(taker, keras.Model) else ()
    return list(names) if names and set(names) <= set(value) else sorted(value)


def _by_name(operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    names = list(inspect.signature(operation.call).parameters)
    # Of a function of any number of arguments only the first have names.
    names += [f"argument {index}" for index in range(len(names), len(args))]
    return dict(zip(names, args, strict=False)) | kwargs
