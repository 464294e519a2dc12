"""Outputs and gradients of a layer on the backend of this process, and on JAX and torch in processes of their own.

Keras fixes its backend when it is imported, and importing one takes seconds. So one process with each other backend
stays alive for the whole test session and answers pickled tasks over its standard input and output.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from keras_s4.testing.manners import AttachMask


class Task(NamedTuple):
    """A layer, what it is called with, and what its outputs are multiplied with to get one number to differentiate."""

    module: str  # whose import registers the layer's class
    layer: dict
    weights: list[np.ndarray]
    inputs: np.ndarray
    cotangents: np.ndarray
    mask: np.ndarray | None
    training: bool


class Answer(NamedTuple):
    """What a layer gives, as numpy arrays. A gradient is None where nothing connects."""

    outputs: np.ndarray
    input_gradient: np.ndarray | None
    weight_gradients: list[np.ndarray | None]
    updated_weights: list[np.ndarray]  # those that are not trained, after the call


def task_of(layer, inputs, cotangents, mask=None, training=True, module=None) -> Task:
    """A task from a built layer."""
    config = keras.saving.serialize_keras_object(layer)
    module = module or type(layer).__module__
    return Task(module, config, layer.get_weights(), inputs, cotangents, mask, training)


def evaluate(task: Task, jit_compile: bool = False) -> Answer:
    """Answers on the backend of this process; on JAX always compiled, on torch never."""
    model = _model_of(task)
    if keras.backend.backend() == "jax":
        return _evaluate_on_jax(model, task)
    if keras.backend.backend() == "torch":
        return _evaluate_on_torch(model, task)
    return _evaluate_on_tensorflow(model, task, jit_compile)


def _model_of(task: Task) -> keras.Model:
    """A model, and not the layer alone, because masks and dtypes are handled where a model calls its layers."""
    importlib.import_module(task.module)
    layer = keras.saving.deserialize_keras_object(task.layer)
    inputs = keras.Input(task.inputs.shape[1:], dtype=task.inputs.dtype.name)
    model = keras.Model(inputs, layer(inputs if task.mask is None else AttachMask(task.mask)(inputs)))
    layer.set_weights(task.weights)
    return model


def _evaluate_on_tensorflow(model, task, jit_compile):
    import tensorflow

    def run(inputs):
        with tensorflow.GradientTape() as tape:
            if _is_floating(task.inputs):
                tape.watch(inputs)
            outputs = model(inputs, training=task.training)
            loss = ops.sum(ops.cast(outputs, task.cotangents.dtype.name) * task.cotangents)
        weights = [weight.value for weight in model.trainable_weights]
        return outputs, *tape.gradient(loss, (weights, inputs if _is_floating(task.inputs) else []))

    if jit_compile:
        run = tensorflow.function(run, jit_compile=True)
    outputs, weight_gradients, input_gradient = run(tensorflow.constant(task.inputs))
    return _to_numpy(Answer(outputs, input_gradient, weight_gradients, model.non_trainable_weights))


def _evaluate_on_jax(model, task):
    import jax

    def loss(weights, inputs):
        outputs, others = model.stateless_call(weights, fixed, inputs, training=task.training)
        return ops.sum(ops.cast(outputs, task.cotangents.dtype.name) * task.cotangents), (outputs, others)

    weights = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]
    sources = (0, 1) if _is_floating(task.inputs) else (0,)
    gradients, (outputs, others) = jax.jit(jax.grad(loss, sources, has_aux=True))(weights, task.inputs)
    # The variables are the weights and the states of random generators.
    others = dict(zip((variable.path for variable in model.non_trainable_variables), others, strict=True))
    updated = [others[weight.path] for weight in model.non_trainable_weights]
    return _to_numpy(Answer(outputs, gradients[1] if len(gradients) > 1 else [], gradients[0], updated))


def _evaluate_on_torch(model, task):
    import torch

    inputs = torch.from_numpy(task.inputs)
    inputs.requires_grad_(_is_floating(task.inputs))
    outputs = model(inputs, training=task.training)
    loss = ops.sum(ops.cast(outputs, task.cotangents.dtype.name) * torch.from_numpy(task.cotangents))
    loss.backward()
    weight_gradients = [weight.value.grad for weight in model.trainable_weights]
    input_gradient = inputs.grad if _is_floating(task.inputs) else []
    return _to_numpy(Answer(outputs, input_gradient, weight_gradients, model.non_trainable_weights))


def _is_floating(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _to_numpy(answer: Answer) -> Answer:
    return keras.tree.map_structure(lambda x: None if x is None else ops.convert_to_numpy(x), answer)


class BackendProcess:
    """A process with another backend that answers tasks until it is closed.

    Args:
        backend: of Keras, "jax" or "torch".
    """

    def __init__(self, backend: str):
        self.backend = backend
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, read when the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from backends import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "JAX_PLATFORMS": "cpu",
                # One thread, and no optimisation: it compiles for longer than it runs.
                "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )

    @property
    def is_running(self) -> bool:
        """Whether it takes tasks."""
        return self._process.poll() is None

    def evaluate(self, task: Task | Callable[[], None]) -> Answer | None:
        """The answer of the other process, or what a function of a module returns there.

        Raises:
            RuntimeError: the task failed there, or the process ended; the message says how.
        """
        try:
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            self.close()
            self._errors.seek(0)
            last_words = self._errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(
                f"The process with the {self.backend} backend ended with code {self._process.returncode}. It said:\n"
                f"{last_words}"
            ) from error
        if isinstance(answer, str):
            raise RuntimeError(f"The {self.backend} backend failed where this one did not:\n{answer}")
        return answer

    def close(self) -> None:
        """Ends the process, which also ends by itself if this one dies."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def serve() -> None:
    """What the process runs: pickled tasks in, pickled answers or texts of exceptions out, until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not come between the answers
    with suppress(EOFError):
        while True:
            task = pickle.load(sys.stdin.buffer)
            try:
                answer = task() if callable(task) else evaluate(task)
            except Exception:
                answer = traceback.format_exc()
            pickle.dump(answer, answers)
            answers.flush()


_PROCESSES = pytest.StashKey[dict[str, BackendProcess]]()


def backend_process(config: pytest.Config, backend: str) -> BackendProcess:
    """The process of a backend of this test session, started when it is first asked for.

    Skips the test where the backend is missing.
    """
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if keras.backend.backend() == backend:
        pytest.skip(f"{backend} against itself")
    processes = config.stash.setdefault(_PROCESSES, {})
    if backend not in processes or not processes[backend].is_running:
        processes[backend] = BackendProcess(backend)
        config.add_cleanup(processes[backend].close)
    return processes[backend]
