"""Random models from a seed that mix the layers that can be exported: what fuzzing the exporter needs.

All have random weights, of a size at which activations use their ranges; random data for them comes along, and a format
to convert them to. Everything drawn can be exported: what the exporter refuses is tested elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_s4 import layers
from keras_s4.testing.gated_residual import GatedResidual
from keras_s4.testing.timed_sequence import Sequence
from keras_s4.tflite.lowering.formats import layer_paths

ACTIVATIONS = ("linear", "relu", "gelu", "tanh", "sigmoid", "silu", "elu", "softplus", "hard_sigmoid", "leaky_relu")
LARGEST_WIDTH, LARGEST_DEPTH = 8, 4
# Steps of a sequence: multiples of many strides.
LENGTHS = (12, 24, 30, 36)
LARGEST_BLOCK = 12
TOKENS = 20
STREAMS = 6


class RandomModel(NamedTuple):
    """What a seed gives.

    Args:
        model: a functional model of one or two inputs and one or two outputs.
        data: for each input an array `[B, L, features]`, or token numbers `[B, L]`.
        format: the arguments `activations`, `states` and `steps` of `keras_s4.tflite.convert`.
    """

    model: keras.Model
    data: list[np.ndarray]
    format: dict[str, Any]


@dataclasses.dataclass
class Architect:
    """Draws layers; every drawing is from one random generator.

    Args:
        random: the generator.
        length: samples of a sequence.
        period: samples after which the pattern of dropped steps repeats, of all that was drawn so far.
    """

    random: np.random.Generator
    length: int
    period: int = 1

    def choice(self, options):
        """One of the options."""
        return options[int(self.random.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """Whether something happens that happens so often."""
        return bool(self.random.random() < probability)

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.random.integers(low, high + 1))

    def width(self) -> int:
        """A number of channels."""
        return self.between(2, LARGEST_WIDTH)

    def activation(self) -> str:
        """The name of an activation."""
        return self.choice(ACTIVATIONS)

    def rank(self, *sides: int) -> int:
        """A rank of a matrix with these sides."""
        return self.between(1, min(sides))

    def dss(self, **arguments) -> layers.DSS:
        """A DSS layer with a kernel, a state size and a range of time steps."""
        return layers.DSS(
            self.between(1, 6),
            kernel=self.choice(("exp", "softmax", "clip")),
            per_channel_poles=self.chance(0.5),
            training_length=self.length,
            **arguments,
        )

    def shared_modes(self, channels: int, in_block: bool = False) -> layers.DiagonalSSM:
        """A layer whose channels share their modes, in a block of as many outputs as it has inputs."""
        feedthrough = self.choice(("full", "diagonal", None))
        units = channels if in_block or feedthrough == "diagonal" else self.width()
        return layers.DiagonalSSM(units, self.between(1, 8), feedthrough)

    def stepwise(self, channels: int) -> keras.layers.Layer:
        """A layer from `[B, .., channels]` to `[B, .., ...]` that looks at each step alone."""
        plain = keras.layers
        drawings = (
            lambda: plain.Dense(self.width(), activation=self.activation()),
            lambda: plain.Dense(self.width(), activation=self.activation(), use_bias=False),
            lambda: layers.LowRankDense(width := self.width(), self.rank(channels, width), self.activation()),
            lambda: self.choice((plain.LayerNormalization, plain.RMSNormalization, plain.UnitNormalization))(),
            lambda: plain.BatchNormalization(),
            lambda: plain.Normalization(mean=self.random.normal(), variance=self.random.uniform(0.5, 2.0)),
            lambda: plain.Activation(self.activation()),
            lambda: self.choice((plain.ReLU, plain.LeakyReLU, plain.ELU))(),
            lambda: plain.Rescaling(self.random.uniform(0.5, 2.0), self.random.normal()),
            lambda: self.choice(
                (plain.Dropout, plain.AlphaDropout, plain.GaussianDropout, plain.GaussianNoise, plain.SpatialDropout1D)
            )(0.1),
            lambda: self.choice((plain.Identity, plain.ActivityRegularization))(),
            lambda: layers.Standardization(invert=self.chance(0.5)),
            lambda: plain.Dense(self.width(), self.activation()) if channels % 2 else layers.GLU(),
        )
        return self.choice(drawings)()

    def in_sequence(self, channels: int) -> keras.layers.Layer:
        """As `stepwise`, but only for sequences of vectors."""
        plain = keras.layers
        drawings = (
            lambda: plain.PReLU(shared_axes=[1]),
            lambda: plain.Permute((1, 2)),
            lambda: plain.TimeDistributed(plain.Dense(self.width(), activation=self.activation())),
            lambda: plain.TimeDistributed(self.vector_model(channels)),
        )
        return self.choice(drawings)()

    def recurrent(self, channels: int, return_sequences: bool) -> keras.layers.Layer:
        """A recurrent layer, of full or of low rank, or a stack of cells."""
        width, plain = self.width(), keras.layers
        options: dict[str, Any] = {"return_sequences": return_sequences}
        ranks = self.rank(channels, width), self.rank(width)
        drawings = (
            lambda: plain.SimpleRNN(width, activation=self.choice(("tanh", "relu", "sigmoid")), **options),
            lambda: plain.GRU(width, reset_after=self.chance(0.5), activation=self.activation(), **options),
            lambda: plain.LSTM(width, recurrent_activation=self.choice(("sigmoid", "hard_sigmoid")), **options),
            lambda: layers.LowRankSimpleRNN(width, *ranks, **options),
            lambda: layers.LowRankGRU(width, *ranks, **options),
            lambda: layers.LowRankLSTM(width, *ranks, **options),
            lambda: plain.RNN(plain.StackedRNNCells([plain.GRUCell(width), plain.LSTMCell(self.width())]), **options),
        )
        return self.choice(drawings)()

    def with_memory(self, channels: int) -> keras.layers.Layer:
        """A layer from `[B, L, channels]` to `[B, L, ...]` whose memory has no end."""
        ranks = self.rank(channels), self.rank(channels)
        drawings = (
            lambda: self.dss(),
            lambda: self.shared_modes(channels),
            lambda: layers.S4Block(self.dss(), activation=self.activation()),
            lambda: layers.S4Block(self.dss(), value_rank=ranks[0], gate_rank=ranks[1]),
            lambda: layers.S4Block(self.dss(), **self.form()),
            lambda: layers.S4Block(self.shared_modes(channels, in_block=True), **self.form()),
            lambda: GatedResidual(self.dss(), channels),
            lambda: self.recurrent(channels, return_sequences=True),
            lambda: self.recurrent(channels, return_sequences=True),
        )
        return self.choice(drawings)()

    def form(self) -> dict:
        """Of an S4 block, other than the usual one."""
        return {
            "normalization": self.choice(("batch", "layer", "rms")),
            "post_norm": self.choice((False, True)),
            "gate": self.choice(("dense", "channel", None)),
            "mix": self.choice(("dense", None)),
        }

    def stride(self, sequence: Sequence) -> int:
        """Of a layer that may drop steps: what is left is a whole number of values, and not too few."""
        whole = self.length // sequence.period
        return self.choice([1, 1] + [stride for stride in (2, 3, 4) if whole % stride == 0 and whole // stride >= 3])

    def over_time(self, sequence: Sequence) -> Sequence:
        """A convolution or pooling over a few steps, or two of them side by side, that may drop steps."""
        stride = self.stride(sequence)
        size, dilation = self.between(1, 4), 1 if stride > 1 else self.between(1, 2)
        span = (size - 1) * dilation + 1
        if sequence.length < span + 2 * stride:
            return sequence.through(self.stepwise(sequence.channels))
        delay = span - 1
        options = sequence.channels, size, stride, dilation
        convolutions = [self.convolution(*options, "valid") for _ in range(2)]
        if not sequence.phase and self.chance(0.7):
            # A full window from the first step on, or from a later one.
            front = span - 1 if self.chance(0.7) else self.between(0, span - 1)
            delay -= front
            padding = keras.layers.ZeroPadding1D((front, 0))
            results = [sequence.through(padding, each).tensor for each in convolutions] if front else []
            if not delay and self.chance(0.6):
                results = [sequence.through(self.convolution(*options, "causal")).tensor]
        else:
            pooling = self.choice((keras.layers.AveragePooling1D, keras.layers.MaxPooling1D))
            poolings = [pooling(size, strides=stride)] if dilation == 1 else []
            results = [sequence.through(each).tensor for each in (*poolings, convolutions[0])]
        results = results or [sequence.through(convolutions[0]).tensor]
        tensor = self.merge(*results[:2]) if len(results) > 1 and self.chance(0.4) else self.choice(results)
        self.period = math.lcm(self.period, sequence.period * stride)
        return Sequence(tensor, (sequence.phase + delay) // stride, sequence.period * stride)

    def convolution(self, channels: int, size: int, stride: int, dilation: int, padding: str) -> keras.layers.Layer:
        """A convolution over time; causal ones mix the channels."""
        width, options = self.width(), {"strides": stride, "dilation_rate": dilation, "padding": padding}
        options["activation"] = self.activation()
        drawings = [
            lambda: keras.layers.Conv1D(width, size, **options),
            lambda: layers.LowRankConv1D(width, size, self.rank(size * channels, width), **options),
        ]
        if padding == "valid":
            drawings += [
                lambda: keras.layers.SeparableConv1D(width, size, depth_multiplier=self.between(1, 2), **options),
                lambda: keras.layers.DepthwiseConv1D(size, depth_multiplier=self.between(1, 2), **options),
            ]
        return self.choice(drawings)()

    def crop(self, sequence: Sequence) -> Sequence:
        """Without its first values."""
        count = self.between(1, 2)
        if sequence.length < 4 + count:
            return sequence
        cropped = sequence.through(keras.layers.Cropping1D((count, 0)))
        return dataclasses.replace(cropped, phase=sequence.phase + count)

    def of_two_axes(self, sequence: Sequence) -> Sequence:
        """Steps that are matrices for a while."""
        rows, width = self.between(2, 3), self.between(1, 4)
        layer = self.stepwise(width)
        stack = [] if isinstance(layer, keras.layers.SpatialDropout1D) else [layer]
        wide = sequence.through(keras.layers.Dense(rows * width), keras.layers.Reshape((-1, rows, width)), *stack)
        if self.chance(0.5):  # each row with one value that all its channels share
            wide = dataclasses.replace(wide, tensor=self.merge_alike(wide.tensor, keras.layers.Dense(1)(wide.tensor)))
        return wide.through(keras.layers.Reshape((-1, rows * wide.channels)))

    def nest(self, sequence: Sequence) -> Sequence:
        """A model as a layer."""
        start = keras.Input(sequence.tensor.shape[1:])
        inner = self.draw_layer(dataclasses.replace(sequence, tensor=start))
        inner = inner.through(keras.layers.Dense(self.width()))
        return dataclasses.replace(inner, tensor=keras.Model(start, inner.tensor)(sequence.tensor))

    def vector_model(self, channels: int) -> keras.Model:
        """A model that maps vectors, through matrices that meet vectors: tensors of different numbers of axes."""
        start = keras.Input((channels,))
        rows, width = self.between(2, 3), self.width()
        matrix = keras.layers.Reshape((rows, width))(keras.layers.Dense(rows * width)(start))
        vector = keras.layers.Dense(width, activation=self.activation())(start)
        pair = [matrix, vector] if self.chance(0.5) else [vector, matrix]
        kind = self.choice(("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"))
        both = getattr(keras.layers, kind)()(pair)
        return keras.Model(start, keras.layers.Flatten()(both))

    def merge_alike(self, x, y):
        """Two tensors of equal shape, or of which one is broadcast, as one."""
        kind = self.choice(("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"))
        return getattr(keras.layers, kind)()([x, y])

    def merge(self, x, y):
        """Two tensors `[B, .., H]` as one."""
        if self.chance(0.2):
            return keras.layers.Concatenate()([x, y])
        if x.shape[-1] != y.shape[-1]:
            y = keras.layers.Dense(self.choice((1, x.shape[-1])))(y)
        return self.merge_alike(x, y)

    def call_twice(self, sequence: Sequence) -> Sequence:
        """One layer that is called twice."""
        layer = self.stepwise(sequence.channels) if sequence.phase else self.with_memory(sequence.channels)
        other = keras.layers.Dense(sequence.channels)(sequence.tensor)
        tensor = keras.layers.Concatenate()([layer(sequence.tensor), layer(other)])
        return dataclasses.replace(sequence, tensor=tensor)

    def draw_layer(self, sequence: Sequence) -> Sequence:
        """One layer, of any kind that can stand here."""
        kinds = [
            lambda: sequence.through(self.stepwise(sequence.channels)),
            lambda: sequence.through(self.in_sequence(sequence.channels)),
            lambda: self.over_time(sequence),
        ]
        if not sequence.phase:
            kinds += [lambda: sequence.through(self.with_memory(sequence.channels))] * 2
        return self.choice(kinds)()

    def draw_sequence(self, sequence: Sequence, depth: int) -> Sequence:
        """Some layers, sometimes with a branch beside them."""
        rare = (self.crop, self.of_two_axes, self.nest, self.call_twice)
        for _ in range(depth):
            following = self.choice(rare)(sequence) if self.chance(0.2) else self.draw_layer(sequence)
            if following.keeps_pace_with(sequence) and self.chance(0.3):
                following = dataclasses.replace(following, tensor=self.merge(sequence.tensor, following.tensor))
            sequence = following
        return sequence

    def recent_average(self, channels: int, **arguments) -> layers.RecentAverage:
        """With one time constant or one for each channel, of up to 12 steps."""
        several = self.chance(0.5)
        steps = self.random.uniform(0.5, 12.0, channels if several else 1)
        return layers.RecentAverage(steps.tolist() if several else float(steps[0]), per_channel=several, **arguments)

    def sliding_average(self, length: int, **arguments) -> layers.SlidingAverage:
        """Over up to 4 hops, of which at least one fits a sequence."""
        hop = self.between(1, min(4, length))
        return layers.SlidingAverage(hop * self.between(1, 4), hop, **arguments)

    def pool(self, sequence: Sequence):
        """One vector `[B, H]` for the whole sequence."""
        plain = keras.layers
        poolings = [plain.GlobalAveragePooling1D, plain.GlobalMaxPooling1D, layers.LastStep]
        poolings += [lambda: self.recent_average(sequence.channels), lambda: self.sliding_average(sequence.length)]
        if not sequence.phase:
            poolings.append(lambda: self.recurrent(sequence.channels, return_sequences=False))
        # A mask behind layers that drop steps is none of the samples, and one of samples that another branch reads
        # without it is refused.
        masked = self.chance(0.1) and not sequence.phase and sequence.period == 1
        mask = [plain.Dense(sequence.channels), plain.Masking(-99.0)] if masked else []
        return self.choice(poolings)()(sequence.through(*mask).tensor)

    def draw_head(self, sequences: list[Sequence], name: str):
        """An output: of every step of the last sequence, or of the whole of one sequence or two."""
        if self.chance(0.3):
            return keras.layers.Dense(self.width(), name=name)(sequences[-1].tensor)
        x = self.pool(self.choice(sequences))
        if self.chance(0.3):
            x = self.merge(x, self.pool(self.choice(sequences)))
        if self.chance(0.3):
            x = self.vector_model(x.shape[-1])(x)
        if self.chance(0.3):
            layer = self.stepwise(x.shape[-1])
            x = x if isinstance(layer, keras.layers.SpatialDropout1D) else layer(x)
        if self.chance(0.2):
            return keras.layers.Softmax(name=name)(keras.layers.Dense(self.width())(x))
        activation = self.choice(("linear", "softmax", "sigmoid", "tanh"))
        return keras.layers.Dense(self.width(), activation=activation, name=name)(x)

    def format(self, model: keras.Model) -> dict[str, Any]:
        """Types of activations, how the states are kept, and how many samples an invoke takes."""
        activations = self.choice(("int8", "int16", "by layer"))
        if activations == "by layer":
            activations = {path: self.choice(("int8", "int16")) for path in layer_paths(model) if self.chance(0.5)}
        blocks = range(self.period, max(LARGEST_BLOCK, self.period) + 1, self.period)
        blocks = [steps for steps in blocks if self.length % steps == 0]
        steps = self.choice(blocks) if self.chance(0.5) else None
        return {"activations": activations, "states": self.choice(("inputs", "variables")), "steps": steps}


def random_model(seed: int) -> RandomModel:
    """A random model, data for it, and a format to convert it to.

    Args:
        seed: of the architecture, the weights, the data and the format.
    """
    random = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    architect = Architect(random, LENGTHS[int(random.integers(len(LENGTHS)))])
    inputs, data, starts = [], [], []
    for index in range(1 + architect.chance(0.2)):
        start, x, values = _input(architect, index)
        inputs.append(start)
        starts.append(x)
        data.append(values)
    x = Sequence(starts[0] if len(starts) == 1 else architect.merge(*starts))
    # A second head may read what is computed half-way, at another rate.
    early = architect.draw_sequence(x, architect.between(0, 1))
    late = architect.draw_sequence(early, architect.between(1, LARGEST_DEPTH - 1))
    outputs = [architect.draw_head([early, late], f"head_{index}") for index in range(1 + architect.chance(0.2))]
    model = keras.Model(inputs, outputs, name=f"random_{seed}")
    _shake(model, random)
    return RandomModel(model, data, architect.format(model))


def _input(architect: Architect, index: int):
    """An input, the sequence of vectors that comes from it, and data."""
    random, length = architect.random, architect.length
    if architect.chance(0.15):
        tokens = keras.Input((length,), dtype="int32", name=f"tokens_{index}")
        vectors = keras.layers.Embedding(TOKENS, architect.width())(tokens)
        return tokens, vectors, random.integers(0, TOKENS, (STREAMS, length))
    features = architect.between(1, 5)
    signal = keras.Input((length, features), name=f"signal_{index}")
    steps = random.normal(0.0, 0.5, (STREAMS, length, features))
    values = 0.7 * np.cumsum(steps, axis=1) if architect.chance(0.5) else 2.0 * steps
    return signal, signal, values.astype(np.float32)


def _shake(model: keras.Model, random: np.random.Generator) -> None:
    """Biases, gains and moving averages that are not those of a fresh layer."""
    for weight in model.weights:
        name = weight.path.split("/")[-1]
        if name in ("bias", "beta", "moving_mean", "mean", "alpha"):
            weight.assign(random.normal(0.0, 0.3, weight.shape))
        elif name in ("gamma", "moving_variance", "deviation"):
            weight.assign(random.uniform(0.5, 2.0, weight.shape))
