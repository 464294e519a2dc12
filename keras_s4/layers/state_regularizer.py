"""Penalties on the states of a DSS layer, which are no function of one weight alone."""

from __future__ import annotations

import keras

from keras_s4.dss.modes import Modes


class StateRegularizer(keras.Regularizer):
    """What `DSS(..., state_regularizer=...)` takes: a penalty on poles, residues and feedthrough together."""

    def __call__(self, modes: Modes):
        """The penalty of a bank of systems, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(modes).")


class StatePenalty:
    """The penalty of a layer as the regulariser of one of its weights.

    So Keras adds it to the loss once a step, however often the layer is called, and leaves it out where the layer is
    frozen or only predicts, as with every other regulariser.

    Args:
        layer: a DSS layer with a `state_regularizer`.
    """

    def __init__(self, layer: keras.layers.Layer):
        self.layer = layer

    @property
    def regularizer(self) -> StateRegularizer:
        """That of the layer."""
        return self.layer.state_regularizer

    def __call__(self, _):
        """The penalty of the layer's weights as they are."""
        return self.regularizer(self.layer.modes())
