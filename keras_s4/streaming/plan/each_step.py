"""Layers that treat every step alone."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_s4.layers import GLU, LowRankDense, Standardization
from keras_s4.streaming.plan.flow import Effect
from keras_s4.streaming.plan.rules import RefusedError, refuse_time_axis, rule, set_effect

# They change nothing once trained. A stream has no padding, so that there is nothing to mask either.
UNCHANGING = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Masking,
    keras.layers.SpatialDropout1D,
)
MERGING = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
ALONG_THE_LAST_AXIS = ("glu", "log_softmax", "softmax", "sparse_softmax", "sparsemax")

set_effect(
    (
        *UNCHANGING,
        keras.layers.ELU,
        keras.layers.Embedding,
        keras.layers.LeakyReLU,
        keras.layers.ReLU,
        keras.layers.TimeDistributed,
    ),
    Effect(),
)


@rule(*MERGING)
def _merging(layer, flows):
    if isinstance(layer, keras.layers.Concatenate):
        refuse_time_axis(layer.axis, flows[0])
    return Effect(several=True)


@rule(keras.layers.Dense, LowRankDense, Standardization, GLU)
def _along_the_features(layer, flows):
    refuse_time_axis(-1, flows[0])
    return Effect()


@rule(
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.RMSNormalization,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
)
def _along_an_axis(layer, flows):
    refuse_time_axis(() if layer.axis is None else layer.axis, flows[0])
    return Effect()


@rule(keras.layers.Activation)
def _activation(layer, flows):
    if getattr(layer.activation, "__name__", "") in ALONG_THE_LAST_AXIS:
        refuse_time_axis(-1, flows[0])
    return Effect()


@rule(keras.layers.PReLU)
def _prelu(layer, flows):
    if flows[0].has_time and 1 not in (layer.shared_axes or ()):
        raise RefusedError(
            "it has a slope of its own for each step of a sequence, along the time axis", "Use shared_axes=[1]"
        )
    return Effect()


@rule(keras.layers.Rescaling)
def _rescaling(layer, flows):
    rank = len(flows[0].shape)
    for value in (layer.scale, layer.offset):
        shape = np.shape(value)
        if flows[0].has_time and len(shape) >= rank - 1 and shape[1 - rank] != 1:
            raise RefusedError(
                f"with inputs of shape {flows[0].shape} its scale or offset of shape {shape} differs by step, along "
                "the time axis",
                "Scale all steps alike",
            )
    return Effect()


@rule(keras.layers.Permute)
def _permute(layer, flows):
    if flows[0].has_time and layer.dims[0] != 1:
        raise RefusedError(f"dims={layer.dims} moves the time axis", "Leave time in place: dims=(1, ...)")
    return Effect()


@rule(keras.layers.Reshape)
def _reshape(layer, flows):
    """Every step gets a new shape; the time axis stays where it is."""
    if not flows[0].has_time:
        return Effect()
    _, steps, *shape = flows[0].shape
    _, *target = layer.compute_output_shape(flows[0].shape)
    if not target or target[0] != steps or math.prod(n or 0 for n in target[1:]) != math.prod(shape):
        raise RefusedError(
            f"it makes {(None, *target)} of {flows[0].shape}, which mixes steps along the time axis",
            "Keep the time axis in front, as in Reshape((-1, ...))",
        )
    return Effect()


@rule(keras.layers.Flatten, keras.layers.RepeatVector)
def _of_one_value(layer, flows):
    if flows[0].has_time:
        raise RefusedError(
            "it takes the time axis for features",
            "Put it behind a pooling over time, or behind keras_s4.layers.LastStep",
        )
    return Effect()
