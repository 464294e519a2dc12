"""A model as what is computed from what, before there is a Keras layer: nodes in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_s4.importers.banks import Bank, SharedBank
from keras_s4.importers.checkpoint import CheckpointError

# Functions of one number each, as PyTorch and Flax name them, and as this package calls them.
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu", "tanh", "sigmoid", "elu", "softplus", "identity")
HEADS = ("softmax", "log_softmax")
POOLINGS = ("mean", "last")


@dataclass(frozen=True)
class Node:
    """One layer.

    Args:
        kind: what `building` makes of it.
        name: of the layer, unique.
        inputs: places of the nodes that it reads; the model's input is node 0.
        values: arrays and settings by name.
        channels: of its output.
        has_time: whether its output is a sequence.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    values: dict[str, Any]
    channels: int
    has_time: bool


class Network:
    """Nodes that are added one behind the other.

    Args:
        features: of the input.
        is_tokens: the input is whole numbers `[B, L]`.
    """

    def __init__(self, features: int, is_tokens: bool = False):
        self.nodes = [Node("input", "input", (), {"is_tokens": is_tokens}, features, True)]

    def add(self, kind: str, name: str, inputs: int | tuple[int, ...], channels: int | None = None, **values) -> int:
        """Adds a node; returns its place."""
        inputs = (inputs,) if isinstance(inputs, int) else inputs
        read = self.nodes[inputs[0]]
        names = {node.name for node in self.nodes}
        name = name.strip(".").replace(".", "_").replace("/", "_") or kind
        unique = next(each for each in (name, *(f"{name}_{count}" for count in range(2, 10_000))) if each not in names)
        has_time = read.has_time and kind not in POOLINGS
        node = Node(kind, unique, inputs, values, read.channels if channels is None else channels, has_time)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def channels(self, place: int) -> int:
        """Channels of a node's output."""
        return self.nodes[place].channels

    def expect(self, place: int, channels: int, name: str) -> None:
        """Refuses a module behind an output of another width.

        Raises:
            ValueError: the widths differ.
        """
        there = self.nodes[place]
        if there.channels != channels:
            raise CheckpointError(
                f"{name} reads {channels} channels, but {there.name!r} before it has {there.channels}."
            )

    def dense(self, name: str, place: int, kernel: np.ndarray, bias: np.ndarray | None) -> int:
        """A matrix `[inputs, outputs]` and an offset."""
        self.expect(place, kernel.shape[0], name)
        return self.add("dense", name, place, kernel.shape[1], kernel=kernel, bias=bias)

    def activation(self, name: str, place: int, function: str) -> int:
        """A function of `ACTIVATIONS` or `HEADS`."""
        return place if function == "identity" else self.add("activation", name, place, function=function)

    def glu(self, name: str, place: int) -> int:
        """The first half of the channels times the sigmoid of the second."""
        if self.channels(place) % 2:
            raise CheckpointError(f"{name}: {self.channels(place)} channels have no two halves.")
        return self.add("glu", name, place, self.channels(place) // 2)

    def bank(self, name: str, place: int, bank: Bank) -> int:
        """Systems, one a channel, the input being repeated for each of its heads; or one system of all channels."""
        if isinstance(bank, SharedBank):
            self.expect(place, bank.channels, name)
            return self.add("shared_bank", name, place, bank=bank)
        heads, rest = divmod(bank.channels, self.channels(place))
        if rest:
            self.expect(place, bank.channels, name)
        if heads > 1:
            place = self.add("concatenate", f"{name}.heads", (place,) * heads, bank.channels)
        return self.add("bank", name, place, bank=bank)

    def residual(self, name: str, first: int, second: int) -> int:
        """The sum of two outputs."""
        self.expect(second, self.channels(first), name)
        return self.add("add", name, (first, second))
