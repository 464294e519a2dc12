"""Step mode: one sample in, one output out, with explicit state, in floating point.

Every layer that can run step by step is registered here with its initial state and its step; `register` adds layers of
your own. A model whose layers are all registered becomes a `StreamingModel`.
"""

from keras_s4.streaming import convolution, dss, nested, pointwise, pooling, recurrent, refusals  # noqa: F401 they register
from keras_s4.streaming.model import StreamingModel
from keras_s4.streaming.streamer import Streamer, at_one_step, register, streamer_of

__all__ = ["Streamer", "StreamingModel", "at_one_step", "register", "streamer_of"]
