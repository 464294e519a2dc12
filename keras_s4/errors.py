"""Errors whose messages reach the user as they are."""

from __future__ import annotations


class LayerError(ValueError):
    """What a layer refuses, in one message.

    Keras puts a page around the message of an error that comes out of a call ("Exception encountered when calling",
    with the value of every argument), unless the error says by an attribute that this was done already.
    """

    _keras_call_info_injected = True
