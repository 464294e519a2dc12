"""Features in units of their deviation about their mean, with numbers that are weights and nothing else."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.checks import truth_value
from keras_s4.errors import LayerError
from keras_s4.precision import at_least_single
from keras_s4.samples import real_array

# The part of a value that rounding to single precision may change: what moves by less is constant.
ROUNDING = 4.0 * float(np.finfo(np.float32).eps)
# Between the quartiles of a normal distribution there are so many deviations.
QUARTILES = 1.3489795


@keras.saving.register_keras_serializable(package="keras_s4")
class Standardization(keras.layers.Layer):
    """`(x - mean) / deviation` of each feature, and with `invert` `x * deviation + mean`.

    As a model's first layer it takes raw units of any size: `convert` folds it into the scales of the input, so that
    firmware gives the integers of its sensors. As the last layer, with `invert`, it gives quantities in their units.

    It differs from `keras.layers.Normalization` in that mean and deviation are weights and nothing else: `set_weights`,
    cloning, saving, reduction and aware training carry them over. Until `adapt` was called it passes its inputs on. It
    computes in single precision at least, whatever the policy is, since half would not hold raw units.

    Input and output: `[..., F]`. Masks are passed on; in padded steps it works as in others.

    Args:
        invert: whether to give units to numbers that have none, instead of taking them away.

    Raises:
        ValueError: the number of features is not known.
    """

    def __init__(self, invert: bool = False, **kwargs):
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.supports_masking = True
        self.invert = truth_value(invert, f"Standardization {self.name!r} got invert=")

    def build(self, input_shape):
        """Creates mean and deviation, `[F]`, which are not trained by gradients."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise LayerError(
                f"Standardization {self.name!r} got input of shape {tuple(input_shape)}; expected [..., F]."
            )
        for name, initial in (("mean", "zeros"), ("deviation", "ones")):
            weight = self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initial,
                trainable=False,
                dtype=self._dtype_of_weights,
                autocast=False,  # the layer's own does not keep Keras from reading weights in half precision
            )
            setattr(self, name, weight)

    @property
    def is_adapted(self) -> bool:
        """Whether it changes anything."""
        mean, deviation = (keras.ops.convert_to_numpy(weight) for weight in (self.mean, self.deviation))
        return bool(np.any(mean != 0.0) or np.any(deviation != 1.0))

    def adapt(self, steps: Any, robust: bool = False) -> None:
        """Finds mean and deviation, once, on training data.

        A feature that is constant on them, but for rounding, is only moved.

        Args:
            steps: `[..., F]`, all steps that count.
            robust: the median in place of the mean, and the distance of the quartiles in place of the deviation, which
                outliers do not move. A feature that mostly rests has no distance of quartiles; it has its deviation.

        Raises:
            ValueError: NaN or infinite numbers, no steps, or other than F features.
        """
        array = real_array(steps, f"Standardization {self.name!r} got steps to adapt to")
        if not self.built:
            self.build((None, array.shape[-1]))
        if array.ndim < 2 or array.shape[-1] != self.mean.shape[0] or not array.size:
            raise LayerError(
                f"Standardization {self.name!r} got steps of shape {array.shape} to adapt to; expected "
                f"[..., {self.mean.shape[0]}]."
            )
        mean, deviation = mean_and_deviation(array.reshape(-1, array.shape[-1]), robust)
        self.mean.assign(mean)
        self.deviation.assign(deviation)

    def call(self, inputs):
        """`[..., F]` to the same shape, in single precision at least."""
        inputs = ops.cast(inputs, self._dtype_of_weights)
        if self.invert:
            return inputs * self.deviation + self.mean
        return (inputs - self.mean) / self.deviation

    def compute_output_spec(self, inputs):
        """The input's shape."""
        return keras.KerasTensor(inputs.shape, dtype=self._dtype_of_weights)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "invert": self.invert}

    @property
    def _dtype_of_weights(self) -> str:
        return at_least_single(self.compute_dtype)


def mean_and_deviation(rows: np.ndarray, robust: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Of each feature of `[N, F]`; the deviation of a constant one is 1."""
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    if robust:
        low, middle, high = np.percentile(rows.astype(np.float64), [25, 50, 75], axis=0)
        between = (high - low) / QUARTILES
        resting = between <= ROUNDING * np.abs(middle)
        mean, deviation = middle, np.where(resting, deviation, between)
    constant = deviation <= ROUNDING * np.abs(mean)
    return mean, np.where(constant, 1.0, deviation)
