"""A network as a Keras model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_s4.importers.activations import gelu_tanh
from keras_s4.importers.banks import DiscreteBank, within_a_turn
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.network import Network, Node
from keras_s4.layers import DSS, GLU, DiagonalSSM, LastStep

layers = keras.layers
Settle = Callable[[], None]


def build_model(network: Network, length: int | None, name: str = "imported") -> keras.Model:
    """The model of a network, with its weights.

    Args:
        network: what is computed.
        length: steps of its sequences; None leaves them open.
        name: of the model.
    """
    first = network.nodes[0]
    tokens = first.values["is_tokens"]
    inputs = keras.Input((length,), dtype="int32") if tokens else keras.Input((length, first.channels))
    outputs: list[Any] = [inputs]
    settle: list[Settle] = []
    for node in network.nodes[1:]:
        output, weights = _MAKERS[node.kind](node, [outputs[place] for place in node.inputs])
        outputs.append(output)
        settle += weights
    model = keras.Model(inputs, outputs[-1], name=name)
    for give in settle:
        give()
    return model


def _weighted(layer: keras.layers.Layer, inputs: Any, weights: list[np.ndarray]) -> tuple[Any, list[Settle]]:
    """A layer's output, and what gives it its weights once the model is made."""
    return layer(inputs), [lambda: layer.set_weights(weights)]


def _plain(layer: keras.layers.Layer, inputs: Any) -> tuple[Any, list[Settle]]:
    return layer(inputs), []


def _with_bias(*weights: np.ndarray | None) -> list[np.ndarray]:
    return [weight for weight in weights if weight is not None]


def _dense(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    kernel, bias = node.values["kernel"], node.values["bias"]
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None, name=node.name)
    return _weighted(layer, inputs[0], _with_bias(kernel, bias))


def _activation(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    function = gelu_tanh if node.values["function"] == "gelu_tanh" else node.values["function"]
    return _plain(layers.Activation(function, name=node.name), inputs[0])


def _layer_normalization(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    layer = layers.LayerNormalization(epsilon=node.values["epsilon"], name=node.name)
    return _weighted(layer, inputs[0], [node.values["gamma"], node.values["beta"]])


def _batch_normalization(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    values = node.values
    affine = values["gamma"] is not None
    layer = layers.BatchNormalization(epsilon=values["epsilon"], center=affine, scale=affine, name=node.name)
    weights = _with_bias(values["gamma"], values["beta"], values["mean"], values["variance"])
    return _weighted(layer, inputs[0], weights)


def _convolution(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    values = node.values
    kernel, bias, padding = values["kernel"], values["bias"], values["padding"]
    before = inputs[0]
    if isinstance(padding, int) and padding:
        before = layers.ZeroPadding1D(padding, name=f"{node.name}_padding")(before)
    layer = layers.Conv1D(
        kernel.shape[2],
        kernel.shape[0],
        strides=values["stride"],
        padding=padding if isinstance(padding, str) else "valid",
        dilation_rate=values["dilation"],
        groups=values["groups"],
        use_bias=bias is not None,
        name=node.name,
    )
    return _weighted(layer, before, _with_bias(kernel, bias))


def _recurrent(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    kind = {"gru": layers.GRU, "lstm": layers.LSTM}[node.kind]
    directions = node.values["directions"]
    layer = kind(node.values["units"], return_sequences=True, name=node.name)
    if len(directions) == 2:
        layer = layers.Bidirectional(layer, name=f"{node.name}_both")
    weights = [each[part] for each in directions for part in ("kernel", "recurrent_kernel", "bias")]
    return _weighted(layer, inputs[0], weights)


def _embedding(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    table = node.values["table"]
    return _weighted(layers.Embedding(*table.shape, name=node.name), inputs[0], [table])


def _bank(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    bank = node.values["bank"]
    double = isinstance(bank, DiscreteBank) and bank.needs_double_precision
    layer = DSS(
        bank.state_size,
        per_channel_poles=True,
        discretization=bank.discretization,
        bidirectional=bank.bidirectional,
        name=node.name,
        dtype="float64" if double else None,
    )

    def settle():
        layer.log_time_step.assign(np.log(bank.time_steps))
        if isinstance(bank, DiscreteBank):
            if double and keras.backend.standardize_dtype(layer.residues.dtype) != "float64":
                raise CheckpointError(f"{node.name} needs double precision, which this backend has switched off.")
            layer.set_system(bank.system)
            return
        poles, weights = bank.poles, bank.weights
        if bank.discretization == "zoh":
            poles, weights = within_a_turn(poles, bank.time_steps, weights)
        layer.log_decay.assign(np.log(-poles.real))
        layer.frequency.assign(poles.imag)
        layer.residues.assign(np.stack([weights.real, weights.imag], axis=-1))
        layer.feedthrough.assign(bank.feedthrough)

    return layer(inputs[0]), [settle]


def _shared_bank(node: Node, inputs: list) -> tuple[Any, list[Settle]]:
    bank = node.values["bank"]
    layer = DiagonalSSM(
        None,
        bank.state_size,
        feedthrough="diagonal",
        discretization=bank.discretization,
        bidirectional=bank.bidirectional,
        name=node.name,
    )

    def settle():
        poles, read = bank.poles, bank.inputs
        if bank.discretization == "zoh":
            poles, read = within_a_turn(poles[:, None], bank.time_steps, read)
            poles = poles[:, 0]
        layer.log_decay.assign(np.log(-poles.real))
        layer.frequency.assign(poles.imag)
        layer.log_time_step.assign(np.log(bank.time_steps))
        layer.input_matrix.assign(np.stack([read.real, read.imag], axis=-1))
        layer.output_matrix.assign(np.stack([bank.outputs.real, bank.outputs.imag], axis=-1))
        layer.feedthrough.assign(bank.feedthrough)

    return layer(inputs[0]), [settle]


_MAKERS: dict[str, Callable[[Node, list], tuple[Any, list[Settle]]]] = {
    "dense": _dense,
    "activation": _activation,
    "layer_normalization": _layer_normalization,
    "batch_normalization": _batch_normalization,
    "convolution": _convolution,
    "gru": _recurrent,
    "lstm": _recurrent,
    "embedding": _embedding,
    "bank": _bank,
    "shared_bank": _shared_bank,
    "glu": lambda node, inputs: _plain(GLU(name=node.name), inputs[0]),
    "add": lambda node, inputs: _plain(layers.Add(name=node.name), inputs),
    "multiply": lambda node, inputs: _plain(layers.Multiply(name=node.name), inputs),
    "concatenate": lambda node, inputs: _plain(layers.Concatenate(name=node.name), inputs),
    "mean": lambda node, inputs: _plain(layers.GlobalAveragePooling1D(name=node.name), inputs[0]),
    "last": lambda node, inputs: _plain(LastStep(name=node.name), inputs[0]),
}
