"""The quantizers of tensorflow-model-optimization as Keras 3 layers.

Its own wrappers take legacy Keras models only, but its quantizers need no more of a layer than `add_weight`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import keras
import numpy as np

from keras_s4 import extras
from keras_s4.errors import LayerError
from keras_s4.initializers import draw, give

INT8_LOWEST, INT8_HIGHEST = -128, 127
BITS = 8
# Of the integers that weights are rounded to.
LARGEST_WEIGHT = 127


class _Weights:
    """What a quantizer may ask of a layer: weights. The quantizer names them by position and in legacy Keras' terms."""

    def __init__(self, layer: _TfmotQuantizer):
        self.layer = layer

    def add_weight(self, name: str, shape=(), initializer=None, trainable: bool = False):
        """A weight of the Keras 3 layer, which starts where the layer wants it to."""
        name = name.rpartition("/")[-1]
        if name in self.layer.starts:
            initializer = keras.initializers.Constant(self.layer.starts[name])
        elif initializer is not None:  # one of legacy Keras
            initializer = give(draw(lambda shape, dtype: initializer(shape), shape or (), "float32"))
        return self.layer.add_weight(
            name=name,
            shape=shape or (),
            initializer=initializer or "zeros",
            trainable=trainable,
            autocast=False,
            dtype="float32",
        )


class _TfmotQuantizer(keras.layers.Layer):
    """A layer around one quantizer; it sees the quantizer's two weights, the lowest and the highest value."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.starts: dict[str, float] = {}
        self.supports_masking = True

    def build(self, input_shape):
        """Creates the range's ends."""
        check_quantizers()
        self.quantizer = self._quantizer(_tfmot_quantizers())
        self.ends = self.quantizer.build(input_shape, "range", _Weights(self))

    def _quantize(self, values, training: bool):
        """Rounds to the grid; gradients pass inside the range and stop outside."""
        ends = {name: variable.value for name, variable in self.ends.items()}
        rounded = self.quantizer(keras.ops.cast(values, "float32"), training=training, weights=ends)
        return keras.ops.cast(rounded, values.dtype)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return tuple(input_shape)


@keras.saving.register_keras_serializable(package="keras_s4")
class Grid(_TfmotQuantizer):
    """Rounds to the integers of one int8 tensor of the exported program: `(q - zero_point) * scale`.

    The range is that of the calibration and stays: it is the one that loses least of what follows, where a moving
    average of the extremes would widen it again.

    Args:
        scale: real value of one unit.
        zero_point: the integer that stands for 0.0, from -128 to 127.

    Input and output: of any shape.
    """

    def __init__(self, scale: float, zero_point: int, **kwargs):
        super().__init__(**kwargs)
        if not np.isfinite(scale) or scale <= 0 or not INT8_LOWEST <= zero_point <= INT8_HIGHEST:
            raise LayerError(
                f"Grid {self.name!r} got scale={scale} and zero_point={zero_point}; expected a positive number and an "
                f"integer from {INT8_LOWEST} to {INT8_HIGHEST}."
            )
        self.scale = float(scale)
        self.zero_point = int(zero_point)
        self.starts = {
            "range_min": (INT8_LOWEST - self.zero_point) * self.scale,
            "range_max": (INT8_HIGHEST - self.zero_point) * self.scale,
        }

    def call(self, inputs):
        """The nearest values of the grid."""
        return self._quantize(inputs, training=False)

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "scale": self.scale, "zero_point": self.zero_point}

    @staticmethod
    def _quantizer(quantizers):
        return quantizers.MovingAverageQuantizer(BITS, per_axis=False, symmetric=False, narrow_range=False)


@keras.saving.register_keras_serializable(package="keras_s4")
class KernelGrid(_TfmotQuantizer):
    """Rounds a kernel to the exporter's weights: integers of -127 to 127, or of -7 to 7.

    The range follows the kernel, in training and inference.

    Args:
        largest: of the integers: 127, or 7 for weights of 4 bits.
        reach: part of the largest weight's magnitude that they reach to; what is larger is cut off there.
    """

    def __init__(self, largest: int = LARGEST_WEIGHT, reach: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        if largest not in (7, LARGEST_WEIGHT) or not 0.0 < reach <= 1.0:
            raise LayerError(
                f"KernelGrid {self.name!r} got largest={largest} and reach={reach}; expected 7 or {LARGEST_WEIGHT}, "
                "and a number above 0 and at most 1."
            )
        self.largest = int(largest)
        self.reach = float(reach)

    def call(self, inputs):
        """The nearest values of the grid."""
        if self.reach < 1.0:
            end = self.reach * keras.ops.stop_gradient(keras.ops.max(keras.ops.abs(inputs)))
            inputs = keras.ops.clip(inputs, -end, end)
        return self._quantize(inputs, training=True)

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "largest": self.largest, "reach": self.reach}

    def _quantizer(self, quantizers):
        bits = self.largest.bit_length() + 1
        return quantizers.LastValueQuantizer(bits, per_axis=False, symmetric=True, narrow_range=True)


def check_quantizers() -> None:
    """Refuses what the quantizers do not run on.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        ImportError: tensorflow-model-optimization is not installed.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Quantisation-aware training runs on Keras' tensorflow backend, not on {keras.backend.backend()!r}: "
            "the quantizers are those of tensorflow-model-optimization. Set KERAS_BACKEND=tensorflow."
        )
    _tfmot_quantizers()


def _tfmot_quantizers():
    """Loaded late: the package takes seconds, and needs legacy Keras."""
    with extras.needed_for("Trainings on the exporter's grids", "qat"), _variable_kept("TF_USE_LEGACY_KERAS"):
        from tensorflow_model_optimization.quantization.keras import quantizers
    return quantizers


@contextlib.contextmanager
def _variable_kept(name: str) -> Iterator[None]:
    """The environment as it was: the package asks for legacy Keras there, and processes started later would have it."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
