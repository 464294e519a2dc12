"""All layers of a model step by step, as its plan says."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_s4.streaming.clock import Clock, always, updated
from keras_s4.streaming.each_step import EachValue
from keras_s4.streaming.loop import StepLoop
from keras_s4.streaming.plan import EVERY_STEP, Call, Flow, Plan
from keras_s4.streaming.streamer import streamer_of

Tensor = Any
State = Any
# Keys of a network's state beside the paths of its layers, which do not begin with a slash.
CLOCK = "/clock"
OUTPUTS = "/outputs"


class Network:
    """The streamers of a model's layers, joined as its plan says.

    Args:
        plan: of the model, for step mode.

    Raises:
        ValueError: the pattern of steps that layers drop is too long to be counted.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self._stages = {call.path: _Stage(call) for call in plan.layer_calls()}
        calls = [call.timing for call in plan.layer_calls()]
        timings = [*calls, *(flow.timing for flow in plan.outputs)]
        self.clock = None if all(timing == EVERY_STEP for timing in timings) else Clock(timings)
        self._loop = StepLoop(self.step, self.initial_state(1), plan.inputs, plan.outputs)

    def initial_state(self, batch: int) -> dict[str, State]:
        """The state of `batch` streams before their first step, by the path of the layer."""
        states = {path: stage.initial_state(batch) for path, stage in self._stages.items()}
        if self.clock is not None:
            outputs = tuple(_zeros(flow, batch) for flow in self.plan.outputs)
            states |= {CLOCK: self.clock.initial_state(batch), OUTPUTS: outputs}
        return states

    def step(self, samples: list[Tensor], states: dict[str, State]) -> tuple[list[Tensor], dict[str, State]]:
        """The outputs `[B, ...]` and the next states from samples `[B, ...]`."""
        due = always if self.clock is None else self.clock.due(states[CLOCK])
        next_states = {}

        def perform(call, inputs):
            if call.inner is not None:
                return call.run_inner(perform, inputs)
            outputs, next_states[call.path] = self._stages[call.path].step(inputs, states[call.path], due)
            return outputs

        outputs = self.plan.run(perform, samples)
        if self.clock is not None:
            held = zip(self.plan.outputs, outputs, states[OUTPUTS], strict=True)
            outputs = [updated(due(flow.timing), new, old) for flow, new, old in held]
            next_states |= {CLOCK: self.clock.next(states[CLOCK]), OUTPUTS: tuple(outputs)}
        return outputs, next_states

    def loop(self, samples: list[Tensor], states: dict[str, State]) -> tuple[list[Tensor], dict[str, State]]:
        """`step` along `[B, T, ...]`."""
        return self._loop(samples, states)

    def chunk(self, samples: list[Tensor], states: dict[str, State]) -> tuple[list[Tensor], dict[str, State]]:
        """The same outputs as `loop`, by the fastest way that each layer has."""
        if self.clock is not None:
            return self.loop(samples, states)
        next_states = {}

        def perform(call, inputs):
            if call.inner is not None:
                return call.run_inner(perform, inputs)
            outputs, next_states[call.path] = self._stages[call.path].streamer.chunk(inputs, states[call.path])
            return outputs

        return self.plan.run(perform, samples), next_states


class _Stage:
    """A streamer at its place in a network, where its inputs may come at some steps only.

    It runs at every step, as a program for a device does, but its state changes only where an input is due. An input
    that comes at other steps than the stage runs at waits in between.
    """

    def __init__(self, call: Call):
        self.streamer = streamer_of(call) if call.inputs[0].has_time else EachValue(call)
        self._timing = call.timing
        self._waiting = {place: flow for place, flow in enumerate(call.inputs) if flow.timing != call.timing}

    def initial_state(self, batch):
        state = self.streamer.initial_state(batch)
        return (state, tuple(_zeros(flow, batch) for flow in self._waiting.values())) if self._waiting else state

    def step(self, inputs, state, due):
        own, waiting = state if self._waiting else (state, ())
        waiting = tuple(
            updated(due(flow.timing), inputs[place], value)
            for (place, flow), value in zip(self._waiting.items(), waiting, strict=True)
        )
        for place, value in zip(self._waiting, waiting, strict=True):
            inputs = [*inputs[:place], value, *inputs[place + 1 :]]
        outputs, new = self.streamer.step(inputs, own)
        own = updated(due(self._timing), new, own)
        return outputs, (own, waiting) if self._waiting else own


def _zeros(flow: Flow, batch: int) -> Tensor:
    """One step of zeros."""
    return ops.zeros((batch, *flow.step_shape), dtype=flow.dtype)
