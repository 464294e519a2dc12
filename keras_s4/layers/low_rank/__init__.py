"""Layers whose weight matrices are products of two thin factors, at ranks of one's choice."""

from keras_s4.layers.low_rank.conv1d import LowRankConv1D
from keras_s4.layers.low_rank.dense import LowRankDense
from keras_s4.layers.low_rank.gru import LowRankGRU, LowRankGRUCell
from keras_s4.layers.low_rank.lstm import LowRankLSTM, LowRankLSTMCell
from keras_s4.layers.low_rank.simple_rnn import LowRankSimpleRNN, LowRankSimpleRNNCell

__all__ = [
    "LowRankConv1D",
    "LowRankDense",
    "LowRankGRU",
    "LowRankGRUCell",
    "LowRankLSTM",
    "LowRankLSTMCell",
    "LowRankSimpleRNN",
    "LowRankSimpleRNNCell",
]
