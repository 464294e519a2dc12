"""How layers that are never reduced pass on errors of their inputs; the layers that are have rules in `error_bound`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import keras
import numpy as np
from scipy.signal import fftconvolve

from keras_s4.activation_names import activation_name
from keras_s4.layers import GLU, LastStep, LowRankDense, RecentAverage, SlidingAverage, Standardization
from keras_s4.modal_system import ModalSystem
from keras_s4.systems import DiagonalSystem


@dataclasses.dataclass(frozen=True)
class Deviation:
    """A signal of the model, and how far that of the reduced model can be from it.

    Attributes:
        values: `[B, L, F]`, or `[B, F]` behind a pooling; float64.
        error: `[B, F]`, bound on the Euclidean norm over time of the difference of each channel.
        limit: magnitude that no value of the reduced model exceeds, whatever its input: 1 behind a sigmoid.
    """

    values: np.ndarray
    error: np.ndarray
    limit: float = math.inf

    @property
    def norms(self) -> np.ndarray:
        """`[B, F]` Euclidean norms over time of the model's own signal."""
        return over_time(self.values)


SIGMOID_SLOPE = 0.25
# Largest slopes. GELU and SiLU overshoot 1 a little; the others are exact.
SLOPES = {
    "linear": 1.0,
    "relu": 1.0,
    "tanh": 1.0,
    "softsign": 1.0,
    "softplus": 1.0,
    "elu": 1.0,
    "sigmoid": SIGMOID_SLOPE,
    "hard_sigmoid": 1.0 / 6.0,
    "gelu": 1.12905,
    "silu": 1.09984,
}
# Of which no value exceeds 1 in magnitude.
AT_MOST_ONE = ("tanh", "softsign", "sigmoid", "hard_sigmoid")
# Of one probability, by the Euclidean norm of all logits: the gradient is p (e - p), longest at p = 1/2.
SOFTMAX_SLOPE = math.sqrt(2.0) / 4.0
Rule = Callable[..., Deviation]


def over_time(values: np.ndarray) -> np.ndarray:
    """`[B, F]` Euclidean norm over time of `[B, L, F]`; of `[B, F]` the absolute values."""
    return np.abs(values) if values.ndim == 2 else np.linalg.norm(values, axis=1)


def refusal(layer: keras.layers.Layer, reason: str) -> ValueError:
    """The error for a layer whose configuration, or place, has no bound."""
    return ValueError(f"error_bound cannot bound what {type(layer).__name__} {layer.name!r} does: {reason}.")


def activate(name: str, activation: Callable, signal: Deviation) -> Deviation:
    """The signal behind the activation of the layer with this name."""
    kind = activation_name(activation)
    values = np.asarray(activation(keras.ops.convert_to_tensor(signal.values)), np.float64)
    if kind == "softmax":
        together = SOFTMAX_SLOPE * np.linalg.norm(signal.error, axis=-1, keepdims=True)
        steps = values.shape[1] if values.ndim == 3 else 1
        return Deviation(values, np.broadcast_to(np.minimum(together, math.sqrt(steps)), signal.error.shape), limit=1.0)
    if kind not in SLOPES:
        raise ValueError(
            f"error_bound does not know how steep the activation {kind!r} of layer {name!r} is; it knows softmax, "
            f"{', '.join(SLOPES)}."
        )
    return Deviation(values, SLOPES[kind] * signal.error, 1.0 if kind in AT_MOST_ONE else math.inf)


def affine_of(layer) -> tuple[np.ndarray, np.ndarray]:
    """Kernel `[F, units]` and bias `[units]` of a dense layer, factored or not."""
    kernel = layer.matrices()["kernel"] if isinstance(layer, LowRankDense) else np.asarray(layer.kernel, np.float64)
    return kernel, np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[1])


