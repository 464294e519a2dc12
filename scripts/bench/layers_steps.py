"""What `layers.py` measures: a training step of each layer, parts of ours, a step of a streaming model.

A training step is a scalar loss and its gradients with respect to all weights and to the input, as if there were layers
below. Inputs are float32 `[32, L, 64]`. TensorFlow only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import scipy.fft
import tensorflow as tf

from keras_s4 import layers, models
from keras_s4.dss.convolution import causal_convolution
from keras_s4.streaming import StreamingModel
from keras_s4.testing.plain_kernel import plain_exponential_sum, use_plain_kernel

BATCH, CHANNELS, STATES = 32, 64, 32
# Transforms of `[B H, M]` in a training step: the input, the product, and for the gradients these two and the input.
LARGE_TRANSFORMS = 5
# Transforms of `[H, M]`: the kernel and its gradient.
SMALL_TRANSFORMS = 2

Task = Callable[[], Any]


def dss(length: int) -> keras.layers.Layer:
    """Ours."""
    return layers.DSS(STATES)


def plain_dss(length: int) -> keras.layers.Layer:
    """Ours with all powers of all poles in one array `[H, N, L]`. For the whole process: it takes ours away."""
    use_plain_kernel()
    return layers.DSS(STATES)


def gru(length: int) -> keras.layers.Layer:
    """GRU of as many units."""
    return keras.layers.GRU(CHANNELS, return_sequences=True)


def lstm(length: int) -> keras.layers.Layer:
    """LSTM of as many units."""
    return keras.layers.LSTM(CHANNELS, return_sequences=True)


def lmu(length: int) -> keras.layers.Layer:
    """keras-lmu in FFT mode, a memory for each channel.

    64 real states a channel are as many numbers as our 32 complex modes, and the window is the sequence. It is the bare
    memory, its cheapest form, without weights and with outputs `[B, L, 64 * 64]`: users add an encoder in front and a
    hidden cell behind, to get back to 64 channels.
    """
    import keras_lmu

    return keras_lmu.LMUFeedforward(
        memory_d=CHANNELS,
        order=2 * STATES,
        theta=length,
        hidden_cell=None,
        kernel_initializer=None,
        return_sequences=True,
        conv_mode="fft",
    )


def convolutions(length: int) -> keras.layers.Layer:
    """Four causal convolutions of 9 taps with ReLU: a usual small stack, which sees 33 samples."""
    return keras.Sequential([keras.layers.Conv1D(CHANNELS, 9, padding="causal", activation="relu") for _ in range(4)])


LAYERS = {make.__name__: make for make in (dss, plain_dss, gru, lstm, lmu, convolutions)}


def layer_tasks(name: str, length: int, compiled: bool) -> dict[str, Task]:
    """The training step of a layer, and of ours its parts.

    Args:
        name: of the function that makes the layer.
        length: L.
        compiled: run by XLA (`jit_compile`).

    Returns:
        Functions without arguments, by name; each runs once when called.

    Raises:
        RuntimeError: the plain kernel was not the one in use.
    """
    # Once in small: what follows is then the memory of the arrays, not that of libraries, threads and compilers.
    training_step(LAYERS[name](8), 8, compiled)()
    if name == "plain_dss" and plain_exponential_sum.calls == 0:
        raise RuntimeError("DSS no longer calls kernels.exponential_sum; tell plain_dss where its kernel is made.")
    layer = LAYERS[name](length)
    tasks = {"step": training_step(layer, length, compiled)}
    if name != "dss":
        return tasks
    sequences = tf.random.normal((BATCH, length, CHANNELS))
    return tasks | {
        "kernel": differentiate(lambda: layer.kernel(length), [], layer.trainable_variables, compiled),
        "convolution": differentiate(
            causal_convolution, [sequences, tf.random.normal((CHANNELS, length))], [], compiled
        ),
        "transforms": transforms(length, compiled),
        "transforms, scipy": scipy_transforms(length),
    }


def training_step(layer: keras.layers.Layer, length: int, compiled: bool) -> Task:
    """Forward and backward of a layer on random sequences."""
    sequences = tf.random.normal((BATCH, length, CHANNELS))
    layer.build(sequences.shape)
    return differentiate(lambda x: layer(x, training=True), [sequences], layer.trainable_variables, compiled)


def differentiate(function: Callable, arguments: Sequence, variables: Sequence, compiled: bool) -> Task:
    """A loss of a function's values, and its gradients with respect to arguments and variables.

    The loss is the square of a randomly weighted mean. As in a network, the gradient that comes in from above is dense,
    and not known before the forward pass is done: otherwise XLA would interleave the two, and save memory that no
    training saves. And it does not depend on single values, which XLA would compute once more rather than keep.
    """

    @tf.function(jit_compile=compiled)
    def gradients(weights, *values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.square(tf.reduce_mean(weights * function(*values)))
        return loss, [g for g in tape.gradient(loss, [*values, *variables]) if g is not None]

    weights = tf.random.normal(tf.function(function).get_concrete_function(*arguments).output_shapes[-2:])
    return lambda: gradients(weights, *arguments)[0].numpy()


def transform_sizes(length: int) -> list[tuple[int, int]]:
    """The shapes of the complex transforms in one training step of ours: see `keras_s4.dss.convolution`."""
    size = scipy.fft.next_fast_len(length)
    return LARGE_TRANSFORMS * [(BATCH * CHANNELS, size)] + SMALL_TRANSFORMS * [(CHANNELS, size)]


def transforms(length: int, compiled: bool) -> Task:
    """The transforms of one training step and nothing else, by TensorFlow."""

    @tf.function(jit_compile=compiled)
    def run(large, small):
        for _ in range(LARGE_TRANSFORMS):
            large = tf.signal.fft(large)
        for _ in range(SMALL_TRANSFORMS):
            small = tf.signal.fft(small)
        return large, small

    large, small = (tf.constant(signal) for signal in random_signals(length))
    return lambda: run(large, small)[0][0, 0].numpy()


def scipy_transforms(length: int) -> Task:
    """The transforms of one training step, by scipy with a thread for each core."""

    def run():
        large, small = signals
        for _ in range(LARGE_TRANSFORMS):
            large = scipy.fft.fft(large, workers=os.cpu_count())
        for _ in range(SMALL_TRANSFORMS):
            small = scipy.fft.fft(small, workers=os.cpu_count())

    signals = random_signals(length)
    return run


def random_signals(length: int) -> list[np.ndarray]:
    """Complex noise in the two shapes that our transforms have."""
    rng = np.random.default_rng(0)
    shapes = sorted(set(transform_sizes(length)), reverse=True)
    return [(rng.standard_normal((*shape, 2), "float32") @ [1, 1j]).astype("complex64") for shape in shapes]


def stream_tasks(compiled: bool, batches: Sequence[int]) -> dict[str, Task]:
    """One step of a streaming model for each number of streams: the demo's classifier, with 8 states left.

    Samples come in as arrays, as from sensors, and the states are carried from call to call.

    Args:
        compiled: run by XLA (`jit_compile`).
        batches: numbers of streams.

    Returns:
        Functions by name; "step, B" runs a step of B streams, "traces" returns how often Python ran the model so far.
    """
    model = models.classifier((500, 6), classes=7, channels=32, states=8, blocks=2)
    traces = count_calls(model.get_layer("head"))
    step = StreamingModel(model).compiled_step(jit_compile=compiled)
    tasks = {f"step, {batch}": stream_task(step, model, batch) for batch in batches}
    return tasks | {"traces": lambda: len(traces)}


def count_calls(layer: keras.layers.Layer) -> list[None]:
    """A list that grows by one whenever Python runs the layer, which a compiled function does while it is traced."""
    calls, call = [], layer.call

    def counting(inputs):
        calls.append(None)
        return call(inputs)

    layer.call = counting
    return calls


def stream_task(step: Callable, model: keras.Model, batch: int) -> Task:
    """A function that takes B streams one step further."""
    states = StreamingModel(model).initial_state(batch)
    samples = np.random.default_rng(0).standard_normal((batch, 6), "float32")

    def run():
        nonlocal states
        outputs, states = step(samples, states)
        return outputs.numpy()[0, 0]

    return run
