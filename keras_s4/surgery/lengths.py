"""A trained model for sequences of another length."""

from __future__ import annotations

import keras

from keras_s4.checks import check_model, whole_number
from keras_s4.surgery.cloning import clone


def at_length(model: keras.Model, length: int) -> keras.Model:
    """A copy of a model for sequences of another length, with the same weights.

    It is for models whose layers drop steps and whose sequences are no multiple of the period of that pattern, and so
    cannot be exported as they are.

    Args:
        model: functional or sequential; all of its inputs get the length.
        length: steps of a sequence.

    Raises:
        TypeError: no model.
        ValueError: a length below 1, or a layer that is made for sequences of one length.
    """
    check_model(model, length, "at_length")
    length = whole_number(length, "at_length got length=")
    inputs = [
        keras.Input(batch_shape=(tensor.shape[0], length, *tensor.shape[2:]), dtype=tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    try:
        return clone(model, {}, inputs[0] if len(inputs) == 1 else keras.tree.pack_sequence_as(model.input, inputs))
    except ValueError as error:
        raise ValueError(
            f"at_length cannot give model {model.name!r} sequences of {length} steps: {error}\nBuild the model for "
            "this length, and move the weights of its layers."
        ) from error
