"""All layers of a model step by step: what feeds what, and when."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_s4.streaming.loop import StepLoop
from keras_s4.streaming.pointwise import EachValue
from keras_s4.streaming.streamer import Streamer, refusal, streamer_of
from keras_s4.streaming.timing import EVERY_STEP, Clock, Timing, always, updated
from keras_s4.surgery.graph import Graph, graph_of
from keras_s4.surgery.padding import operations_of_masks

Tensor = Any
State = Any
# Keys of a network's state beside its layers' names, which hold no slash.
CLOCK = "/clock"
OUTPUT = "/output"


@dataclasses.dataclass(frozen=True)
class Signal:
    """What flows between two layers.

    Args:
        shape: in convolution mode, `[B, L, ...]`, or `[B, ...]` without a time axis behind a pooling over time.
        dtype: of its values.
        timing: when they are due.
        has_time: whether there is a time axis.
        padding: zeros that stand in front of the first value in convolution mode.
    """

    shape: tuple
    dtype: str
    timing: Timing = EVERY_STEP
    has_time: bool = True
    padding: int = 0

    @classmethod
    def of(cls, tensor: keras.KerasTensor) -> Signal:
        """A model's input."""
        return cls(tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))

    @property
    def step_shape(self) -> tuple:
        """The shape at one step, without the batch."""
        return tuple(self.shape[2:] if self.has_time else self.shape[1:])

    def zeros(self, batch: int) -> Tensor:
        """One step of zeros."""
        return ops.zeros((batch, *self.step_shape), dtype=self.dtype)


