"""Keras layers."""

from keras_s4.backends import check_backend
from keras_s4.layers import quantized
from keras_s4.layers.block import Block
from keras_s4.layers.diagonal_ssm import DiagonalSSM
from keras_s4.layers.dss import DSS
from keras_s4.layers.dss_cell import DSSCell
from keras_s4.layers.glu import GLU
from keras_s4.layers.last_step import LastStep
from keras_s4.layers.low_rank import (
    LowRankConv1D,
    LowRankDense,
    LowRankGRU,
    LowRankGRUCell,
    LowRankLSTM,
    LowRankLSTMCell,
    LowRankSimpleRNN,
    LowRankSimpleRNNCell,
)
from keras_s4.layers.masked_conv1d import MaskedConv1D
from keras_s4.layers.recent_average import RecentAverage
from keras_s4.layers.s4_block import S4Block
from keras_s4.layers.sliding_average import SlidingAverage
from keras_s4.layers.standardization import Standardization
from keras_s4.layers.state_space import StateSpaceLayer

__all__ = [
    "DSS",
    "GLU",
    "Block",
    "DSSCell",
    "DiagonalSSM",
    "LastStep",
    "LowRankConv1D",
    "LowRankDense",
    "LowRankGRU",
    "LowRankGRUCell",
    "LowRankLSTM",
    "LowRankLSTMCell",
    "LowRankSimpleRNN",
    "LowRankSimpleRNNCell",
    "MaskedConv1D",
    "RecentAverage",
    "S4Block",
    "SlidingAverage",
    "Standardization",
    "StateSpaceLayer",
    "quantized",
]

check_backend()
