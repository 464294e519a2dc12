"""Keras models of architectures."""

from __future__ import annotations

from typing import Any

import keras

from keras_s4.architectures.architecture import Architecture
from keras_s4.architectures.blocks import add_dilated, add_recurrent, add_s4_block, add_separable, rectify
from keras_s4.checks import choice, whole_number
from keras_s4.encoders import output_units, read_samples, wants_normalization
from keras_s4.models import pooling_layer
from keras_s4.scoring.heads import BINARY, CLASSES, MULTI_LABEL, REGRESSION, TASKS

_BLOCKS = {"dss": add_s4_block, "cnn": add_separable, "tcn": add_dilated}
_ACTIVATIONS = {CLASSES: "softmax", BINARY: "sigmoid", MULTI_LABEL: "sigmoid", REGRESSION: None}


def build(
    architecture: Architecture,
    input_shape: tuple[int | None, int],
    outputs: int,
    *,
    head: str = CLASSES,
    normalization: Any = False,
) -> keras.Model:
    """A functional model that trains, streams and exports.

    Args:
        architecture: what it is made of.
        input_shape: `(L, features)` of one sequence; L may be None.
        outputs: C, classes, labels or quantities.
        head: "classes" for softmax, "binary" or "multi_label" for sigmoid, "regression" for quantities.
        normalization: see `keras_s4.models.classifier`.

    Returns:
        A model from `[B, L, features]` to `[B, C]`, or to `[B, T, C]` where the pooling returns sequences.

    Raises:
        ValueError: an impossible size or head, arguments of the pooling that it does not have, or more downsampling
            than the sequences have steps.
    """
    who = "architectures.build"
    outputs = whole_number(outputs, f"{who} got outputs=")
    choice(head, f"{who} got head=", TASKS)
    inputs, hidden = _encode(architecture, input_shape, normalization, who)
    add = _BLOCKS.get(architecture.kind, add_recurrent)
    for index in range(architecture.blocks):
        hidden = add(architecture, index, hidden)
    pooled = pooling_layer(who, architecture.pooling, architecture.pooling_arguments)(hidden)
    if architecture.kind != "dss" and architecture.dropout:
        pooled = keras.layers.Dropout(architecture.dropout, name="dropout")(pooled)
    found = keras.layers.Dense(outputs, activation=_ACTIVATIONS[head], name="head")(pooled)
    if head == REGRESSION and wants_normalization(normalization, who):
        found = output_units()(found)
    return keras.Model(inputs, found, name=architecture.kind)


def _encode(architecture: Architecture, input_shape, normalization, who: str):
    """The inputs, and what the first block reads: a convolution's outputs, or of blocks with residuals a Dense layer's.

    Recurrent layers and what has a convolution in front read these as they are.
    """
    width, kind = architecture.width, architecture.kind
    if kind == "cnn":
        inputs, hidden = read_samples(who, input_shape, width, None, None, normalization)
        kernel, stride = architecture.front or (architecture.kernel, 1)
        convolve = keras.layers.Conv1D(width, kernel, stride, padding="causal", use_bias=False, name="front")
        return inputs, rectify(convolve(hidden), "front")
    inputs, hidden = read_samples(who, input_shape, width, None, architecture.front, normalization)
    if architecture.front is None and kind in ("dss", "tcn"):
        hidden = keras.layers.Dense(width, name="encoder")(hidden)
    return inputs, hidden
