"""The residual block that S4 models are stacked from."""

from __future__ import annotations

import keras

from keras_s4.checks import choice, is_truth_value, number, quote
from keras_s4.errors import LayerError
from keras_s4.layers.block import Block
from keras_s4.layers.diagonal_ssm import DiagonalSSM
from keras_s4.layers.dss import DSS
from keras_s4.layers.low_rank import LowRankDense
from keras_s4.layers.low_rank.factors import check_rank
from keras_s4.layers.quantized.twins import Ranges, twin_of

# By what a configuration calls them; one that names none is of a DSS layer.
STATE_SPACE_LAYERS = {kind.__name__: kind for kind in (DSS, DiagonalSSM)}


@keras.saving.register_keras_serializable(package="keras_s4")
class S4Block(Block):
    """`x + dropout(value(z) * sigmoid(gate(z)))` with `z = activation(dss(normalization(x)))`.

    `dss` is a `DSS` layer, one system a channel, or a `DiagonalSSM` layer, whose channels share their modes.

    The normalisation comes first, so that the residual path stays free. Batch normalisation is a fixed gain and offset
    per channel once trained, which costs a device two operations. The other forms are those that published models have;
    they cost a device more, since their layers are exported one by one.

    Args:
        dss: N, complex modes per channel of the DSS layer, or a `DSS` or `DiagonalSSM` layer whose configuration the
            block takes over. A `DiagonalSSM` gives as many outputs as it has inputs.
        activation: between the state space layer and the gated mixing of channels.
        dropout: fraction of what is added to x that is zeroed in training.
        momentum: the momentum of the batch normalisation's moving averages.
        value_rank: the rank of the matrix of `value`, from 1 to H (see `LowRankDense`); None keeps it whole.
        gate_rank: the rank of the matrix of `gate`.
        gate: "dense", a matrix as that of `value`, which makes both a gated linear unit (GLU); "channel", a batch
            normalisation, so that each channel opens its own gate and a step has one matrix less; or None,
            `x + dropout(value(z))`.
        mix: "dense", the matrix of `value`; or None, where z itself is gated and added.
        normalization: "batch", "layer", "rms" (the root mean square of the channels of a step), or None.
        post_norm: whether the sum is normalised, in place of x: `normalization(x + ...)`.
        epsilon: added to the variance by the normalisation; None for the default of Keras' layer. PyTorch has 1e-5.
        dropout_of: "channel", whole channels of a sequence, or "element", each value alone.

    Raises:
        ValueError: another gate, mix, normalization or dropout_of, a post_norm without a normalisation, or a rank that
            it cannot have.

    Input and output: `[B, L, H]`. Masked steps do not count in a batch normalisation, and are zeros to the state space
    layer.
    """

    def __init__(
        self,
        dss: int | DSS | DiagonalSSM = 32,
        activation="gelu",
        dropout: float = 0.0,
        momentum: float = 0.9,
        value_rank: int | None = None,
        gate_rank: int | None = None,
        gate: str | None = "dense",
        mix: str | None = "dense",
        normalization: str | None = "batch",
        post_norm: bool = False,
        epsilon: float | None = None,
        dropout_of: str = "channel",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._read_form(gate, mix, normalization, post_norm, epsilon, dropout_of)
        self.value_rank = check_rank(self, "value_rank", value_rank, optional=True)
        self.gate_rank = check_rank(self, "gate_rank", gate_rank, optional=True)
        self._refuse_rank_of_nothing("gate_rank", gate_rank, "gate", gate)
        self._refuse_rank_of_nothing("value_rank", value_rank, "mix", mix)
        self.dropout_rate = dropout
        self.momentum = momentum
        own = {"name": "dss", "dtype": self.dtype_policy}
        if isinstance(dss, tuple(STATE_SPACE_LAYERS.values())):
            self.dss = _kind_of(dss).from_config({**dss.get_config(), **own})
        else:
            self.dss = DSS(dss, **own)
        if self.dss.return_state:
            raise LayerError(
                f"S4Block {self.name!r} got a {_kind_of(self.dss).__name__} layer with return_state=True; the block "
                "returns outputs."
            )
        if normalization is not None:
            self.normalization = self._normalization()
        self.activation = keras.layers.Activation(activation, name="activation", dtype=self.dtype_policy)
        dropout_layer = keras.layers.SpatialDropout1D if dropout_of == "channel" else keras.layers.Dropout
        self.dropout = dropout_layer(dropout, name="dropout", dtype=self.dtype_policy)
        if gate == "channel":
            self.gate = keras.layers.BatchNormalization(momentum=momentum, name="gate", dtype=self.dtype_policy)
            self.opening = keras.layers.Activation("sigmoid", name="opening", dtype=self.dtype_policy)
        if gate is not None:
            self.product = keras.layers.Multiply(name="product", dtype=self.dtype_policy)
        self.residual = keras.layers.Add(name="residual", dtype=self.dtype_policy)

    def handled_as(self) -> tuple[type, ...]:
        """The form with batch normalisation in front and a matrix is known as a whole, the others by their layers."""
        kinds = type(self).__mro__
        if self.normalization_kind == "batch" and not self.post_norm and self.mix_kind is not None:
            return kinds
        return kinds[kinds.index(Block) :]

    def connect(self, call, inputs):
        """`[B, L, H]` to `[B, L, H]`."""
        hidden = inputs
        if self.normalization_kind is not None and not self.post_norm:
            hidden = call(self.normalization, inputs)
        hidden = call(self.activation, call(self.dss, hidden))
        mixed = hidden if self.mix_kind is None else call(self.value, hidden)
        if self.gate_kind is not None:
            gate = call(self.gate, hidden)
            mixed = call(self.product, mixed, call(self.opening, gate) if self.gate_kind == "channel" else gate)
        outputs = call(self.residual, inputs, call(self.dropout, mixed))
        return call(self.normalization, outputs) if self.post_norm else outputs

    def build(self, input_shape):
        """Creates the sublayers' weights for `[B, L, H]` inputs."""
        channels = input_shape[-1]
        if isinstance(self.dss, DiagonalSSM) and self.dss.units not in (None, channels):
            raise LayerError(
                f"S4Block {self.name!r} got a DiagonalSSM layer of units={self.dss.units} and inputs of {channels} "
                "channels, to which its outputs are added; expected as many units, or units=None."
            )
        # Keras tries again where a model that builds its layers in its call is refused.
        if self.mix_kind is not None and not hasattr(self, "value"):
            self.value = self._dense("value", channels, self.value_rank)
        if self.gate_kind == "dense" and not hasattr(self, "gate"):
            self.gate = self._dense("gate", channels, self.gate_rank, activation="sigmoid")
        self.value_rank = getattr(self.value, "rank", None) if self.mix_kind is not None else None
        self.gate_rank = getattr(self.gate, "rank", None) if self.gate_kind == "dense" else None
        super().build(input_shape)

    def mix(self, hidden):
        """Gated mixing of channels, `[..., H]` to `[..., H]`: what comes behind the activation."""
        mixed = hidden if self.mix_kind is None else self.value(hidden)
        if self.gate_kind is None:
            return mixed
        gate = self.gate(hidden)
        return mixed * (self.opening(gate) if self.gate_kind == "channel" else gate)

    def reset_state(self) -> None:
        """Sets the state that its stateful layer carries to zero."""
        self.dss.reset_state()

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Every argument."""
        kind = _kind_of(self.dss)
        dss = kind.get_config(self.dss)
        return {
            **super().get_config(),
            "dss": dss if kind is DSS else {"class_name": kind.__name__, "config": dss},
            "activation": keras.activations.serialize(self.activation.activation),
            "dropout": self.dropout_rate,
            "momentum": self.momentum,
            "value_rank": self.value_rank,
            "gate_rank": self.gate_rank,
            "gate": self.gate_kind,
            "mix": self.mix_kind,
            "normalization": self.normalization_kind,
            "post_norm": self.post_norm,
            "epsilon": self.epsilon,
            "dropout_of": self.dropout_of,
        }

    @classmethod
    def from_config(cls, config):
        """The block with a state space layer of its own."""
        dss = config["dss"]
        if "class_name" in dss:
            layer = STATE_SPACE_LAYERS[dss["class_name"]].from_config(dss["config"])
        else:
            layer = DSS.from_config(dss)
        return cls(**{**config, "dss": layer})

    def _read_form(self, gate, mix, normalization, post_norm, epsilon, dropout_of) -> None:
        who = f"S4Block {self.name!r} got"
        if gate is not None:
            choice(gate, f"{who} gate=", ("dense", "channel"))
        if mix is not None:
            choice(mix, f"{who} mix=", ("dense",))
        if normalization is not None:
            choice(normalization, f"{who} normalization=", ("batch", "layer", "rms"))
        choice(dropout_of, f"{who} dropout_of=", ("channel", "element"))
        if not is_truth_value(post_norm):
            raise LayerError(f"{who} post_norm={quote(post_norm)}; expected True or False.")
        if post_norm and normalization is None:
            raise LayerError(
                f'{who} post_norm=True and normalization=None; expected "batch", "layer" or "rms" with it.'
            )
        self.gate_kind, self.mix_kind, self.normalization_kind = gate, mix, normalization
        self.post_norm, self.dropout_of = bool(post_norm), dropout_of
        self.epsilon = None if epsilon is None else number(epsilon, f"{who} epsilon=", 0.0)

    def _refuse_rank_of_nothing(self, name: str, rank: int | None, owner: str, kind: str | None) -> None:
        if rank is not None and kind != "dense":
            raise LayerError(
                f"S4Block {self.name!r} got {owner}={kind!r} and {name}={rank}; only the matrix of "
                f'{owner}="dense" has a rank.'
            )

    def _normalization(self) -> keras.layers.Layer:
        arguments = {"name": "normalization", "dtype": self.dtype_policy}
        if self.epsilon is not None:
            arguments["epsilon"] = self.epsilon
        if self.normalization_kind == "batch":
            return keras.layers.BatchNormalization(momentum=self.momentum, **arguments)
        if self.normalization_kind == "layer":
            return keras.layers.LayerNormalization(**arguments)
        return keras.layers.RMSNormalization(**arguments)

    def _dense(self, name: str, units: int, rank: int | None, activation=None) -> keras.layers.Layer:
        arguments = {"activation": activation, "name": name, "dtype": self.dtype_policy}
        if rank is None:
            return keras.layers.Dense(units, **arguments)
        return LowRankDense(units, rank, **arguments)


def _kind_of(layer: keras.layers.Layer) -> type[DSS] | type[DiagonalSSM]:
    """The class of a state space layer, of a twin of it as well."""
    return next(kind for kind in STATE_SPACE_LAYERS.values() if isinstance(layer, kind))


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
