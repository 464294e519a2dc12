"""What tests register, taken back."""

import contextlib

from keras_s4.streaming import streamer
from keras_s4.streaming.plan import rules
from keras_s4.tflite.lowering import registry

_REGISTRIES = (streamer._STREAMERS, registry._LOWERINGS, rules._RULES, rules._ALONG_TIME, rules._REFUSED)


@contextlib.contextmanager
def restored():
    """Streamers, lowerings and rules as they were before, at the end."""
    kept = [(each, each.copy()) for each in _REGISTRIES]
    try:
        yield
    finally:
        for each, before in kept:
            each.clear()
            each.update(before)
