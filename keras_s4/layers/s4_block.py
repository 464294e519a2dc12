"""The residual block that S4 models are stacked from."""

from __future__ import annotations

import keras

from keras_s4.checks import choice
from keras_s4.errors import LayerError
from keras_s4.layers.block import Block
from keras_s4.layers.dss import DSS
from keras_s4.layers.low_rank import LowRankDense
from keras_s4.layers.low_rank.factors import check_rank
from keras_s4.layers.quantized.twins import Ranges, twin_of


@keras.saving.register_keras_serializable(package="keras_s4")
class S4Block(Block):
    """`x + dropout(value(z) * sigmoid(gate(z)))` with `z = activation(DSS(normalization(x)))`.

    The normalisation comes first, so that the residual path stays free. Batch normalisation is a fixed gain and offset
    per channel once trained, which costs a device two operations.

    Args:
        dss: N, complex modes per channel of the DSS layer, or a `DSS` layer whose configuration the block takes over.
        activation: between the DSS layer and the gated mixing of channels.
        dropout: fraction of channels that are zeroed, for a whole sequence at a time.
        momentum: the momentum of the batch normalisation's moving averages.
        value_rank: the rank of the matrix of `value`, from 1 to H (see `LowRankDense`); None keeps it whole.
        gate_rank: the rank of the matrix of `gate`.
        gate: "dense", a matrix as that of `value`; "channel", a batch normalisation, so that each channel opens its own
            gate and a step has one matrix less; or None, `x + dropout(value(z))`.

    Raises:
        ValueError: another gate, or a rank that it cannot have.

    Input and output: `[B, L, H]`. Masked steps do not count in the normalisation, and are zeros to the DSS layer.
    """

    def __init__(
        self,
        dss: int | DSS = 32,
        activation="gelu",
        dropout: float = 0.0,
        momentum: float = 0.9,
        value_rank: int | None = None,
        gate_rank: int | None = None,
        gate: str | None = "dense",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if gate is not None:
            choice(gate, f"S4Block {self.name!r} got gate=", ("dense", "channel"))
        self.gate_kind = gate
        self.value_rank = check_rank(self, "value_rank", value_rank, optional=True)
        self.gate_rank = check_rank(self, "gate_rank", gate_rank, optional=True)
        if gate != "dense" and gate_rank is not None:
            raise LayerError(
                f"S4Block {self.name!r} got gate={gate!r} and gate_rank={gate_rank}; only the matrix of "
                'gate="dense" has a rank.'
            )
        self.dropout_rate = dropout
        self.momentum = momentum
        if isinstance(dss, DSS):
            self.dss = DSS.from_config({**dss.get_config(), "name": "dss", "dtype": self.dtype_policy})
        else:
            self.dss = DSS(dss, name="dss", dtype=self.dtype_policy)
        if self.dss.return_state:
            raise LayerError(
                f"S4Block {self.name!r} got a DSS layer with return_state=True; the block returns outputs."
            )
        self.normalization = keras.layers.BatchNormalization(
            momentum=momentum, name="normalization", dtype=self.dtype_policy
        )
        self.activation = keras.layers.Activation(activation, name="activation", dtype=self.dtype_policy)
        self.dropout = keras.layers.SpatialDropout1D(dropout, name="dropout", dtype=self.dtype_policy)
        if gate == "channel":
            self.gate = keras.layers.BatchNormalization(momentum=momentum, name="gate", dtype=self.dtype_policy)
            self.opening = keras.layers.Activation("sigmoid", name="opening", dtype=self.dtype_policy)
        if gate is not None:
            self.product = keras.layers.Multiply(name="product", dtype=self.dtype_policy)
        self.residual = keras.layers.Add(name="residual", dtype=self.dtype_policy)

    def connect(self, call, inputs):
        """`[B, L, H]` to `[B, L, H]`."""
        hidden = call(self.activation, call(self.dss, call(self.normalization, inputs)))
        mixed = call(self.value, hidden)
        if self.gate_kind is not None:
            gate = call(self.gate, hidden)
            mixed = call(self.product, mixed, call(self.opening, gate) if self.gate_kind == "channel" else gate)
        return call(self.residual, inputs, call(self.dropout, mixed))

    def build(self, input_shape):
        """Creates the sublayers' weights for `[B, L, H]` inputs."""
        channels = input_shape[-1]
        if not hasattr(self, "value"):  # Keras tries again where a model that builds its layers in its call is refused
            self.value = self._dense("value", channels, self.value_rank)
            if self.gate_kind == "dense":
                self.gate = self._dense("gate", channels, self.gate_rank, activation="sigmoid")
        self.value_rank = getattr(self.value, "rank", None)
        self.gate_rank = getattr(self.gate, "rank", None) if self.gate_kind == "dense" else None
        super().build(input_shape)

    def mix(self, hidden):
        """Gated mixing of channels, `[..., H]` to `[..., H]`: what comes behind the activation."""
        if self.gate_kind is None:
            return self.value(hidden)
        gate = self.gate(hidden)
        return self.value(hidden) * (self.opening(gate) if self.gate_kind == "channel" else gate)

    def reset_state(self) -> None:
        """Sets the state that a stateful DSS layer carries to zero."""
        self.dss.reset_state()

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "dss": DSS.get_config(self.dss),
            "activation": keras.activations.serialize(self.activation.activation),
            "dropout": self.dropout_rate,
            "momentum": self.momentum,
            "value_rank": self.value_rank,
            "gate_rank": self.gate_rank,
            "gate": self.gate_kind,
        }

    @classmethod
    def from_config(cls, config):
        """The block with a DSS layer of its own."""
        return cls(**{**config, "dss": DSS.from_config(config["dss"])})

    def _dense(self, name: str, units: int, rank: int | None, activation=None) -> keras.layers.Layer:
        arguments = {"activation": activation, "name": name, "dtype": self.dtype_policy}
        if rank is None:
            return keras.layers.Dense(units, **arguments)
        return LowRankDense(units, rank, **arguments)


@keras.saving.register_keras_serializable(package="keras_s4")
class QuantizedS4Block(S4Block):
    """An S4 block of quantised twins as files of version 0.1 describe it; `quantize_aware` makes an `S4Block`.

    Args:
        ranges: scale and zero point by point, those of the sublayers behind "dss/", "activation/", "value/", "gate/".
    """

    def __init__(self, *args, ranges: Ranges | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.ranges = dict(ranges or {})
        # Again, and so behind the others, as the variables of the optimizer in such files are.
        self.dss, self.activation = (self._twin(name, getattr(self, name)) for name in ("dss", "activation"))

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "ranges": dict(self.ranges)}

    def _sublayer(self, name, made):
        return self._twin(name, made) if name in ("value", "gate") else made

    def _twin(self, name: str, layer: keras.layers.Layer) -> keras.layers.Layer:
        prefix = f"{name}/"
        own = {point.removeprefix(prefix): value for point, value in self.ranges.items() if point.startswith(prefix)}
        return twin_of(layer, own) or layer
