"""Random models from a seed that mix the layers that can be exported: what fuzzing the exporter needs.

All have random weights, of a size at which activations use their ranges; random data for them comes along.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_s4 import layers

Data = list[np.ndarray]
ACTIVATIONS = ("linear", "relu", "gelu", "tanh", "sigmoid", "silu", "elu", "softplus", "hard_sigmoid", "leaky_relu")
LARGEST_WIDTH, LARGEST_DEPTH = 8, 4
TOKENS = 20


@dataclasses.dataclass
class Architect:
    """Draws layers; every drawing is from one random generator."""

    random: np.random.Generator
    length: int

    def choice(self, options):
        """One of the options."""
        return options[int(self.random.integers(len(options)))]

    def width(self) -> int:
        """A number of channels."""
        return int(self.random.integers(2, LARGEST_WIDTH + 1))

    def activation(self) -> str:
        """The name of an activation."""
        return self.choice(ACTIVATIONS)

    def rank(self, *sides: int) -> int:
        """A rank of a matrix with these sides."""
        return int(self.random.integers(1, min(sides) + 1))

    def dss(self, **arguments) -> layers.DSS:
        """A DSS layer with a kernel, a state size and a range of time steps."""
        return layers.DSS(
            int(self.random.integers(1, 7)),
            kernel=self.choice(("exp", "softmax", "clip")),
            per_channel_poles=bool(self.random.integers(2)),
            training_length=self.length,
            **arguments,
        )

    def separable_convolution(self, size: int) -> Callable:
        """A causal separable convolution; Keras leaves the padding to a layer of its own."""
        padding, convolution = (
            keras.layers.ZeroPadding1D((size - 1, 0)),
            keras.layers.SeparableConv1D(self.width(), size),
        )
        return lambda x: convolution(padding(x))

    def sequence_layer(self, channels: int) -> keras.layers.Layer | Callable:
        """A layer from `[B, L, channels]` to `[B, L, ...]`."""
        drawings = (
            lambda: keras.layers.Dense(self.width(), activation=self.activation()),
            lambda: layers.LowRankDense(
                width := self.width(), self.rank(channels, width), activation=self.activation()
            ),
            lambda: self.dss(),
            lambda: layers.S4Block(self.dss(), activation=self.activation()),
            lambda: layers.S4Block(self.dss(), value_rank=self.rank(channels), gate_rank=self.rank(channels)),
            lambda: keras.layers.GRU(self.width(), return_sequences=True, reset_after=bool(self.random.integers(2))),
            lambda: keras.layers.LSTM(self.width(), return_sequences=True),
            lambda: keras.layers.SimpleRNN(self.width(), return_sequences=True),
            lambda: layers.LowRankGRU(
                width := self.width(), self.rank(channels, width), self.rank(width), return_sequences=True
            ),
            lambda: keras.layers.Conv1D(
                self.width(), int(self.random.integers(1, 5)), padding="causal", activation=self.activation(),
                dilation_rate=int(self.random.integers(1, 3)),
            ),
            lambda: self.separable_convolution(int(self.random.integers(1, 4))),
            lambda: keras.layers.LayerNormalization(),
            lambda: keras.layers.RMSNormalization(),
            lambda: keras.layers.BatchNormalization(),
            lambda: keras.layers.Activation(self.activation()),
            lambda: keras.layers.PReLU(shared_axes=[1]),
            lambda: keras.layers.Rescaling(float(self.random.uniform(0.5, 2.0)), float(self.random.normal())),
            lambda: keras.layers.Dropout(0.1),
        )  # fmt: skip
        return self.choice(drawings)()

    def merged(self, x, y):
        """Two sequences as one."""
        kind = self.choice(("Concatenate", "Add", "Multiply", "Average", "Maximum", "Subtract"))
        if kind == "Concatenate":
            return keras.layers.Concatenate()([x, y])
        if x.shape[-1] != y.shape[-1]:
            y = keras.layers.Dense(x.shape[-1])(y)
        return getattr(keras.layers, kind)()([x, y])

    def sequences(self, x, depth: int):
        """Some layers, sometimes with a branch beside them."""
        for _ in range(depth):
            y = self.sequence_layer(x.shape[-1])(x)
            x = self.merged(x, y) if self.random.random() < 0.3 else y
        return x

    def head(self, x, name: str):
        """An output: of every step, or of the whole sequence."""
        pooling = self.choice(
            (None, keras.layers.GlobalAveragePooling1D, keras.layers.GlobalMaxPooling1D, layers.LastStep)
        )
        if pooling is not None:
            x = pooling()(x)
        activation = self.choice(("linear", "softmax", "sigmoid", "tanh")) if pooling is not None else "linear"
        return keras.layers.Dense(self.width(), activation=activation, name=name)(x)


def random_model(seed: int) -> tuple[keras.Model, Data]:
    """A random model and data for it.

    Args:
        seed: of the architecture, the weights and the data.

    Returns:
        A functional model of one or two inputs and one or two outputs, and an array `[B, L, features]` (or `[B, L]` of
        token numbers) for each input.
    """
    random = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    architect = Architect(random, int(random.integers(12, 40)))
    inputs, data, starts = [], [], []
    for index in range(1 + (random.random() < 0.2)):
        start, x, values = _input(architect, index)
        inputs.append(start)
        starts.append(x)
        data.append(values)
    x = starts[0] if len(starts) == 1 else architect.merged(*starts)
    x = architect.sequences(x, int(random.integers(1, LARGEST_DEPTH + 1)))
    outputs = [architect.head(x, f"head_{index}") for index in range(1 + (random.random() < 0.2))]
    model = keras.Model(inputs, outputs, name=f"random_{seed}")
    _shake(model, random)
    return model, data


def _input(architect: Architect, index: int):
    """An input, the sequence of vectors that comes from it, and data."""
    random, streams = architect.random, 6
    if random.random() < 0.15:
        tokens = keras.Input((architect.length,), dtype="int32", name=f"tokens_{index}")
        vectors = keras.layers.Embedding(TOKENS, architect.width())(tokens)
        return tokens, vectors, random.integers(0, TOKENS, (streams, architect.length))
    features = int(random.integers(1, 6))
    signal = keras.Input((architect.length, features), name=f"signal_{index}")
    steps = random.normal(0.0, 0.5, (streams, architect.length, features))
    values = 0.7 * np.cumsum(steps, axis=1) if random.random() < 0.5 else 2.0 * steps
    return signal, signal, values.astype(np.float32)


def _shake(model: keras.Model, random: np.random.Generator) -> None:
    """Biases, gains and moving averages that are not those of a fresh layer."""
    for weight in model.weights:
        name = weight.path.split("/")[-1]
        if name in ("bias", "beta", "moving_mean", "alpha"):
            weight.assign(random.normal(0.0, 0.3, weight.shape))
        elif name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 2.0, weight.shape))
