"""Step mode: one sample in, one output out, with explicit state, in floating point.

`plan` says which layer runs when and what it does in time. Every layer that can run step by step is registered here
with its initial state and its step; `register` adds layers of your own. A model whose layers are all registered becomes
a `StreamingModel`.
"""

from keras_s4.streaming import convolution, dss, each_step, pooling, recurrent  # noqa: F401 they register
from keras_s4.streaming.model import StreamingModel
from keras_s4.streaming.plan import Effect
from keras_s4.streaming.streamer import STEP_MODE, Streamer, at_one_step, register

__all__ = ["STEP_MODE", "Effect", "Streamer", "StreamingModel", "at_one_step", "register"]
