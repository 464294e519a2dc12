"""What the kinds of networks are stacked from: each takes steps `[B, L, F]` and gives steps `[B, T, width]`."""

from __future__ import annotations

import keras

from keras_s4 import initializers, layers
from keras_s4.architectures.architecture import Architecture

_RECURRENT = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


def add_s4_block(architecture: Architecture, index: int, hidden: keras.KerasTensor) -> keras.KerasTensor:
    """An S4 block, behind an average of steps where the stack runs slower than its input."""
    rank, gate = architecture.rank, architecture.gate
    hidden = _average_steps(architecture, index, hidden)
    return layers.S4Block(
        _states_of(architecture),
        activation=architecture.activation,
        dropout=architecture.dropout,
        value_rank=rank,
        gate_rank=rank if gate == "dense" else None,
        gate=gate,
        name=f"block_{index + 1}",
    )(hidden)


def _states_of(architecture: Architecture) -> layers.DSS | layers.DiagonalSSM:
    """A layer of modes for each channel, or of one bank of modes for all."""
    states = architecture.states
    time_steps = architecture.time_steps and initializers.LogUniform(*architecture.time_steps)
    if architecture.shared_modes:
        return layers.DiagonalSSM(None, states, architecture.feedthrough, time_step_initializer=time_steps)
    return layers.DSS(states, time_step_initializer=time_steps)


def add_recurrent(architecture: Architecture, index: int, hidden: keras.KerasTensor) -> keras.KerasTensor:
    """A recurrent layer that gives all steps."""
    hidden = _average_steps(architecture, index, hidden)
    units, arguments = architecture.width, {"return_sequences": True, "name": f"block_{index + 1}"}
    if architecture.kind == "rnn":
        return layers.LowRankSimpleRNN(units, None, architecture.rank, **arguments)(hidden)
    return _RECURRENT[architecture.kind](units, **arguments)(hidden)


def add_separable(architecture: Architecture, index: int, hidden: keras.KerasTensor) -> keras.KerasTensor:
    """A depthwise-separable convolution of past steps, normalised and rectified."""
    name, kernel = f"block_{index + 1}", architecture.kernel
    stride = architecture.downsample if index else 1
    padded = keras.layers.ZeroPadding1D((kernel - 1, 0), name=f"{name}_past")(hidden)
    convolve = keras.layers.SeparableConv1D(architecture.width, kernel, stride, use_bias=False, name=name)
    return rectify(convolve(padded), name)


def add_dilated(architecture: Architecture, index: int, hidden: keras.KerasTensor) -> keras.KerasTensor:
    """A causal convolution of steps that lie `2**index` apart, added to what it reads."""
    name = f"block_{index + 1}"
    hidden = _average_steps(architecture, index, hidden)
    convolve = keras.layers.Conv1D(
        architecture.width, architecture.kernel, padding="causal", dilation_rate=2**index, use_bias=False, name=name
    )
    return keras.layers.Add(name=f"{name}_residual")([hidden, rectify(convolve(hidden), name)])


def rectify(hidden: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation and ReLU."""
    hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(hidden)
    return keras.layers.ReLU(name=f"{name}_activation")(hidden)


def _average_steps(architecture: Architecture, index: int, hidden: keras.KerasTensor) -> keras.KerasTensor:
    steps = architecture.downsample
    if index == 0 or steps == 1:
        return hidden
    if hidden.shape[1] is not None and hidden.shape[1] < steps:
        raise ValueError(
            f"{architecture} has {hidden.shape[1]} steps left in front of block {index + 1}, of which it averages "
            f"{steps}. Choose a smaller stride of the front, a smaller downsample, or fewer blocks."
        )
    return keras.layers.AveragePooling1D(steps, name=f"downsample_{index}")(hidden)
