"""The simple recurrent layer with matrices of low rank."""

from __future__ import annotations

import keras

from keras_s4.layers.low_rank.recurrent import LowRankRNN, SingleStateCell


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankSimpleRNNCell(SingleStateCell, keras.layers.SimpleRNNCell):
    """One step of `LowRankSimpleRNN`; the arguments are the same, but those that concern sequences.

    Input and state: `[B, F]` and `[B, units]`. Output and next state: `[B, units]` both.
    """

    gates = 1

    def _next_state(self, inputs, hidden, training):
        outputs = self._input_product(inputs, training) + self._recurrent_product(hidden, training, range(1))
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.activation(outputs)


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankSimpleRNN(LowRankRNN):
    """`keras.layers.SimpleRNN` whose input matrix and recurrent matrix are each whole or of low rank.

    A matrix `[m, units]` of rank r takes `r (m + units)` weights and as many multiply-accumulates a step, which is less
    than the whole matrix takes for ranks below `m units / (m + units)`.

    Args:
        units: size of the state and the output.
        rank: the rank of the input matrix `[F, units]`, at most its smaller side; None keeps it whole.
        recurrent_rank: the rank of the recurrent matrix `[units, units]`, at most units; None keeps it whole.
        kwargs: all other arguments of `keras.layers.SimpleRNN`, with the same defaults. Kernel and recurrent
            initialisers are those of the full matrix; the factors start as its balanced truncated singular value
            decomposition. Regularisers and constraints of a factored matrix apply to each factor.

    Input: `[B, L, F]`. Output: `[B, units]`, or `[B, L, units]` with `return_sequences`; then the state `[B, units]`
    with `return_state`.

    Raises:
        ValueError: a rank that is neither None nor a whole number of at least 1, or that exceeds a side of its matrix.
    """

    cell_class = LowRankSimpleRNNCell
    keras_cell_class = keras.layers.SimpleRNNCell
