"""What a DSS layer refuses: arguments out of range, and inputs of a wrong shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from keras_s4.checks import is_truth_value, quote
from keras_s4.dss.discretization import METHODS
from keras_s4.errors import LayerError
from keras_s4.layers.state_regularizer import StateRegularizer

KERNELS = ("exp", "softmax", "clip")


def check_dss(layer: keras.layers.Layer) -> None:
    """Refuses arguments that no `DSS` layer could have.

    Raises:
        ValueError: one is out of range; the message names it.
    """
    checks = {
        "kernel": (layer.kernel_type in KERNELS, f"one of {', '.join(KERNELS)}"),
        "training_length": (
            layer.training_length is None or _is_count(layer.training_length),
            "None or a whole number of at least 1",
        ),
        "state_regularizer": (
            layer.state_regularizer is None or isinstance(layer.state_regularizer, StateRegularizer),
            "a regulariser of states, such as keras_s4.regularizers.HankelNorm(1e-3)",
        ),
    }
    flags = ("per_channel_poles", "separate_time_steps", "mode_time_steps")
    checks |= {name: (is_truth_value(getattr(layer, name)), "True or False") for name in flags}
    _check_arguments(layer, checks, kernel=layer.kernel_type)


def check_diagonal_ssm(layer: keras.layers.Layer, feedthroughs: Iterable[str | None]) -> None:
    """Refuses arguments that no `DiagonalSSM` could have.

    Raises:
        ValueError: one is out of range; the message names it.
    """
    expected = ", ".join(map(repr, feedthroughs))
    checks = {
        "units": (layer.units is None or _is_count(layer.units), "None or a whole number of at least 1"),
        "feedthrough": (layer.feedthrough_type in tuple(feedthroughs), f"one of {expected}"),
    }
    _check_arguments(layer, checks, feedthrough=layer.feedthrough_type)


def _check_arguments(layer: keras.layers.Layer, own: Mapping[str, tuple[bool, str]], **values: object) -> None:
    """Refuses what layers of all kinds do, and the first of a layer's own arguments that does not hold."""
    checks = {
        "state_size": (_is_count(layer.state_size), "a whole number of at least 1"),
        "discretization": (layer.discretization in METHODS, f"one of {', '.join(METHODS)}"),
        "rate": (_is_rate(layer.rate), "a positive number"),
    }
    flags = ("bidirectional", "return_state", "stateful")
    checks |= {name: (is_truth_value(getattr(layer, name)), "True or False") for name in flags}
    refuse_failed(layer, checks | own, **values)
    if layer.return_state or layer.stateful:
        layer.check_causal("return or carry a state")


def refuse_failed(layer: keras.layers.Layer, checks: Mapping[str, tuple[bool, str]], **values: object) -> None:
    """Refuses the first argument that does not hold.

    Args:
        layer: whose arguments they are.
        checks: by the name of the argument whether it holds, and what is expected.
        values: of arguments that are no attribute of their name.

    Raises:
        ValueError: it names the argument.
    """
    for name, (holds, expected) in checks.items():
        if not holds:
            value = values[name] if name in values else getattr(layer, name)
            raise LayerError(f"{_told(layer)} got {name}={quote(value)}; expected {expected}.")


def read_frozen(layer: keras.layers.Layer, frozen: Sequence[str], groups: Iterable[str]) -> tuple[str, ...]:
    """The groups of weights that are not trained.

    Raises:
        ValueError: another word, or no sequence of words.
    """
    if isinstance(frozen, str) or not isinstance(frozen, Sequence) or any(word not in groups for word in frozen):
        raise LayerError(f"{_told(layer)} got frozen={quote(frozen)}; expected a list of some of {', '.join(groups)}.")
    return tuple(frozen)


def check_input_shape(layer: keras.layers.Layer, shape: tuple) -> None:
    """Refuses shapes other than `[B, L, H]` with H known and L not 0."""
    if len(shape) != 3 or shape[-1] is None:
        raise LayerError(f"{_told(layer)} got input of shape {tuple(shape)}; expected [B, L, H] with H known.")
    check_length(layer, shape)


def check_length(layer: keras.layers.Layer, shape: tuple) -> None:
    """Refuses sequences without steps."""
    if shape[1] == 0:
        raise LayerError(f"{_told(layer)} got a sequence of length 0; expected at least 1 step.")


def training_length(layer: keras.layers.Layer, shape: tuple) -> int:
    """The length of the sequences that a layer is built for.

    Raises:
        ValueError: the length is open.
    """
    if shape[1] is None:
        raise LayerError(
            f"DSS {layer.name!r} with the softmax kernel is built for sequences of open length; say how long the "
            "training sequences are: DSS(..., kernel='softmax', training_length=...)."
        )
    return shape[1]


def _is_rate(value) -> bool:
    return isinstance(value, (int, float)) and 0.0 < value < np.inf


def _told(layer: keras.layers.Layer) -> str:
    return f"{type(layer).__name__} {layer.name!r}"


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
