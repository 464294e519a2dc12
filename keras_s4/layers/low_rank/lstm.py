"""The long short-term memory with matrices of low rank."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers.low_rank.recurrent import LowRankCell, LowRankRNN


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankLSTMCell(LowRankCell, keras.layers.LSTMCell):
    """One step of `LowRankLSTM`; the arguments are the same, but those that concern sequences.

    Input: `[B, F]`. States: hidden and carry, `[B, units]` both. Output: `[B, units]`.
    """

    gates = 4

    def call(self, inputs, states, training=False):
        """One step.

        Args:
            inputs: `[B, F]`.
            states: the hidden and the carry state, `[B, units]` both.
            training: whether dropout acts.

        Returns:
            outputs `[B, units]` and the next states.
        """
        hidden, carry = states
        gates = self._input_product(inputs, training) + self._recurrent_product(hidden, training, range(4))
        if self.bias is not None:
            gates = gates + self.bias
        write, forget, candidate, read = ops.split(gates, 4, axis=-1)
        carry = self.recurrent_activation(forget) * carry + self.recurrent_activation(write) * self.activation(
            candidate
        )
        outputs = self.recurrent_activation(read) * self.activation(carry)
        return outputs, [outputs, carry]

    def _initial_bias(self, shape, dtype):
        if not self.unit_forget_bias:
            return super()._initial_bias(shape, dtype)
        return ops.concatenate(
            [
                self.bias_initializer((self.units,), dtype=dtype),
                ops.ones((self.units,), dtype=dtype),
                self.bias_initializer((2 * self.units,), dtype=dtype),
            ]
        )


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankLSTM(LowRankRNN):
    """`keras.layers.LSTM` whose input matrix and recurrent matrix are each whole or of low rank.

    What is factored is the concatenated matrix of the four gates: they share one left factor and have right factors of
    their own. A matrix `[m, 4 units]` of rank r takes `r (m + 4 units)` weights and as many multiply-accumulates a
    step, which is less than the whole matrix takes for ranks below `4 m units / (m + 4 units)`.

    Args:
        units: size of each state and the output.
        rank: the rank of the input matrix `[F, 4 units]`, at most its smaller side; None keeps it whole.
        recurrent_rank: the rank of the recurrent matrix `[units, 4 units]`, at most units; None keeps it whole.
        kwargs: all other arguments of `keras.layers.LSTM` but `use_cudnn`, with the same defaults. Kernel and recurrent
            initialisers are those of the full matrix; the factors start as its balanced truncated singular value
            decomposition. Regularisers and constraints of a factored matrix apply to each factor.

    Input: `[B, L, F]`. Output: `[B, units]`, or `[B, L, units]` with `return_sequences`; then the hidden and the carry
    state, `[B, units]` both, with `return_state`.

    Raises:
        ValueError: a rank that is neither None nor a whole number of at least 1, or that exceeds a side of its matrix.
    """

    cell_class = LowRankLSTMCell
    keras_cell_class = keras.layers.LSTMCell