def gain_and_offset(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What a batch normalisation does outside of training, channel by channel."""
    mean, variance = (np.asarray(weight, np.float64) for weight in (layer.moving_mean, layer.moving_variance))
    gain = (np.asarray(layer.gamma, np.float64) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    return gain, (np.asarray(layer.beta, np.float64) if layer.center else 0.0) - gain * mean


def _pass_on(layer, signal: Deviation) -> Deviation:
    return signal


def _pass_on_unmasked(layer, signal: Deviation) -> Deviation:
    if np.any(np.all(signal.values == layer.mask_value, axis=-1)):
        raise refusal(layer, "the data has padded steps, which it masks; give sequences without padding")
    return signal


def _look_up(layer, signal: Deviation) -> Deviation:
    if layer.mask_zero and np.any(signal.values == 0):
        raise refusal(layer, "the data has padded steps, which it masks; give sequences without padding")
    return Deviation(call_layer(layer, signal.values), np.zeros((len(signal.values), layer.output_dim)))


def _scale(layer, signal: Deviation) -> Deviation:
    if isinstance(layer, keras.layers.Rescaling):
        gain, offset = (np.asarray(number, np.float64) for number in (layer.scale, layer.offset))
    elif isinstance(layer, Standardization):
        mean, deviation = (keras.ops.convert_to_numpy(w).astype(np.float64) for w in (layer.mean, layer.deviation))
        gain, offset = (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)
    else:
        mean, variance = (np.asarray(array, np.float64) for array in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        gain, offset = (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)
    gain, offset = (
        np.squeeze(array, tuple(range(max(array.ndim - 1, 0)))) for array in map(np.asarray, (gain, offset))
    )
    features = signal.values.shape[-1]
    if any(array.ndim > 1 or array.shape not in ((), (1,), (features,)) for array in (gain, offset)):
        raise refusal(layer, "its numbers are not one for each channel")
    return Deviation(signal.values * gain + offset, np.abs(gain) * signal.error)


def _rectify(layer, signal: Deviation) -> Deviation:
    """All of them pass positive values on with slope 1, or less."""
    if getattr(layer, "threshold", 0.0):
        raise refusal(layer, "it jumps at its threshold")
    slope = next((getattr(layer, name) for name in ("negative_slope", "alpha") if hasattr(layer, name)), 0.0)
    steepest = max(1.0, float(np.abs(np.asarray(slope, np.float64)).max()))
    return Deviation(call_layer(layer, signal.values), steepest * signal.error)


def _normalize(layer, signal: Deviation) -> Deviation:
    """Of `u(z) = z / |z|` the difference `|u(z') - u(z)|` is at most `2 |z' - z| / |z|`; epsilon is part of `|z|`."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if [axis % signal.values.ndim for axis in axes] != [signal.values.ndim - 1]:
        raise refusal(layer, "it does not work along the features")
    features, gain, floor = signal.values.shape[-1], 1.0, 0.0
    centred = signal.values
    if not isinstance(layer, keras.layers.UnitNormalization):
        if isinstance(layer, keras.layers.LayerNormalization):
            centred = centred - centred.mean(axis=-1, keepdims=True)
        scale = getattr(layer, "gamma", None) if hasattr(layer, "gamma") else getattr(layer, "scale", None)
        gain = math.sqrt(features) * np.abs(np.asarray(1.0 if scale is None or scale is True else scale, np.float64))
        floor = features * layer.epsilon
    lengths = np.sqrt((centred**2).sum(axis=-1) + floor).reshape(len(centred), -1).min(axis=1)
    total = np.linalg.norm(signal.error, axis=1)
    if np.any((lengths == 0.0) & (total > 0.0)):
        raise refusal(layer, "some steps of the data are zero there, where any error may become as large as 1")
    error = 2.0 * total / np.maximum(lengths, np.finfo(float).tiny)
    return Deviation(call_layer(layer, signal.values), np.broadcast_to(error[:, None] * gain, signal.error.shape))


def _pool(layer, signal: Deviation) -> Deviation:
    """Each sample is in so many windows, of which none gives more than its norm."""
    if layer.data_format != "channels_last":
        raise refusal(layer, "it puts time last")
    windows = math.ceil(layer.pool_size[0] / layer.strides[0])
    return Deviation(call_layer(layer, signal.values), math.sqrt(windows) * signal.error)


def _cut(layer, signal: Deviation) -> Deviation:
    """No sample differs by more than the norm over all of them; zeros that are put in do not differ."""
    return Deviation(call_layer(layer, signal.values), signal.error)


def _average_over_time(layer, signal: Deviation) -> Deviation:
    return Deviation(signal.values.mean(axis=1), signal.error / math.sqrt(signal.values.shape[1]))


def _average_recent(layer, signal: Deviation) -> Deviation:
    """The weights of a step add up to 1, which bounds a convolution with them; but for what the first step adds.

    In step t that is the first step times `kept ** (t + 1)`.
    """
    steps = signal.values.shape[1]
    kept = np.exp(-1.0 / layer.time_constants()) * np.ones(signal.values.shape[-1])
    if layer.return_sequences:
        gain = 1.0 + kept * np.sqrt((1.0 - kept ** (2 * steps)) / (1.0 - kept**2))
    else:
        weights = (1.0 - kept) * kept ** np.arange(steps)[:, None]
        weights[-1] = kept ** (steps - 1)
        gain = np.linalg.norm(weights, axis=0)
    return Deviation(call_layer(layer, signal.values), gain * signal.error)


def _average_window(layer, signal: Deviation) -> Deviation:
    """As a convolution, of the sums of hops; but for what the first hop adds in place of those before it."""
    hops, full = layer.hops, signal.values.shape[1] // layer.hop
    if layer.return_sequences:
        gain = 1.0 + np.linalg.norm(np.arange(1, hops) / hops)
    else:
        gain = np.linalg.norm([1.0 + max(hops - full, 0), *np.ones(min(full, hops) - 1)]) / hops
    return Deviation(call_layer(layer, signal.values), gain / math.sqrt(layer.hop) * signal.error)


def _reshape(layer, signal: Deviation) -> Deviation:
    values = call_layer(layer, signal.values)
    if values.shape == signal.values.shape and np.array_equal(values, signal.values.astype(keras.config.floatx())):
        return signal
    if isinstance(layer, keras.layers.Flatten) and layer.data_format == "channels_last" and signal.values.ndim == 3:
        return Deviation(signal.values.reshape(values.shape), np.tile(signal.error, (1, signal.values.shape[1])))
    raise refusal(layer, "it moves values between time and channels")


def _add(layer, *signals: Deviation) -> Deviation:
    return Deviation(sum(signal.values for signal in signals), sum(signal.error for signal in signals))


def _average_inputs(layer, *signals: Deviation) -> Deviation:
    total = _add(layer, *signals)
    return Deviation(total.values / len(signals), total.error / len(signals))


def _subtract(layer, first: Deviation, second: Deviation) -> Deviation:
    return Deviation(first.values - second.values, first.error + second.error)


def _concatenate(layer, *signals: Deviation) -> Deviation:
    if layer.axis % signals[0].values.ndim != signals[0].values.ndim - 1:
        raise refusal(layer, "it does not join features")
    return Deviation(
        *(np.concatenate(parts, axis=-1) for parts in zip(*((s.values, s.error) for s in signals), strict=True))
    )


def _take_extreme(layer, *signals: Deviation) -> Deviation:
    values = (np.maximum if isinstance(layer, keras.layers.Maximum) else np.minimum).reduce([s.values for s in signals])
    return Deviation(values, np.sqrt(sum(signal.error**2 for signal in signals)))


def _multiply(layer, *signals: Deviation) -> Deviation:
    return functools.reduce(_multiply_two, signals)


def _multiply_two(first: Deviation, second: Deviation) -> Deviation:
    """`a' b' - a b = (a' - a) b' + a (b' - b)`, and no `b'` is further from `b` than the error, or beyond its limit."""
    largest = [np.abs(s.values).max(axis=1) if s.values.ndim == 3 else np.abs(s.values) for s in (first, second)]
    error = first.error * np.minimum(largest[1] + second.error, second.limit) + largest[0] * second.error
    return Deviation(first.values * second.values, error, first.limit * second.limit)


def _gate(layer, signal: Deviation) -> Deviation:
    (value, logit), (value_error, logit_error) = (np.split(part, 2, axis=-1) for part in (signal.values, signal.error))
    gate = Deviation(1.0 / (1.0 + np.exp(-logit)), SIGMOID_SLOPE * logit_error, limit=1.0)
    return _multiply_two(Deviation(value, value_error), gate)


def call_layer(layer: keras.layers.Layer, values: np.ndarray) -> np.ndarray:
    """What a layer gives, in float64."""
    outputs = layer(keras.ops.convert_to_tensor(values.astype(keras.config.floatx())), training=False)
    return keras.ops.convert_to_numpy(outputs).astype(np.float64)


_layers = keras.layers
RULES: dict[type, Rule] = {
    **dict.fromkeys(
        (
            _layers.Dropout,
            _layers.SpatialDropout1D,
            _layers.GaussianDropout,
            _layers.GaussianNoise,
            _layers.AlphaDropout,
            _layers.ActivityRegularization,
            _layers.Identity,
            _layers.InputLayer,
        ),
        _pass_on,
    ),
    **dict.fromkeys((_layers.Normalization, _layers.Rescaling, Standardization), _scale),
    **dict.fromkeys((_layers.ReLU, _layers.LeakyReLU, _layers.PReLU, _layers.ELU), _rectify),
    **dict.fromkeys((_layers.LayerNormalization, _layers.RMSNormalization, _layers.UnitNormalization), _normalize),
    **dict.fromkeys((_layers.MaxPooling1D, _layers.AveragePooling1D), _pool),
    **dict.fromkeys((LastStep, _layers.GlobalMaxPooling1D, _layers.Cropping1D, _layers.ZeroPadding1D), _cut),
    **dict.fromkeys((_layers.Flatten, _layers.Reshape, _layers.Permute), _reshape),
    **dict.fromkeys((_layers.Maximum, _layers.Minimum), _take_extreme),
    _layers.GlobalAveragePooling1D: _average_over_time,
    GLU: _gate,
    RecentAverage: _average_recent,
    SlidingAverage: _average_window,
    _layers.Masking: _pass_on_unmasked,
    _layers.Embedding: _look_up,
    _layers.Add: _add,
    _layers.Average: _average_inputs,
    _layers.Subtract: _subtract,
    _layers.Multiply: _multiply,
    _layers.Concatenate: _concatenate,
}


def respond(system: DiagonalSystem | ModalSystem, values: np.ndarray) -> np.ndarray:
    """What a system makes of sequences `[B, L, H]`, without the recurrence where there is one kernel a channel."""
    if isinstance(system, ModalSystem):
        return system.simulate(values)[0]
    return _filter(system.impulse_response(values.shape[1]), values)


def amplify(system: DiagonalSystem | ModalSystem, norms: np.ndarray) -> np.ndarray:
    """The largest norms `[B, H]` behind a system of inputs with these norms."""
    return norms @ system.gains().T if isinstance(system, ModalSystem) else system.hinf_norm() * norms


def _filter(kernel: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Causal convolution of kernels `[H, L]` with `[B, L, H]`."""
    return fftconvolve(values, kernel.T[None], axes=1)[:, : values.shape[1]]
