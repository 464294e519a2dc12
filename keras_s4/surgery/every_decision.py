"""Models of windows that are to decide in streams, made ready to be trained at every decision."""

from __future__ import annotations

import keras

from keras_s4.layers import RecentAverage, SlidingAverage
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.lengths import at_length
from keras_s4.surgery.paths import layers_by_path


def at_every_decision(model: keras.Model, length: int | None = None) -> keras.Model:
    """A copy of a model that gives at every decision in a window what the model gives at the end of one.

    Its pooling over time returns sequences: `RecentAverage` an average at every step, `SlidingAverage` one at every
    hop. What is behind the pooling follows. Both models have the same weights in the same order: train the copy on
    `keras_s4.augmentation.StreamWindows`, and let the model take them over,
    `model.set_weights(copy.get_weights())`.

    Args:
        model: built, from `[B, L, features]` to `[B, C]`.
        length: steps of the windows that the copy is trained on; by default those of the model.

    Returns:
        A model to `[B, J, C]`: J is the length, or with `SlidingAverage` the hops in it.

    Raises:
        ValueError: the model has no such pooling at its end, or cannot be copied for this length.
    """
    changes = {
        path: {"return_sequences": True}
        for path, layer in layers_by_path(model).items()
        if isinstance(layer, (RecentAverage, SlidingAverage)) and not layer.return_sequences
    }
    if not changes:
        raise ValueError(
            f"at_every_decision got model {model.name!r} without RecentAverage or SlidingAverage at its end; build it "
            "with pooling='recent' or 'sliding'."
        )
    return clone(model if length is None else at_length(model, length), changes)
