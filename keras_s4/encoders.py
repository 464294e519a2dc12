"""What stands in front of the S4 blocks of a ready-made model: padding, units, a strided convolution, an encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.checks import choice, is_truth_value, quote, whole_number
from keras_s4.layers import MaskedConv1D, Standardization


@dataclasses.dataclass(frozen=True)
class Front:
    """A strided convolution in front of a model, so that all behind it runs at every `stride`-th sample only.

    Args:
        kernel: samples that an output depends on.
        stride: samples from one output to the next, at most `kernel`, since samples between would never be read.
        channels: of its output; by default those of the blocks.
        activation: of its output.
        padding: "causal" for a first output at the first sample, "valid" for one as soon as `kernel` samples are there.

    Raises:
        ValueError: sizes below 1, a stride above the kernel, or another padding.
    """

    kernel: int
    stride: int
    channels: int | None = None
    activation: str | None = "relu"
    padding: str = "causal"

    def __post_init__(self):
        whole_number(self.kernel, "front got kernel=")
        whole_number(self.stride, "front got stride=")
        if self.channels is not None:
            whole_number(self.channels, "front got channels=")
        choice(self.padding, "front got padding=", ("causal", "valid"))
        if self.stride > self.kernel:
            raise ValueError(
                f"front got stride={self.stride} and kernel={self.kernel}: {self.stride - self.kernel} of "
                f"{self.stride} samples would never be read. Choose a kernel of the stride, better of twice as much."
            )

    @classmethod
    def of(cls, value: Any, maker: str) -> Front | None:
        """From what a model is given: `(kernel, stride)`, a dict of arguments, or None.

        Raises:
            ValueError: anything else.
        """
        if value is None or isinstance(value, cls):
            return value
        names = [field.name for field in dataclasses.fields(cls)]
        if isinstance(value, Mapping) and {"kernel", "stride"} <= set(value) <= set(names):
            return cls(**value)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            return cls(*value)
        raise ValueError(
            f"{maker} got front={quote(value)}; expected (kernel, stride), or a dict of {', '.join(map(repr, names))}."
        )


def encode_samples(
    maker: str,
    input_shape: tuple[int | None, ...],
    channels: int,
    mask_value: float | None,
    front: Any,
    normalization: Any,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of a model of samples, and what its encoder makes of it, `[B, T, H]`; see `models.classifier`."""
    inputs, hidden = read_samples(maker, input_shape, channels, mask_value, front, normalization)
    return inputs, keras.layers.Dense(channels, name="encoder")(hidden)


def read_samples(
    maker: str,
    input_shape: tuple[int | None, ...],
    channels: int,
    mask_value: float | None,
    front: Any,
    normalization: Any,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of a model of samples, and what stands in front of its encoder, `[B, T, F]`."""
    if len(input_shape) != 2 or input_shape[1] is None:
        raise ValueError(
            f"{maker} got input_shape={input_shape}; expected (steps, features), or (steps,) and the vocabulary of "
            "models of tokens."
        )
    front = Front.of(front, maker)
    inputs = hidden = keras.Input(input_shape, name="samples")
    if mask_value is not None:
        hidden = keras.layers.Masking(mask_value, name="masking")(hidden)
    if wants_normalization(normalization, maker):
        hidden = _normalize(hidden, normalization, mask_value)
    if front is not None:
        # Keras' own where it will do, since what is known of it is more.
        kind = keras.layers.Conv1D if mask_value is None else MaskedConv1D
        filters = front.channels or channels
        layer = kind(filters, front.kernel, front.stride, front.padding, activation=front.activation, name="front")
        hidden = layer(hidden)
    return inputs, hidden


def encode_tokens(
    maker: str,
    input_shape: tuple[int | None, ...],
    channels: int,
    vocabulary: int,
    mask_zero: bool,
    mask_value: float | None,
    front: Any,
    normalization: Any,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of a model of tokens, and what its encoder makes of it, `[B, L, H]`; see `models.classifier`."""
    vocabulary = whole_number(vocabulary, f"{maker} got vocabulary=")
    if len(input_shape) != 1:
        raise ValueError(f"{maker} got input_shape={input_shape} and vocabulary={vocabulary}; expected (steps,).")
    if mask_value is not None:
        raise ValueError(
            f"{maker} got vocabulary={vocabulary} and mask_value={mask_value!r}; the padding of tokens is token 0: "
            "mask_zero=True."
        )
    if front is not None or wants_normalization(normalization, maker):
        raise ValueError(
            f"{maker} got vocabulary={vocabulary} and front or normalization, which are for samples; tokens have no "
            "unit, and are read one by one."
        )
    inputs = keras.Input(input_shape, dtype="int32", name="tokens")
    return inputs, keras.layers.Embedding(vocabulary, channels, mask_zero=mask_zero, name="encoder")(inputs)


def wants_normalization(normalization: Any, maker: str) -> bool:
    """Whether there is to be a layer of it, by what a model was given: True, False, or data to adapt it to.

    Raises:
        ValueError: something else.
    """
    if is_truth_value(normalization):
        return bool(normalization)
    if normalization is not None and np.ndim(normalization) >= 2:
        return True
    raise ValueError(
        f"{maker} got normalization={quote(normalization)}; expected True, False, or windows of the training data "
        "[W, L, features]."
    )


def output_units() -> Standardization:
    """The layer that gives outputs their units."""
    return Standardization(invert=True, name="output_units")


def _normalize(hidden: keras.KerasTensor, normalization: Any, mask_value: float | None) -> keras.KerasTensor:
    layer = Standardization(name="normalization")
    hidden = layer(hidden)
    if not is_truth_value(normalization):
        steps = np.asarray(normalization).reshape(-1, hidden.shape[-1])
        layer.adapt(steps if mask_value is None else steps[np.any(steps != mask_value, axis=-1)])
    return hidden
