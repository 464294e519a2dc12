"""What the recurrent layers of low rank share: the two matrices of a cell, and the layer that runs a cell."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_s4.errors import LayerError
from keras_s4.layers.low_rank.factors import LowRankWeights, check_rank

Tensor = Any


class LowRankCell(LowRankWeights):
    """Mixin that goes before a Keras cell: its input and its recurrent matrix are each whole or factored.

    Arguments, states and dropout masks are those of the Keras cell.

    Args:
        units: size of the state and the output.
        rank: the rank of the input matrix `[F, gates * units]`, at most its smaller side; None keeps it whole.
        recurrent_rank: the rank of the recurrent matrix `[units, gates * units]`, at most units; None keeps it whole.
        kwargs: the other arguments of the Keras cell.

    Raises:
        ValueError: a rank that is neither None nor a whole number of at least 1, or that exceeds a side of its matrix.
    """

    gates: ClassVar[int]

    def __init__(self, units: int, rank: int | None, recurrent_rank: int | None, **kwargs):
        super().__init__(units, **kwargs)
        self.rank = check_rank(self, "rank", rank, optional=True)
        self.recurrent_rank = check_rank(self, "recurrent_rank", recurrent_rank, optional=True)

    @property
    def ranks(self) -> dict[str, int | None]:
        """The ranks of both matrices by their names; None for a whole matrix."""
        return {"kernel": self.rank, "recurrent_kernel": self.recurrent_rank}

    def build(self, input_shape):
        """Creates the weights for `[B, F]` inputs."""
        features = input_shape[-1]
        if features is None:
            raise LayerError(
                f"Layer {self.name!r} got steps of shape {tuple(input_shape)}; expected the last size F to be known."
            )
        width = self.gates * self.units
        self._add_matrix(
            "kernel", (features, width), self.kernel_initializer, self.kernel_regularizer, self.kernel_constraint
        )
        self._add_matrix(
            "recurrent_kernel",
            (self.units, width),
            self.recurrent_initializer,
            self.recurrent_regularizer,
            self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=self._bias_shape(),
                initializer=self._initial_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "rank": self.rank, "recurrent_rank": self.recurrent_rank}

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _initial_bias(self, shape, dtype) -> Tensor:
        return self.bias_initializer(shape, dtype=dtype)

    def _input_product(self, inputs: Tensor, training: bool | None) -> Tensor:
        """Product of inputs `[B, F]` with the input matrix, `[B, gates * units]`."""
        masks = self.get_dropout_mask(inputs) if training and 0.0 < self.dropout < 1.0 else None
        return self._masked_product("kernel", inputs, masks, range(self.gates))

    def _recurrent_product(self, hidden: Tensor, training: bool | None, gates: range) -> Tensor:
        """Product of the state `[B, units]` with the columns of some gates, `[B, len(gates) * units]`."""
        masks = self.get_recurrent_dropout_mask(hidden) if training and 0.0 < self.recurrent_dropout < 1.0 else None
        return self._masked_product("recurrent_kernel", hidden, masks, gates)

    def _masked_product(self, name: str, inputs: Tensor, masks, gates: range) -> Tensor:
        """Keras gives one dropout mask for all gates, or, with recurrent dropout, a list of one a gate."""
        if isinstance(masks, list):
            products = [self._multiply(inputs * masks[gate], name, self._columns(gate, gate + 1)) for gate in gates]
            return ops.concatenate(products, axis=-1)
        if masks is not None:
            inputs = inputs * masks
        return self._multiply(inputs, name, self._columns(gates.start, gates.stop))

    def _columns(self, first_gate: int, end: int) -> slice | None:
        if end - first_gate == self.gates:
            return None
        return slice(first_gate * self.units, end * self.units)


class SingleStateCell(LowRankCell):
    """A `LowRankCell` whose output is its state."""

    def call(self, inputs, states, training=False):
        """One step.

        Args:
            inputs: `[B, F]`.
            states: `[B, units]`, or a list of it.
            training: whether dropout acts.

        Returns:
            outputs `[B, units]` and the next state, in a list if it came in one.
        """
        is_list = keras.tree.is_nested(states)
        outputs = self._next_state(inputs, states[0] if is_list else states, training)
        return outputs, [outputs] if is_list else outputs


class LowRankRNN(keras.layers.RNN):
    """A layer that runs a cell of low rank over sequences, and is created with the arguments of its cell.

    Args:
        units: the units of the cell.
        rank: the rank of its input matrix.
        recurrent_rank: the rank of its recurrent matrix.
        kwargs: the other arguments of the cell, and those of `keras.layers.RNN`.
    """

    cell_class: ClassVar[type[keras.layers.Layer]]
    keras_cell_class: ClassVar[type[keras.layers.Layer]]

    def __init__(self, units: int, rank: int | None, recurrent_rank: int | None, **kwargs):
        cell_arguments = inspect.signature(self.keras_cell_class.__init__).parameters
        cell = self.cell_class(
            units,
            rank,
            recurrent_rank,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            **{name: kwargs.pop(name) for name in cell_arguments if name in kwargs},
        )
        super().__init__(cell, **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    @property
    def units(self) -> int:
        """Size of the state and the output."""
        return self.cell.units

    @property
    def ranks(self) -> dict[str, int | None]:
        """The ranks of both matrices by their names; None for a whole matrix."""
        return self.cell.ranks

    def matrices(self) -> dict[str, np.ndarray]:
        """The full `kernel` and `recurrent_kernel` in float64; see `LowRankWeights.matrices`."""
        return self.cell.matrices()

    def set_matrices(self, **matrices) -> None:
        """Takes over a full `kernel`, `recurrent_kernel` or both; see `LowRankWeights.set_matrices`."""
        self.cell.set_matrices(**matrices)

    def get_config(self):
        """Every argument."""
        config = super().get_config()
        del config["cell"]
        config["activity_regularizer"] = keras.regularizers.serialize(self.activity_regularizer)
        # Layer and cell both have a name, and the layer's counts.
        return {**self.cell.get_config(), **config}

    @classmethod
    def from_config(cls, config):
        """The layer of a configuration; unlike in `keras.layers.RNN` the cell is not an argument."""
        return cls(**config)
