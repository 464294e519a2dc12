"""When it pays to let XLA compile the training step."""

from __future__ import annotations

import keras

from keras_s4.layers import StateSpaceLayer
from keras_s4.surgery.graph import is_graph
from keras_s4.surgery.paths import layers_by_path

AUTO = "auto"
# Gradient steps times steps of a sequence, from which on compiling takes less time than it saves. Of DSS(32) on 32
# sequences of 64 channels it takes 2 seconds more than tracing, at any length, and a training step of 28 samples then
# 6.4 in place of 8.8 ms, of 784 samples 82 in place of 141 ms, of 4,096 samples 577 in place of 741 ms: 790, 29 and 12
# steps (scripts/bench/layers.py, two idle cores).
WORTHWHILE = 25_000


def pays_to_compile(model: keras.Model, steps: int) -> bool:
    """Whether compiling the training step by XLA takes less time than it saves in so many steps.

    On JAX always, and on PyTorch never. On TensorFlow where DSS layers see sequences of one length, and gradient steps
    times that length, behind a strided front, are 25,000 or more: 50 steps of windows of 500. Not for recurrent layers
    or convolutions alone, which XLA slows down on a CPU, and not for sequences of unknown length, since it compiles
    anew for every length.

    Args:
        model: built.
        steps: gradient steps of the training.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        return backend == "jax"
    layers = list(layers_by_path(model).values()) if is_graph(model) else []
    if any(isinstance(layer, keras.layers.RNN) for layer in layers):
        return False
    states = [layer for layer in layers if isinstance(layer, StateSpaceLayer)]
    lengths = [layer.get_build_config()["input_shape"][1] for layer in states]
    return None not in lengths and steps * max(lengths, default=0) >= WORTHWHILE
