"""A trained model that runs step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.backends import without_autograph
from keras_s4.checks import check_model, whole_number
from keras_s4.samples import arrays_by_name
from keras_s4.streaming.compiled import compiled
from keras_s4.streaming.network import Network
from keras_s4.streaming.plan import plan_of
from keras_s4.streaming.streamer import STEP_MODE
from keras_s4.surgery.calls import input_names
from keras_s4.surgery.graph import as_numbered
from keras_s4.surgery.padding import padding_of, places_of_real_steps, take_steps
from keras_s4.surgery.padding_proof import Proof, trial_data

Tensor = Any
State = Any


@keras.saving.register_keras_serializable(package="keras_s4")
class StreamingModel(keras.Model):
    """A trained model run step by step: equal to its convolution mode up to rounding.

    `predict(x)` gives the output after every step of whole sequences, `[B, L, ...]`; `initial_state`, `step` and
    `chunk` are for live streams. A live stream has no padding: every sample that `step` and `chunk` get is a real one.

    A model with several inputs takes a list of them in its order, or a dict by their names, and one sample of each
    comes at every step. Several outputs are given as the model gives them, in a list or a dict.

    In sequences for `predict`, steps that the model's own layers mask are padding. The stream rests in them: its states
    and its outputs stay as the last real step left them, and before the first one the outputs are zero. So the last
    output of each sequence, padded at its end or in front, is what the model gives for it. An average over time then
    divides by the real steps so far, at most by `length`.

    Where layers with strides drop steps, a new output comes at step `phase` and at every `period`-th step from there:
    output j of the whole sequence is that of step `phase + j * period`. In between the last output is held; before the
    first one it is zero. If no layer drops steps, `period` is 1 and `phase` 0.

    Args:
        model: a built functional or sequential model of supported layers, whose inputs are sequences of equally many
            steps, `[B, L]` or `[B, L, ...]`.
        length: steps that an average over time divides by; by default the model's sequence length.

    Raises:
        ValueError: the model masks padded steps, but its output depends on them. Or the model is not built, has no
            readable graph, averages over time of unknown length, joins what does not meet in time, or holds a layer
            whose configuration needs steps yet to come.
        NotImplementedError: a layer that cannot run step by step, by name.
    """

    def __init__(self, model: keras.Model, length: int | None = None, **kwargs):
        # Samples are cast by the layers that take them, not by the policy of this model.
        super().__init__(**kwargs, autocast=False)
        check_model(model, length, "StreamingModel")
        if length is not None:
            length = whole_number(length, "StreamingModel got length=")
        self.model = model
        self._padding = padding_of(model) if model.built else None
        plan = plan_of(model, STEP_MODE, length, counted=self._padding is not None)
        lengths = (flow.shape[1] for flow in plan.inputs)
        self.length = length if length is not None else next(filter(None, lengths), None)
        self._network = Network(plan)
        self._names = input_names(model)
        if self._padding is not None:
            self._proof = Proof(self._padding, "StreamingModel")
            self._proof.check_end(trial_data(model))
        self.built = True

    @property
    def period(self):
        """Steps from one new output to the next; of several outputs a list or dict of them."""
        return self._as_given([flow.timing.period for flow in self._network.plan.outputs])

    @property
    def phase(self):
        """The step, counted from 0, at which the first output comes; of several outputs a list or dict of them."""
        return self._as_given([flow.timing.phase for flow in self._network.plan.outputs])

    def initial_state(self, batch: int) -> dict[str, State]:
        """The state of `batch` streams before their first step, by layer path; also what a reset returns to."""
        return self._network.initial_state(batch)

    @without_autograph
    def step(self, samples: Any, states: dict[str, State]) -> tuple[Any, dict[str, State]]:
        """One step of every stream.

        Args:
            samples: `[B, ...]`, without a time axis; of several inputs a list or dict of them.
            states: from `initial_state`, or the last step or chunk.

        Returns:
            the model's outputs for each stream, and the next states.

        Raises:
            ValueError: the samples have another shape, or other inputs are given than the model has.
        """
        outputs, states = self._network.step(self._checked(samples, ("B",)), states)
        return self._as_given(outputs), states

    @without_autograph
    def chunk(self, samples: Any, states: dict[str, State]) -> tuple[Any, dict[str, State]]:
        """The next T steps of every stream at once: DSS layers run in convolution mode.

        Any split of a stream into chunks and steps gives equal outputs up to rounding. Models that drop steps loop.

        Args:
            samples: `[B, T, ...]`; of several inputs a list or dict of them.
            states: from `initial_state`, or the last step or chunk.

        Returns:
            the outputs after each step, `[B, T, ...]`, and the next states.

        Raises:
            ValueError: the samples have another shape, or other inputs are given than the model has.
        """
        outputs, states = self._network.chunk(self._checked(samples, ("B", "T")), states)
        return self._as_given(outputs), states

    @without_autograph
    def steps(self, samples: Any, states: dict[str, State]) -> tuple[Any, dict[str, State]]:
        """The next T steps of every stream by `step` in a loop; arguments, results and refusals as of `chunk`."""
        outputs, states = self._network.loop(self._checked(samples, ("B", "T")), states)
        return self._as_given(outputs), states

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

    def compiled_steps(self, jit_compile: bool = True) -> Callable:
        """`steps` as one compiled function, like `compiled_step`; other numbers of steps are compiled anew.

        A call costs much more than a step of a small model: for one stream give it as many as may come late.
        """
        return self._compiled(self.steps, jit_compile)

    def call(self, sequences):
        """The outputs after each step: `[B, L, ...]` to `[B, L, ...]`."""
        sequences = self._listed(sequences)
        if self._padding is None:
            return self._as_given(self._loop(sequences))
        flows = self._network.plan.inputs
        cast = [ops.cast(each, flow.dtype) for each, flow in zip(sequences, flows, strict=True)]
        real = ops.cast(self._padding.mask(cast), "bool")
        places = places_of_real_steps(real)
        outputs = self._loop([take_steps(each, places) for each in sequences])
        return self._as_given([_hold_in_padding(each, real) for each in outputs])

    def predict(self, x, *args, **kwargs):
        """As `keras.Model.predict`; padding that the model treats otherwise than a stream is refused.

        Raises:
            ValueError: see above.
        """
        arrays = self._listed(x) if isinstance(x, (np.ndarray, list, tuple, Mapping)) else []
        if self._padding is not None and arrays and all(isinstance(array, np.ndarray) for array in arrays):
            self._proof.check(arrays, self._padding.real_steps(arrays))
        return super().predict(x, *args, **kwargs)

    def _loop(self, sequences):
        outputs, _ = self._network.loop(sequences, self.initial_state(ops.shape(sequences[0])[0]))
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
            tensors = self._as_tensors(self._listed(samples))
            return run(
                tensors if len(tensors) > 1 else tensors[0], keras.tree.map_structure(ops.convert_to_tensor, states)
            )

        return call

    def _listed(self, samples):
        """What is given for the inputs, in their order."""
        return arrays_by_name(self._names, samples, f"StreamingModel of {self.model.name!r}")

    def _as_given(self, outputs):
        """Outputs in the order of the graph as the model gives them: one, a list or a dict."""
        if isinstance(self.model, keras.Sequential):
            return outputs[0]
        return keras.tree.pack_sequence_as(self.model.output, as_numbered(self.model, outputs))

    def _checked(self, samples, leading):
        flows, listed = self._network.plan.inputs, self._listed(samples)
        for name, flow, each in zip(self._names, flows, listed, strict=True):
            expected, received = (*leading, *flow.step_shape), tuple(each.shape)
            if received[len(leading) :] != expected[len(leading) :] or len(received) != len(expected):
                which = f" of input {name!r}" if len(flows) > 1 else ""
                raise ValueError(f"Got samples{which} of shape {received}; expected [{', '.join(map(str, expected))}].")
        return self._as_tensors(listed)

    def _as_tensors(self, samples):
        # The type that the model's own call gives its inputs; another would make outputs differ by the rounding.
        flows = self._network.plan.inputs
        return [ops.convert_to_tensor(each, dtype=flow.dtype) for each, flow in zip(samples, flows, strict=True)]


def _hold_in_padding(outputs: Tensor, real: Tensor) -> Tensor:
    """Outputs `[B, L, ...]` of the real steps in order at the places `[B, L]` of those; zero before the first one."""
    counts = ops.cumsum(ops.cast(real, "int32"), axis=1)
    held = take_steps(outputs, ops.maximum(counts - 1, 0))
    started = ops.reshape(counts > 0, (*ops.shape(counts), *(1 for _ in outputs.shape[2:])))
    return ops.where(started, held, ops.zeros_like(held))
