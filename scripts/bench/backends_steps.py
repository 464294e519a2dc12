"""What `backends.py` runs in processes of their own: one library each, on one processor core.

Nothing of keras-s4 is imported for the layers of others, whose environment need not have it. What is not ours is read
from the checkouts on PYTHONPATH. Inputs are float32, 32 sequences of 64 channels; a step is a scalar loss and its
gradients with respect to all weights and to the input, as in `layers_steps.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

BATCH, CHANNELS = 32, 64
# Of the model whose first training step is timed, and of a stream.
BLOCKS, CLASSES, CHUNK = 2, 10, 1000

Step = Callable[[], Any]


def serve(library: str, task: str, arguments: dict) -> None:
    """Answers requests from standard input, each a number of calls, with processor seconds of a call, as JSON.

    The first answer tells the seconds that importing, making and the first call took, and a number that this returned.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries greet
    before = time.process_time()
    make = TASKS[task, library]()
    imported = time.process_time()
    step = make(**arguments)
    made = time.process_time()
    value = step()
    first = {"import": imported - before, "make": made - imported, "first call": time.process_time() - made}
    answers.write(json.dumps(first | ({"value": value} if isinstance(value, float) else {})) + "\n")
    answers.flush()
    for line in sys.stdin:
        calls, start = int(line), time.process_time()
        for _ in range(calls):
            step()
        answers.write(json.dumps((time.process_time() - start) / calls) + "\n")
        answers.flush()


def main() -> None:
    """Serves what the arguments of the process ask for."""
    serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))


def draw(*shape: int) -> Any:
    """Noise of this shape, as float32."""
    import numpy as np

    return np.random.default_rng(len(shape)).standard_normal(shape).astype("float32")


def tensorflow_step() -> Callable[..., Step]:
    """Ours under TensorFlow, compiled by XLA."""
    import keras
    import tensorflow as tf

    from keras_s4.layers import DSS

    def make(length: int, states: int) -> Step:
        keras.utils.set_random_seed(0)
        inputs, weights = tf.constant(draw(BATCH, length, CHANNELS)), tf.constant(draw(length, CHANNELS))
        layer = DSS(states)
        layer.build(inputs.shape)

        @tf.function(jit_compile=True)
        def step(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = tf.square(tf.reduce_mean(weights * layer(inputs)))
            return loss, tape.gradient(loss, [inputs, *layer.trainable_variables])

        return lambda: step(inputs)[0].numpy()

    return make


def jax_step() -> Callable[..., Step]:
    """Ours on JAX."""
    import keras

    from keras_s4.layers import DSS

    def make(length: int, states: int) -> Step:
        keras.utils.set_random_seed(0)
        inputs, weights = draw(BATCH, length, CHANNELS), draw(length, CHANNELS)
        layer = DSS(states)
        layer.build(inputs.shape)

        def function(variables, inputs):
            return layer.stateless_call(variables, [], inputs)[0]

        return JaxGradients(function, [variable.value for variable in layer.trainable_variables], inputs, weights)

    return make


def jax_memory() -> Callable[..., Step]:
    """MiB of the arrays of our compiled step on JAX, gradients included."""
    from keras_s4.testing.plain_kernel import use_plain_kernel

    make_step = jax_step()

    def make(length: int, states: int, plain: bool) -> Step:
        if plain:
            use_plain_kernel()
        step = make_step(length, states)

        def measure():
            memory = step.compile().memory_analysis()
            return (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 2**20

        return measure

    return make


def annotated_step() -> Callable[..., Step]:
    """`S4DLayer` of annotated-s4, one for all sequences, as its `BatchStackedModel` maps it."""
    import jax
    from flax import linen
    from s4.s4d import S4DLayer

    def make(length: int, states: int) -> Step:
        batched = linen.vmap(S4DLayer, variable_axes={"params": None}, split_rngs={"params": False})
        layer, inputs = batched(N=states, l_max=length), draw(BATCH, length, CHANNELS)
        parameters = layer.init(jax.random.PRNGKey(0), inputs)
        return JaxGradients(layer.apply, parameters, inputs, draw(length, CHANNELS))

    return make


class JaxGradients:
    """A compiled step of a function of parameters and inputs, whose outputs are weighted."""

    def __init__(self, function: Callable, parameters: Any, inputs: Any, weights: Any):
        import jax

        def loss(parameters, inputs):
            return jax.numpy.square(jax.numpy.mean(weights * function(parameters, inputs)))

        self._step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        self._arguments = jax.device_put((parameters, inputs))

    def __call__(self) -> Any:
        """Runs it once."""
        import jax

        return jax.block_until_ready(self._step(*self._arguments))

    def compile(self) -> Any:
        """What XLA makes of it."""
        return self._step.lower(*self._arguments).compile()


def torch_step() -> Callable[..., Step]:
    """`S4D` of state-spaces/s4 without its activation and its linear layer; channels before steps, as it likes them."""
    import torch
    from models.s4.s4d import S4D

    def make(length: int, states: int) -> Step:
        torch.manual_seed(0)
        layer = S4D(CHANNELS, d_state=2 * states)  # it counts both of a pair
        layer.activation = layer.output_linear = torch.nn.Identity()
        inputs = torch.tensor(draw(BATCH, CHANNELS, length), requires_grad=True)
        weights = torch.tensor(draw(CHANNELS, length))

        def step():
            inputs.grad = None
            layer.zero_grad()
            loss = torch.square(torch.mean(weights * layer(inputs)[0]))
            loss.backward()
            return loss.item()

        return step

    return make


def keras_fit() -> Callable[..., Step]:
    """Ours: `fit` of one batch, by Keras' own defaults."""
    import numpy as np

    from keras_s4 import models

    def make(length: int, states: int) -> Step:
        model = models.classifier((length, 1), CLASSES, channels=CHANNELS, states=states, blocks=BLOCKS)
        model.compile("adam", "sparse_categorical_crossentropy")
        samples, labels = draw(BATCH, length, 1), np.arange(BATCH) % CLASSES
        return lambda: model.fit(samples, labels, batch_size=BATCH, verbose=0)

    return make


def torch_fit() -> Callable[..., Step]:
    """A classifier of as many S4D layers, in PyTorch: one step of Adam."""
    import torch
    from models.s4.s4d import S4D

    class Classifier(torch.nn.Module):
        def __init__(self, states):
            super().__init__()
            self.encoder = torch.nn.Linear(1, CHANNELS)
            self.layers = torch.nn.ModuleList(S4D(CHANNELS, d_state=2 * states) for _ in range(BLOCKS))
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(CHANNELS) for _ in range(BLOCKS))
            self.head = torch.nn.Linear(CHANNELS, CLASSES)

        def forward(self, samples):
            signal = self.encoder(samples)
            for layer, norm in zip(self.layers, self.norms, strict=True):
                signal = norm(signal + layer(signal.transpose(1, 2))[0].transpose(1, 2))
            return self.head(signal.mean(dim=1))

    def make(length: int, states: int) -> Step:
        model = Classifier(states)
        optimizer = torch.optim.Adam(model.parameters())
        samples, labels = torch.tensor(draw(BATCH, length, 1)), torch.arange(BATCH) % CLASSES

        def step():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(samples), labels).backward()
            optimizer.step()

        return step

    return make


def keras_stream() -> Callable[..., Step]:
    """Steps of one stream in a compiled loop, of the classifier of `layers_steps.stream_tasks`."""
    from keras import ops

    from keras_s4 import models
    from keras_s4.streaming import StreamingModel

    def make() -> Step:
        stream = StreamingModel(models.classifier((500, 6), classes=7, channels=32, states=8, blocks=2))
        steps, states, samples = stream.compiled_steps(), stream.initial_state(1), draw(1, CHUNK, 6)

        def step():
            nonlocal states
            outputs, states = steps(samples, states)
            return ops.convert_to_numpy(outputs)

        return step

    return make


OURS = {"TensorFlow": tensorflow_step, "JAX": jax_step}
TASKS = {
    **{("step", library): make for library, make in OURS.items()},
    ("memory", "JAX"): jax_memory,
    ("step", "PyTorch S4D"): torch_step,
    ("step", "annotated-s4"): annotated_step,
    **{("first fit", library): keras_fit for library in OURS},
    ("first fit", "PyTorch S4D"): torch_fit,
    **{("stream", library): keras_stream for library in OURS},
}
