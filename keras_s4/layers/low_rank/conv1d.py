"""The convolution over time with a kernel of low rank."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.checks import quote
from keras_s4.errors import LayerError
from keras_s4.layers.low_rank.factors import LowRankWeights, check_rank


@keras.saving.register_keras_serializable(package="keras_s4")
class LowRankConv1D(LowRankWeights, keras.layers.Layer):
    """`keras.layers.Conv1D` whose kernel has a low rank: a convolution with few filters, then a product at every step.

    The kernel is seen as the matrix `[kernel_size * F, filters]`. At rank r it takes `r (kernel_size * F + filters)`
    weights and as many multiply-accumulates an output, which is less than the whole kernel takes for ranks below
    `m n / (m + n)`, m and n being the sides of the matrix.

    Args:
        filters: size of the output at every step.
        kernel_size: steps that an output depends on.
        rank: the rank of the kernel, from 1 to the smaller side of its matrix.
        strides: steps from one output to the next.
        padding: "valid", "same" or "causal".
        data_format: "channels_last" or "channels_first"; by default the one in the Keras configuration.
        dilation_rate: steps from one input of an output to the next.
        activation: None for none.
        use_bias: whether a bias is added.
        kernel_initializer: the initializer of the full kernel `[kernel_size, F, filters]`; the factors start as its
            balanced truncated singular value decomposition.
        bias_initializer: the initializer of the bias.
        kernel_regularizer: applies to each factor; see `LowRankDense`.
        bias_regularizer: the regularizer of the bias.
        activity_regularizer: the regularizer of the output.
        kernel_constraint: applies to each factor.
        bias_constraint: the constraint of the bias.

    Input: `[B, L, F]`. Output: `[B, T, filters]`, with T as in `keras.layers.Conv1D`.

    Raises:
        ValueError: rank is not a whole number of at least 1 or exceeds a side of the kernel's matrix, or
            `keras.layers.Conv1D` refuses an argument.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int],
        rank: int,
        strides: int | tuple[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int] = 1,
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
        rank = check_rank(self, "rank", rank, optional=False)
        if not isinstance(padding, str):
            raise LayerError(
                f"LowRankConv1D {self.name!r} got padding={quote(padding)}; expected 'valid', 'same' or 'causal'."
            )
        # Checks the arguments, and brings them into the form that they have in Keras.
        whole = keras.layers.Conv1D(filters, kernel_size, strides, padding, data_format, dilation_rate, name=self.name)
        self.filters = whole.filters
        self.kernel_size = whole.kernel_size
        self.rank = rank
        self.strides = whole.strides
        self.padding = whole.padding
        self.data_format = whole.data_format
        self.dilation_rate = whole.dilation_rate
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.input_spec = keras.layers.InputSpec(ndim=3)

    @property
    def ranks(self) -> dict[str, int | None]:
        """The rank of the kernel by its name."""
        return {"kernel": self.rank}

    def build(self, input_shape):
        """Creates the weights for `[B, L, F]` inputs."""
        axis = -1 if self.data_format == "channels_last" else 1
        features = input_shape[axis]
        if features is None:
            raise LayerError(
                f"LowRankConv1D {self.name!r} got input of shape {tuple(input_shape)}; expected the number of features "
                "to be known."
            )
        kernel_shape = (*self.kernel_size, features, self.filters)
        self._add_matrix(
            "kernel",
            (self.kernel_size[0] * features, self.filters),
            lambda shape, dtype: ops.reshape(self.kernel_initializer(kernel_shape, dtype=dtype), shape),
            self.kernel_regularizer,
            self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={axis: features})

    def call(self, inputs):
        """Convolution with `rank` filters, product with the right factor, bias and activation.

        Args:
            inputs: `[B, L, F]`.

        Returns:
            `[B, T, filters]`.
        """
        if self.padding != "causal":
            return self.slide(inputs, self.padding)
        front = ((self.kernel_size[0] - 1) * self.dilation_rate[0], 0)
        time_first = self.data_format == "channels_last"
        return self.slide(ops.pad(inputs, ((0, 0), front, (0, 0)) if time_first else ((0, 0), (0, 0), front)))

    def slide(self, inputs, padding: str = "valid"):
        """The layer with another padding than its own: by default none, as a stream needs it."""
        left, right = (ops.cast(factor, self.compute_dtype) for factor in (self.kernel_left, self.kernel_right))
        hidden = ops.conv(
            inputs,
            ops.reshape(left, (*self.kernel_size, -1, self.rank)),
            strides=list(self.strides),
            padding=padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        outputs = ops.conv(hidden, ops.expand_dims(right, 0), data_format=self.data_format)
        if self.bias is not None:
            shape = (1, 1, -1) if self.data_format == "channels_last" else (1, -1, 1)
            outputs = ops.add(outputs, ops.reshape(ops.cast(self.bias, self.compute_dtype), shape))
        return self.activation(outputs)

    def compute_output_shape(self, input_shape):
        """As in `keras.layers.Conv1D`."""
        whole = keras.layers.Conv1D(
            self.filters,
            self.kernel_size,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
            name=self.name,  # a name of its own would be taken from the layers to come
        )
        return whole.compute_output_shape(input_shape)

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "rank": self.rank,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
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
