"""The dense layer with a kernel of low rank."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.checks import quote
from keras_s4.errors import LayerError
from keras_s4.layers.low_rank.factors import LowRankWeights, check_rank


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankDense(LowRankWeights, keras.layers.Layer):
    """`activation(inputs @ kernel_left @ kernel_right + bias)`: a dense layer whose kernel has a low rank.

    A kernel `[F, units]` of rank r takes `r (F + units)` weights and as many multiply-accumulates, which is less than
    the `F units` of `keras.layers.Dense` for ranks below `F units / (F + units)`.

    Args:
        units: size of the output.
        rank: the rank of the kernel, from 1 to the smaller of F and units.
        activation: None for none.
        use_bias: whether a bias is added.
        kernel_initializer: the initializer of the full kernel; the factors start as its balanced truncated singular
            value decomposition.
        bias_initializer: the initializer of the bias.
        kernel_regularizer: applies to each factor. Half the L2 penalty of both factors bounds the nuclear norm of the
            kernel from above, and reaches it where they are balanced.
        bias_regularizer: the regularizer of the bias.
        activity_regularizer: the regularizer of the output.
        kernel_constraint: applies to each factor.
        bias_constraint: the constraint of the bias.

    Input: `[B, ..., F]`. Output: `[B, ..., units]`.

    Raises:
        ValueError: units or rank are not whole numbers of at least 1, or the rank exceeds a side of the kernel.
    """

    def __init__(
        self,
        units: int,
        rank: int,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if not isinstance(units, int) or units < 1:
            raise LayerError(
                f"LowRankDense {self.name!r} got units={quote(units)}; expected a whole number of at least 1."
            )
        self.units = units
        self.rank = check_rank(self, "rank", rank, optional=False)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True

    @property
    def ranks(self) -> dict[str, int | None]:
        """The rank of the kernel by its name."""
        return {"kernel": self.rank}

    def build(self, input_shape):
        """Creates the weights for `[B, ..., F]` inputs."""
        features = input_shape[-1]
        if features is None:
            raise LayerError(
                f"LowRankDense {self.name!r} got input of shape {tuple(input_shape)}; expected the last size F to be "
                "known."
            )
        self._add_matrix(
            "kernel",
            (features, self.units),
            self.kernel_initializer,
            self.kernel_regularizer,
            self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs):
        """Two thin products, bias and activation.

        Args:
            inputs: `[B, ..., F]`.

        Returns:
            `[B, ..., units]`.
        """
        outputs = self._multiply(inputs, "kernel")
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        """The input's shape, with `units` at its end."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "units": self.units,
            "rank": self.rank,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }
