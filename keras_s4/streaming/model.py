"""A trained model that runs step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.checks import check_model, whole_number
from keras_s4.streaming.compiled import compiled
from keras_s4.streaming.network import Network, Signal, graph_of_streams
from keras_s4.surgery.padding import padding_of, places_of_real_steps, take_steps
from keras_s4.surgery.padding_proof import Proof, trial_data

Tensor = Any
State = Any


@keras.saving.register_keras_serializable(package="keras_s4")
class StreamingModel(keras.Model):
    """A trained model run step by step: equal to its convolution mode up to rounding.

    `predict(x)` gives the output after every step of whole sequences, `[B, L, ...]`; `initial_state`, `step` and
    `chunk` are for live streams. A live stream has no padding: every sample that `step` and `chunk` get is a real one.

    In sequences for `predict`, steps that the model's own layers mask are padding. The stream rests in them: its states
    and its output stay as the last real step left them, and before the first one the output is zero. So the last output
    of each sequence, padded at its end or in front, is what the model gives for it. An average over time then divides
    by the real steps so far, at most by `length`.

    Where layers with strides drop steps, a new output comes at step `phase` and at every `period`-th step from there:
    output j of the whole sequence is that of step `phase + j * period`. In between the last output is held; before the
    first one it is zero. If no layer drops steps, `period` is 1 and `phase` 0.

    Args:
        model: a built functional or sequential model of supported layers, with one input `[B, L]` or `[B, L, ...]` and
            one output.
        length: steps that an average over time divides by; by default the model's sequence length.

    Raises:
        ValueError: the model masks padded steps, but its output depends on them. Or the model is not built, has no
            readable graph or more than one input or output, averages over time of unknown length, calls a layer twice,
            or holds a layer whose configuration needs steps yet to come.
        NotImplementedError: a layer that cannot run step by step, by name.
    """

    def __init__(self, model: keras.Model, length: int | None = None, **kwargs):
        # Samples are cast by the layers that take them, not by the policy of this model.
        super().__init__(**kwargs, autocast=False)
        check_model(model, length, "StreamingModel")
        if length is not None:
            length = whole_number(length, "StreamingModel got length=")
        self.model = model
        graph = graph_of_streams(model)
        source = Signal.of(model.inputs[0])
        self.length = length if length is not None else source.shape[1]
        self._padding = padding_of(model)
        self._network = Network(graph, source, self.length, counted=self._padding is not None)
        if self._padding is not None:
            self._proof = Proof(self._padding, "StreamingModel")
            self._proof.check_end([trial_data(model)])
        self.built = True

    @property
    def period(self) -> int:
        """Steps from one new output to the next."""
        return self._network.output.timing.period

    @property
    def phase(self) -> int:
        """The step, counted from 0, at which the first output comes."""
        return self._network.output.timing.phase

    def initial_state(self, batch: int) -> dict[str, State]:
        """The state of `batch` streams before their first step, by layer name; also what a reset returns to."""
        return self._network.initial_state(batch)

    def step(self, samples: Tensor, states: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """One step of every stream.

        Args:
            samples: `[B, ...]`, without a time axis.
            states: from `initial_state`, or the last step or chunk.

        Returns:
            the model's output for each stream, and the next states.

        Raises:
            ValueError: the samples have another shape.
        """
        return self._network.step(self._checked(samples, ("B",)), states)

    def chunk(self, samples: Tensor, states: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """The next T steps of every stream at once: DSS layers run in convolution mode.

        Any split of a stream into chunks and steps gives equal outputs up to rounding. Models that drop steps loop.

        Args:
            samples: `[B, T, ...]`.
            states: from `initial_state`, or the last step or chunk.

        Returns:
            the output after each step, `[B, T, ...]`, and the next states.

        Raises:
            ValueError: the samples have another shape.
        """
        return self._network.chunk(self._checked(samples, ("B", "T")), states)

    def compiled_step(self, jit_compile: bool = False) -> Callable:
        """`step` as one compiled function, for live streams in Python.

        It is compiled at the first call for a batch size, and reads the weights at every call.

        Args:
            jit_compile: compile with XLA on the TensorFlow backend; JAX always does.

        Returns:
            a function of samples and states, arrays or tensors, to outputs and next states.

        Raises:
            NotImplementedError: the backend is neither TensorFlow nor JAX.
        """
        return self._compiled(self.step, jit_compile)

    def compiled_chunk(self, jit_compile: bool = False) -> Callable:
        """`chunk` as one compiled function, like `compiled_step`; chunks of another length are compiled anew."""
        return self._compiled(self.chunk, jit_compile)

    def call(self, sequences):
        """The output after each step: `[B, L, ...]` to `[B, L, ...]`."""
        if self._padding is None:
            return self._loop(sequences)
        real = ops.cast(self._padding.mask([ops.cast(sequences, self._network.source.dtype)]), "bool")
        outputs = self._loop(take_steps(sequences, places_of_real_steps(real)))
        counts = ops.cumsum(ops.cast(real, "int32"), axis=1)
        held = take_steps(outputs, ops.maximum(counts - 1, 0))
        started = ops.reshape(counts > 0, (*ops.shape(counts), *(1 for _ in outputs.shape[2:])))
        return ops.where(started, held, ops.zeros_like(held))

    def predict(self, x, *args, **kwargs):
        """As `keras.Model.predict`; padding that the model treats otherwise than a stream is refused.

        Raises:
            ValueError: see above.
        """
        if self._padding is not None and isinstance(x, np.ndarray):
            self._proof.check([x], self._padding.real_steps([x]))
        return super().predict(x, *args, **kwargs)

    def _loop(self, sequences):
        outputs, _ = self._network.loop(sequences, self.initial_state(ops.shape(sequences)[0]))
        return outputs

    def get_config(self):
        """Every argument."""
        return {"model": keras.saving.serialize_keras_object(self.model), "length": self.length, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """The streaming model of a deserialised model."""
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})

    def _compiled(self, function, jit_compile):
        run = compiled(function, self.model.variables, jit_compile)

        def call(samples, states):
            # Arrays of another type than the last time would compile anew.
            return run(self._as_tensor(samples), keras.tree.map_structure(ops.convert_to_tensor, states))

        return call

    def _checked(self, samples, leading):
        expected = (*leading, *self._network.source.step_shape)
        received = tuple(samples.shape)
        if received[len(leading) :] != expected[len(leading) :] or len(received) != len(expected):
            raise ValueError(f"Got samples of shape {received}; expected [{', '.join(map(str, expected))}].")
        return self._as_tensor(samples)

    def _as_tensor(self, samples):
        # The type that the model's own call gives its inputs; another would make outputs differ by the rounding.
        return ops.convert_to_tensor(samples, dtype=self._network.source.dtype)
