"""Recurrent layers: `keras.layers.RNN` around any cell, and its subclasses."""

from __future__ import annotations

import contextlib

import keras

from keras_s4.streaming.streamer import Streamer, register


@register(keras.layers.RNN)
class _Recurrent(Streamer):
    """The cell at one step. Its states have the types that the cell gives them."""

    def initial_state(self, batch):
        return tuple(self.layer.get_initial_state(batch))

    def step(self, inputs, state):
        with _without_dropout(self.layer.cell):
            outputs, state = self.layer.cell(inputs[0], list(state))
        return outputs, tuple(state) if isinstance(state, (list, tuple)) else (state,)


@contextlib.contextmanager
def _without_dropout(cell):
    """Some cells draw a dropout mask even where they do not use it, which must not happen inside a loop."""
    dropping = [
        (part, name, getattr(part, name))
        for part in (cell, *getattr(cell, "cells", ()))
        for name in ("dropout", "recurrent_dropout")
        if isinstance(getattr(part, name, None), float)
    ]
    for part, name, _ in dropping:
        setattr(part, name, 0.0)
    try:
        yield
    finally:
        for part, name, rate in dropping:
            setattr(part, name, rate)
