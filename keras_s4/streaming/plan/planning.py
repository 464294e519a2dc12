"""From a model to the plan of its stream: what feeds what, when each layer runs, and what it does in time."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_s4.classes import known_class, otherwise
from keras_s4.layers import Block
from keras_s4.streaming.plan.each_step import MERGING
from keras_s4.streaming.plan.flow import Effect, Flow
from keras_s4.streaming.plan.rules import RefusedError, effect_of
from keras_s4.streaming.plan.timing import Timing, whenever_one_is_new
from keras_s4.surgery.graph import GRAPHS, Graph, as_numbered, graph_of


@dataclasses.dataclass(frozen=True, eq=False)
class Purpose:
    """What a plan is made for, as far as planning depends on it.

    Args:
        action: what a layer that cannot be planned cannot do: "be exported".
        error: the class of the errors that say so.
        handlers: the classes of layers that the reader of the plan can run, in any container that may grow.
        register: the name of the function that adds one.
        with_length: the call that says how many steps a window has.
        any_layer_of_one_value: whether layers behind a pooling over time need no handler, since they are called as they
            are.
        counts_without_end: whether an average in a model that masks padded steps may have windows of unknown length.
    """

    action: str
    error: type[Exception]
    handlers: Any
    register: str
    with_length: str
    any_layer_of_one_value: bool = False
    counts_without_end: bool = False

    def refusal(self, layer: keras.layers.Layer, reason: str, remedy: str) -> Exception:
        """The error to raise for a layer."""
        return self.error(f"Layer {layer.name!r} ({type(layer).__name__}) cannot {self.action}: {reason}. {remedy}.")

    def supported_layers(self) -> list[str]:
        """The names of the classes of layers that have a handler."""
        return sorted({layer_class.__name__ for layer_class in self.handlers})


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer in a stream.

    Args:
        layer: that is called.
        path: of the call, "outer/inner" in a nested model; from the second call of a layer on "call_2/layer".
        inputs: what flows in.
        outputs: what flows out.
        effect: what the layer does in time.
        timing: the steps at which all inputs have come.
        window: inputs that reach the layer in a window of the model, None if its length is not known.
        counted: whether an average divides by the values so far, as in models that mask padded steps.
        inner: the plan of a nested model or block, whose layers are called in place of it.
        wrapped: of a TimeDistributed the call of its layer, where that needs a handler of its own.
    """

    layer: keras.layers.Layer
    path: str
    inputs: tuple[Flow, ...]
    outputs: tuple[Flow, ...]
    effect: Effect
    timing: Timing
    window: int | None = None
    counted: bool = False
    inner: Plan | None = None
    wrapped: Call | None = None

    @property
    def delay(self) -> int:
        """Index of the input at which output 0 comes, less the padding in front of the inputs."""
        return self.effect.delay - max(flow.padding for flow in self.inputs)

    def layer_calls(self) -> Iterator[Call]:
        """Itself and the calls inside of it, those of a nested model in place of the model."""
        if self.inner is not None:
            yield from self.inner.layer_calls()
            return
        yield self
        if self.wrapped is not None:
            yield from self.wrapped.layer_calls()

    def run_inner(self, perform: Callable[[Call, list], Any], inputs: list) -> list:
        """`Plan.run` of the nested model, with its outputs numbered as Keras numbers them."""
        return as_numbered(self.layer, self.inner.run(perform, inputs))


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All calls of a model in the order in which they run.

    Args:
        graph: of the model.
        calls: one for each node of the graph.
        inputs: what flows in.
        outputs: what flows out.
    """

    graph: Graph
    calls: tuple[Call, ...]
    inputs: tuple[Flow, ...]
    outputs: tuple[Flow, ...]

    @property
    def period(self) -> int:
        """Steps after which the pattern of steps that layers drop repeats."""
        return math.lcm(*(flow.timing.period for call in self.layer_calls() for flow in call.outputs))

    def layer_calls(self) -> Iterator[Call]:
        """The calls of all layers, those of nested models in place of the models."""
        for call in self.calls:
            yield from call.layer_calls()

    def run(self, perform: Callable[[Call, list], Any], inputs: list) -> list:
        """Computes the outputs with `perform(call, inputs)` for each call; see `surgery.graph.Graph.run`."""
        calls = iter(self.calls)
        return self.graph.run(lambda layer, values: perform(next(calls), values), inputs)


def plan_of(
    model: keras.Model,
    purpose: Purpose,
    length: int | None = None,
    counted: bool = False,
    steps: int | None = None,
) -> Plan:
    """Plans the stream of a model.

    Args:
        model: built, functional or sequential.
        purpose: of the plan.
        length: steps of a window, which an average over time divides by; by default those of the model's sequences.
        counted: whether the model masks padded steps, so that averages divide by the steps so far.
        steps: of the sequences at hand, where the model leaves their length open.

    Raises:
        ValueError: the graph cannot be read, an input is no sequence, or an average has windows of unknown length.
        NotImplementedError: a layer of an unknown class, by name.
        Exception: of the purpose's class: a layer, or its configuration, needs steps yet to come, mixes steps, or joins
            what does not meet in time.
    """
    graph = graph_of(model)
    flows = [_flow_of_input(model, tensor, steps) for tensor in model.inputs]
    lengths = {flow.shape[1] for flow in flows} - {None}
    if len(lengths) > 1:
        raise ValueError(
            f"Model {model.name!r} has inputs of {' and '.join(map(str, sorted(lengths)))} steps; expected sequences "
            "of one length, of which one sample of each comes at every step. Let what does not change within a "
            "sequence be features of every step."
        )
    if length is None:
        length = next((tensor.shape[1] for tensor in model.inputs if tensor.shape[1]), None)
    planner = _Planner(purpose, length, next(iter(lengths), None), counted)
    plan = planner.plan(graph, flows)
    if any(flow.padding for flow in plan.outputs):
        raise purpose.error(
            f"Model {model.name!r} ends with padding, which must stand directly in front of a convolution."
        )
    return plan


def plan_call(layer: keras.layers.Layer, flows: Sequence[Flow], purpose: Purpose, length: int | None = None) -> Call:
    """Plans one call of a layer alone; the arguments and errors are those of `plan_of`."""
    return _Planner(purpose, length, None, counted=False).call(layer, list(flows), "")


def _flow_of_input(model: keras.Model, tensor: keras.KerasTensor, steps: int | None) -> Flow:
    if len(tensor.shape) < 2:
        raise ValueError(
            f"Model {model.name!r} has input shape {model.input_shape}; expected inputs [B, L] or [B, L, ...]."
        )
    return Flow.of(tensor, steps)


class _Planner:
    """A plan under construction; the arguments are those of `plan_of`, `known` the length of convolution mode."""

    def __init__(self, purpose: Purpose, length: int | None, known: int | None, counted: bool):
        self._purpose = purpose
        self._length = length
        self._known = known
        self._counted = counted
        self._times: Counter[keras.layers.Layer] = Counter()

    def plan(self, graph: Graph, flows: list[Flow], prefix: str = "") -> Plan:
        calls = []

        def add(layer: keras.layers.Layer, inputs: list[Flow]) -> list[Flow]:
            calls.append(self.call(layer, inputs, prefix))
            return list(calls[-1].outputs)

        outputs = graph.run(add, flows)
        return Plan(graph, tuple(calls), tuple(flows), tuple(outputs))

    def call(self, layer: keras.layers.Layer, flows: list[Flow], prefix: str) -> Call:
        try:
            return self._planned(layer, flows, prefix)
        except RefusedError as refused:
            raise self._purpose.refusal(layer, refused.reason, refused.remedy) from None

    def _planned(self, layer: keras.layers.Layer, flows: list[Flow], prefix: str) -> Call:
        self._times[layer] += 1
        again = f"call_{self._times[layer]}/" if self._times[layer] > 1 else ""
        path = f"{prefix}{again}{layer.name}"
        as_it_is = not flows[0].has_time and self._purpose.any_layer_of_one_value
        _refuse_broken_glu(layer)
        if self._is_planned_inside(layer) and not (as_it_is and len(flows) == 1):
            return self._call_of_model(layer, flows, path)
        if as_it_is:
            effect = Effect(several=isinstance(layer, (*MERGING, keras.layers.Dot)))
        else:
            effect = self._effect_of_known(layer, flows)
        if len(flows) > 1 and not effect.several:
            raise RefusedError(f"it has {len(flows)} inputs; expected one", "Call it with one tensor")
        timing = _common_timing(flows)
        window = None if self._length is None else timing.count(self._length)
        _check_padding(effect, flows)
        if effect.averages:
            self._check_window(layer, window)
        wrapped = None
        if isinstance(layer, keras.layers.TimeDistributed) and not self._purpose.any_layer_of_one_value:
            wrapped = self.call(layer.layer, [flows[0].at_one_step()], f"{path}/")
        call = Call(layer, path, tuple(flows), (), effect, timing, window, self._counted, wrapped=wrapped)
        output = Flow(
            *_spec_behind(layer, flows),
            timing.after(effect.stride, call.delay),
            has_time=flows[0].has_time and not effect.pools,
            padding=effect.padding,
        )
        self._check_steps(layer, output)
        return dataclasses.replace(call, outputs=(output,))

    def _is_planned_inside(self, layer: keras.layers.Layer) -> bool:
        """Whether the layers of a model or block are called in place of it; some blocks have a handler as a whole."""
        is_whole = known_class(layer, self._purpose.handlers) not in (None, *GRAPHS)
        return isinstance(layer, keras.Model) or (isinstance(layer, Block) and not is_whole)

    def _call_of_model(self, layer: keras.Model | Block, flows: list[Flow], path: str) -> Call:
        if reason := otherwise(layer, {*GRAPHS, *self._purpose.handlers}):
            raise RefusedError(*reason)
        inner = self.plan(graph_of(layer), flows, f"{path}/")
        outputs = tuple(as_numbered(layer, list(inner.outputs)))
        return Call(layer, path, tuple(flows), outputs, Effect(several=True), flows[0].timing, inner=inner)

    def _effect_of_known(self, layer: keras.layers.Layer, flows: list[Flow]) -> Effect:
        """The effect of a layer that has a handler; where it has none, a rule may have a better reason to refuse it."""
        handlers = self._purpose.handlers
        known = known_class(layer, handlers)
        if known is not None and (reason := otherwise(layer, handlers)):
            raise RefusedError(*reason)
        effect = effect_of(layer, flows)
        if known is None:
            raise self._unsupported(layer)
        return effect

    def _unsupported(self, layer: keras.layers.Layer) -> NotImplementedError:
        purpose = self._purpose
        return NotImplementedError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot {purpose.action}. Supported: "
            f"{', '.join(purpose.supported_layers())}; add yours with {purpose.register}."
        )

    def _check_window(self, layer: keras.layers.Layer, window: int | None) -> None:
        """Refuses an average over nobody knows how many values, or over none.

        Raises:
            ValueError: see above.
        """
        if window is None and not (self._counted and self._purpose.counts_without_end):
            raise ValueError(
                f"Layer {layer.name!r} averages over time, but the model's sequence length is open; "
                f"say how many steps a window has: {self._purpose.with_length}."
            )
        if window is not None and window < 1:
            raise ValueError(
                f"Layer {layer.name!r} averages over time, but within a window no value has reached it; "
                f"make the window longer: {self._purpose.with_length}."
            )

    def _check_steps(self, layer: keras.layers.Layer, flow: Flow) -> None:
        """The length of the layer's output in convolution mode must be what its effect says.

        Raises:
            ValueError: it is another.
        """
        if not flow.has_time or None in (self._known, flow.shape[1]):
            return
        steps = flow.timing.count(self._known) + flow.padding
        if flow.shape[1] != steps:
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) gives {flow.shape[1]} steps in convolution mode, but "
                f"{steps} in a stream. Register it with what it does in time: {self._purpose.register}(..., "
                "effect=Effect(stride=..., delay=...))."
            )


def _refuse_broken_glu(layer: keras.layers.Layer) -> None:
    if getattr(getattr(layer, "activation", None), "__name__", "") == "glu":
        raise RefusedError(
            "its activation 'glu' halves the channels, with which its output shape in Keras does not count",
            "Use no activation, and keras_s4.layers.GLU() behind it",
        )


def _common_timing(flows: list[Flow]) -> Timing:
    """When all inputs have come; the last one counts."""
    if len({flow.has_time for flow in flows}) > 1:
        raise RefusedError(
            f"some of its inputs are sequences, others are not: {_shapes(flows)}",
            "Join sequences with sequences, or what comes behind a pooling over time with its like",
        )
    timings = [flow.timing for flow in flows]
    if not flows[0].has_time:
        return whenever_one_is_new(timings)
    ranks = [len(flow.shape) for flow in flows]
    if len(set(ranks)) > 1:
        raise RefusedError(
            f"its inputs have shapes {_shapes(flows)}, and Keras aligns the steps of one with features of another",
            f"Put Reshape((-1, {'1, ' * (max(ranks) - min(ranks))}...)) in front of the input with fewer axes",
        )
    last = max(timings, key=lambda timing: timing.phase)
    periods = {timing.period for timing in timings}
    if len(periods) > 1 or last.phase - min(timing.phase for timing in timings) >= last.period:
        described = ", ".join(f"period {timing.period} from step {timing.phase}" for timing in timings)
        raise RefusedError(
            f"its inputs come at different steps ({described})",
            "Give its branches the same strides; Cropping1D((m, 0)) lets one start m steps later",
        )
    return last


def _shapes(flows: list[Flow]) -> str:
    return ", ".join(str(flow.shape) for flow in flows)


def _check_padding(effect: Effect, flows: list[Flow]) -> None:
    padding = max(flow.padding for flow in flows)
    if padding and not effect.takes_padding:
        raise RefusedError(
            "there is padding in front of it, for which only the zeros in a convolution's initial state can stand",
            "Put ZeroPadding1D directly in front of a convolution",
        )
    if padding > effect.delay:
        raise RefusedError(
            f"the {padding} zeros in front of it make it give outputs before the first sample",
            f"It takes at most {effect.delay}, with ZeroPadding1D(({effect.delay}, 0))",
        )


def _spec_behind(layer: keras.layers.Layer, flows: list[Flow]) -> tuple[tuple, str]:
    """Shape and type that the layer gives in convolution mode."""
    tensors = [
        # A layer casts floating inputs to its own type when it is called, and only then.
        keras.KerasTensor(flow.shape, layer.compute_dtype if keras.backend.is_float_dtype(flow.dtype) else flow.dtype)
        for flow in flows
    ]
    # Not `compute_output_shape`, which few layers of one's own define.
    spec = layer.compute_output_spec(tensors[0] if len(tensors) == 1 else tensors)
    if getattr(layer, "return_state", False):
        spec = keras.tree.flatten(spec)[0]  # the graph has seen to it that nothing reads the state
    if not isinstance(spec, keras.KerasTensor):
        raise RefusedError("it gives several outputs", "Give it one output, or take it apart into several layers")
    return tuple(spec.shape), keras.backend.standardize_dtype(spec.dtype)