class Network:
    """The streamers of a model's layers, joined as its graph says.

    Args:
        graph: from `graph_of_streams`.
        source: the input in convolution mode.
        length: steps of the sequences that the model was trained on, None if not known.
        counted: whether averages over time divide by the steps so far.

    Raises:
        ValueError: the graph calls a layer twice, joins signals that do not meet in time, or holds a layer whose
            configuration cannot run step by step.
        NotImplementedError: a layer that cannot run step by step, by name.
    """

    def __init__(self, graph: Graph, source: Signal, length: int | None, counted: bool = False):
        self._graph = graph
        self._length = length
        self._counted = counted
        self._stages: dict[str, _Stage] = {}
        self.source = source
        (self.output,) = self._graph.run(self._add, [source])
        if self.output.padding:
            raise ValueError("The model ends with padding, which must stand directly in front of a convolution.")
        timings = [self.output.timing, *(stage.timing for stage in self._stages.values())]
        self.clock = None if all(timing == EVERY_STEP for timing in timings) else Clock(timings)
        self._loop = StepLoop(self._step_of_list, self.initial_state(1), [source.step_shape], dtype=self.output.dtype)

    def initial_state(self, batch: int) -> dict[str, State]:
        """The state of `batch` streams before their first step, by layer name."""
        states = {name: stage.initial_state(batch) for name, stage in self._stages.items()}
        if self.clock is not None:
            states |= {CLOCK: self.clock.initial_state(batch), OUTPUT: self.output.zeros(batch)}
        return states

    def step(self, samples: Tensor, states: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """Outputs `[B, ...]` and the next states from samples `[B, ...]`."""
        due = always if self.clock is None else self.clock.due(states[CLOCK])
        next_states = {}

        def call(layer, inputs):
            stage = self._stages[layer.name]
            outputs, next_states[layer.name] = stage.step(inputs, states[layer.name], due)
            return outputs

        (outputs,) = self._graph.run(call, [samples])
        if self.clock is not None:
            outputs = updated(due(self.output.timing), outputs, states[OUTPUT])
            next_states |= {CLOCK: self.clock.next(states[CLOCK]), OUTPUT: outputs}
        return outputs, next_states

    def loop(self, samples: Tensor, states: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """`step` along `[B, T, ...]`."""
        return self._loop([samples], states)

    def chunk(self, samples: Tensor, states: dict[str, State]) -> tuple[Tensor, dict[str, State]]:
        """The same outputs as `loop`, by the fastest way that each layer has."""
        if self.clock is not None:
            return self.loop(samples, states)
        next_states = {}

        def call(layer, inputs):
            streamer = self._stages[layer.name].streamer
            outputs, next_states[layer.name] = streamer.chunk(inputs, states[layer.name])
            return outputs

        (outputs,) = self._graph.run(call, [samples])
        return outputs, next_states

    def _step_of_list(self, inputs, states):
        return self.step(inputs[0], states)

    def _add(self, layer: keras.layers.Layer, signals: list[Signal]) -> Signal:
        """Finds the layer's streamer; the signal that it gives."""
        if layer.name in self._stages:
            raise ValueError(
                f"Layer {layer.name!r} is called more than once; in a stream each call needs a state of its own."
            )
        timing = _common_timing(layer, signals)
        streamer = self._streamer(layer, signals, timing)
        padding = max(signal.padding for signal in signals)
        if padding and not streamer.takes_padding:
            raise refusal(
                layer,
                "there is padding in front of it, for which only the zeros in a convolution's initial state can stand",
                "Put ZeroPadding1D directly in front of a convolution",
            )
        if padding > streamer.delay:
            raise refusal(
                layer,
                f"the {padding} zeros in front of it make it give outputs before the first sample",
                f"It takes at most {streamer.delay}, with ZeroPadding1D(({streamer.delay}, 0))",
            )
        self._stages[layer.name] = _Stage(streamer, signals, timing)
        shape, dtype = _output_of(layer, signals)
        result = Signal(
            shape,
            dtype,
            timing.after(streamer.stride, streamer.delay - padding),
            has_time=signals[0].has_time and not streamer.pools,
            padding=streamer.padding,
        )
        self._check_steps(layer, result)
        return result

    def _streamer(self, layer, signals, timing) -> Streamer:
        length = None if self._length is None else timing.count(self._length)
        shapes = [signal.shape for signal in signals]
        shape = shapes if len(signals) > 1 else shapes[0]
        if signals[0].has_time:
            streamer = streamer_of(layer, shape, length, self._counted)
        else:
            streamer = EachValue(layer, shape, length)
        if len(signals) > 1 and not streamer.takes_several:
            raise refusal(layer, f"it has {len(signals)} inputs; expected one", "Call it with one tensor")
        return streamer

    def _check_steps(self, layer, signal: Signal) -> None:
        """The length of the layer's output in convolution mode must be what its streamer says."""
        if not signal.has_time or None in (self.source.shape[1], signal.shape[1]):
            return
        steps = signal.timing.count(self.source.shape[1]) + signal.padding
        if signal.shape[1] != steps:
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) gives {signal.shape[1]} steps in convolution mode, but "
                f"{steps} in a stream. Its streamer must say so with `stride`, `delay` or `pools`."
            )


class _Stage:
    """A streamer at its place in a network, where its inputs may come at some steps only.

    It runs at every step, as a program for a device does, but its state changes only where an input is due. An input
    that comes earlier than the others waits for them.
    """

    def __init__(self, streamer: Streamer, signals: list[Signal], timing: Timing):
        self.streamer = streamer
        self.timing = timing
        self._early = {i: signal for i, signal in enumerate(signals) if signal.timing != timing}

    def initial_state(self, batch):
        state = self.streamer.initial_state(batch)
        return (state, tuple(signal.zeros(batch) for signal in self._early.values())) if self._early else state

    def step(self, inputs, state, due):
        own, waiting = state if self._early else (state, ())
        waiting = tuple(
            updated(due(signal.timing), inputs[i], value)
            for (i, signal), value in zip(self._early.items(), waiting, strict=True)
        )
        for i, value in zip(self._early, waiting, strict=True):
            inputs = [*inputs[:i], value, *inputs[i + 1 :]]
        outputs, new = self.streamer.step(inputs, own)
        own = updated(due(self.timing), new, own)
        return outputs, (own, waiting) if self._early else own


