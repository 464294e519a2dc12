"""The gated recurrent unit with matrices of low rank."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers.low_rank.recurrent import LowRankRNN, SingleStateCell


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankGRUCell(SingleStateCell, keras.layers.GRUCell):
    """One step of `LowRankGRU`; the arguments are the same, but those that concern sequences.

    Input and state: `[B, F]` and `[B, units]`. Output and next state: `[B, units]` both.
    """

    gates = 3

    def _next_state(self, inputs, hidden, training):
        inputs_z, inputs_r, inputs_h = self._input_gates(inputs, training)
        if self.reset_after:
            recurrent = self._recurrent_product(hidden, training, range(3))
            if self.bias is not None:
                recurrent = recurrent + self.bias[1]
            recurrent_z, recurrent_r, recurrent_h = ops.split(recurrent, 3, axis=-1)
        else:
            recurrent_z, recurrent_r = ops.split(self._recurrent_product(hidden, training, range(2)), 2, axis=-1)
        update = self.recurrent_activation(inputs_z + recurrent_z)
        reset = self.recurrent_activation(inputs_r + recurrent_r)
        if self.reset_after:
            recurrent_h = reset * recurrent_h
        else:
            recurrent_h = self._recurrent_product(reset * hidden, training, range(2, 3))
        return update * hidden + (1 - update) * self.activation(inputs_h + recurrent_h)

    def _bias_shape(self):
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _input_gates(self, inputs, training):
        product = self._input_product(inputs, training)
        if self.bias is not None:
            product = product + (self.bias[0] if self.reset_after else self.bias)
        return ops.split(product, 3, axis=-1)


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankGRU(LowRankRNN):
    """`keras.layers.GRU` whose input matrix and recurrent matrix are each whole or of low rank.

    What is factored is the concatenated matrix of the three gates: they share one left factor and have right factors of
    their own. A matrix `[m, 3 units]` of rank r takes `r (m + 3 units)` weights and as many multiply-accumulates a
    step, which is less than the whole matrix takes for ranks below `3 m units / (m + 3 units)`. With
    `reset_after=False` the recurrent left factor is applied twice a step.

    Args:
        units: size of the state and the output.
        rank: the rank of the input matrix `[F, 3 units]`, at most its smaller side; None keeps it whole.
        recurrent_rank: the rank of the recurrent matrix `[units, 3 units]`, at most units; None keeps it whole.
        kwargs: all other arguments of `keras.layers.GRU` but `use_cudnn`, with the same defaults. Kernel and recurrent
            initialisers are those of the full matrix; the factors start as its balanced truncated singular value
            decomposition. Regularisers and constraints of a factored matrix apply to each factor.

    Input: `[B, L, F]`. Output: `[B, units]`, or `[B, L, units]` with `return_sequences`; then the state `[B, units]`
    with `return_state`.

    Raises:
        ValueError: a rank that is neither None nor a whole number of at least 1, or that exceeds a side of its matrix.
    """

    cell_class = LowRankGRUCell
    keras_cell_class = keras.layers.GRUCell