def graph_of_streams(model: keras.Model) -> Graph:
    """The graph of a model of layers alone, with one input and one output.

    Raises:
        ValueError: the graph cannot be read, holds operations that are no layers, or has several inputs or outputs.
    """
    _refuse_operations(model)
    graph = graph_of(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(model.inputs[0].shape) < 2:
        raise ValueError(
            f"Model {model.name!r} has input shape {model.input_shape} and {len(graph.outputs)} output(s); "
            "expected one input [B, L] or [B, L, ...] and one output."
        )
    return graph


def _refuse_operations(model: keras.Model) -> None:
    """Refuses what `x[:, -1]` or `a + b` put into a graph: operations, not layers, but for those that make a mask."""
    advice = {
        "GetItem": "keras_s4.layers.LastStep() for x[:, -1], or keras.layers.Cropping1D",
        "Add": "keras.layers.Add()([a, b])",
        "Subtract": "keras.layers.Subtract()([a, b])",
        "Multiply": "keras.layers.Multiply()([a, b]), or keras.layers.Rescaling for x * 2",
        "Maximum": "keras.layers.Maximum()([a, b])",
        "Minimum": "keras.layers.Minimum()([a, b])",
        "Concatenate": "keras.layers.Concatenate()([a, b])",
        "Mean": "keras.layers.GlobalAveragePooling1D()",
        "Max": "keras.layers.GlobalMaxPooling1D()",
        "Reshape": "keras.layers.Reshape",
    }
    masking = operations_of_masks(model)
    for operation in getattr(model, "operations", ()):
        if not isinstance(operation, keras.layers.Layer) and operation.name not in masking:
            kind = type(operation).__name__
            raise ValueError(
                f"Operation {operation.name!r} ({kind}) of model {model.name!r} cannot run step by step: it is not a "
                f"layer, and nothing says what it does to time. Use {advice.get(kind, 'a layer')} instead."
            )


def _common_timing(layer, signals: list[Signal]) -> Timing:
    """When all inputs have come; the last one counts."""
    if len({(signal.has_time, len(signal.shape)) for signal in signals}) > 1:
        raise refusal(
            layer,
            f"its inputs of shapes {', '.join(str(signal.shape) for signal in signals)} have not the same axes",
            "Join sequences with sequences, or what comes behind a pooling over time with its like",
        )
    timings = [signal.timing for signal in signals]
    last = max(timings, key=lambda timing: timing.phase)
    periods = {timing.period for timing in timings}
    if len(periods) > 1 or last.phase - min(timing.phase for timing in timings) >= last.period:
        described = ", ".join(f"period {timing.period} from step {timing.phase}" for timing in timings)
        raise refusal(
            layer,
            f"its inputs come at different steps ({described})",
            "Give its branches the same strides; Cropping1D((m, 0)) lets one start m steps later",
        )
    return last


def _output_of(layer, signals: list[Signal]) -> tuple[tuple, str]:
    """Shape and type that the layer gives in convolution mode."""
    tensors = [
        # A layer casts floating inputs to its own type when it is called, and only then.
        keras.KerasTensor(
            signal.shape,
            layer.compute_dtype if keras.backend.is_float_dtype(signal.dtype) else signal.dtype,
        )
        for signal in signals
    ]
    # Not `compute_output_shape`, which few layers of one's own define.
    spec = layer.compute_output_spec(tensors[0] if len(tensors) == 1 else tensors)
    if getattr(layer, "return_state", False):
        spec = keras.tree.flatten(spec)[0]  # the graph has seen to it that nothing reads the state
    if not isinstance(spec, keras.KerasTensor):
        raise refusal(layer, "it gives several outputs", "Give it one output, or take it apart into several layers")
    return tuple(spec.shape), keras.backend.standardize_dtype(spec.dtype)
