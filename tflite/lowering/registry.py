"""Which Keras layers have a lowering, and one after the other lowered as the plan of a stream says."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import keras

from keras_s4.classes import known_class
from keras_s4.streaming.plan import Call, Effect, Flow, Plan, Purpose, plan_call, plan_of, register_effect
from keras_s4.surgery.graph import GRAPHS
from keras_s4.surgery.layer_state import quantization_of
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import Takes

Lowering = Callable[[keras.layers.Layer, list[Signal], ProgramBuilder], Signal]
_LOWERINGS: dict[type, Lowering] = {}
_RESTING: set[Lowering] = set()
_TAKING_UNITS: dict[Lowering, Takes | Callable[[keras.layers.Layer], Takes]] = {}
EXPORT = Purpose(
    action="be exported",
    error=NotImplementedError,
    handlers=_LOWERINGS,
    register="keras_s4.tflite.lowering.register",
    with_length="convert(model, data, length=...)",
)


def register(
    *layer_classes: type,
    takes: Takes | Callable[[keras.layers.Layer], Takes] = "nothing",
    rests: bool = False,
    effect: Effect | None = None,
) -> Callable[[Lowering], Lowering]:
    """Decorator: this function lowers layers of these classes, and of subclasses that compute as they do.

    It gets the layer, a list of its inputs and the builder, adds operations and states to the builder, and returns the
    output. What the layer does in time is `builder.call.effect`.

    Args:
        layer_classes: Keras layers.
        takes: what the lowering takes of inputs whose features have units of their own (`Signal.encoding`): "nothing",
            then it gets them in one scale; "units", or "both" units and offsets; or a function of the layer.
        rests: whether a state that the lowering adds rests until the first value of an input that starts late
            (`Signal.phase`). Behind such inputs layers with other lowerings that add a state are refused.
        effect: what layers of one's own do in time; see `keras_s4.streaming.register`.
    """

    def add(lowering: Lowering) -> Lowering:
        _LOWERINGS.update(dict.fromkeys(layer_classes, lowering))
        if rests:
            _RESTING.add(lowering)
        _TAKING_UNITS[lowering] = takes
        register_effect(layer_classes, effect, Effect())
        return lowering

    return add


def supported_layers() -> list[str]:
    """Names of the layer classes that can be exported."""
    return EXPORT.supported_layers()


def is_lowered_inside(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a model or block of which each layer is lowered by itself."""
    return known_class(layer, _LOWERINGS) in GRAPHS


def takes_of(layer: keras.layers.Layer) -> Takes:
    """What the lowering of a layer takes of features with units of their own."""
    takes = _TAKING_UNITS[_lowering_of(layer)]
    return takes(layer) if callable(takes) else takes


def plan_of_export(model: keras.Model, length: int | None, counted: bool, samples: int) -> Plan:
    """The plan of a model's stream, in which nothing stands that cannot be exported for its place in time.

    Args:
        model: built, functional or sequential.
        length: steps of a window, which an average over time divides by.
        counted: whether the model masks padded steps.
        samples: in each stream of the calibration data.

    Raises:
        NotImplementedError, ValueError: see `lower_call` and `streaming.plan.plan_of`.
    """
    plan = plan_of(model, EXPORT, length, counted, samples)
    for call in plan.layer_calls():
        check_place(call)
    return plan


def lower(layer: keras.layers.Layer, inputs: list[Signal], builder: ProgramBuilder) -> Signal | list[Signal]:
    """`lower_call` of a layer that no model calls: alone, or as a part of the layer that is being lowered."""
    flows = [signal.flow or _flow_inside(signal, builder.call) for signal in inputs]
    return lower_call(plan_call(layer, flows, EXPORT, builder.length), inputs, builder)


def _flow_inside(signal: Signal, call: Call | None) -> Flow:
    """What flows between the parts of a layer: at its rate, in steps of the shape that the tensor has."""
    shape = (None, signal.values.shape[1], *signal.tensor.shape)
    flow = Flow(shape, "float32")
    if call is None:
        return flow
    flow = dataclasses.replace(flow, timing=call.timing)
    return flow if call.inputs[0].has_time else flow.at_one_step()


def lower_call(call: Call, inputs: list[Signal], builder: ProgramBuilder) -> Signal | list[Signal]:
    """Adds a layer's operations to the program and returns its output, or the outputs of a nested model.

    Each call of a layer has tensors and states of its own; constants are shared in the file.

    Raises:
        NotImplementedError: the layer's configuration, or its place in the model, cannot be exported.
    """
    layer, lowering = call.layer, _lowering_of(call.layer)
    _refuse_softmax_inside(layer, inputs)
    takes = takes_of(layer)
    given = zip(inputs, call.inputs, strict=True)
    inputs = [builder.settle(dataclasses.replace(signal, flow=flow), takes) for signal, flow in given]
    states = len(builder.states)
    builder.calls[layer] += 1
    again = builder.inside(f"call_{builder.calls[layer]}") if builder.calls[layer] > 1 else contextlib.nullcontext()
    with again, builder.lowering(call):
        builder.name_layer(layer)
        result = lowering(layer, inputs, builder)
    if call.inner is not None:
        return result  # its layers have seen to what follows
    if len(builder.states) > states:
        _refuse_late_start(call)
    (flow,) = call.outputs
    ends = result.has_time and call.inputs[0].has_time and not flow.has_time
    result = dataclasses.replace(result, flow=flow)
    return builder.latest(result) if ends else result


def refusal(layer: keras.layers.Layer, reason: str, remedy: str) -> NotImplementedError:
    """The error to raise for a layer that cannot be exported."""
    return EXPORT.refusal(layer, reason, remedy)


def check_last_axis(layer: keras.layers.Layer, axes: int | Sequence[int], signal: Signal) -> None:
    """Refuses a layer that works along another axis than the last, in one of `axes` as Keras counts them.

    Raises:
        NotImplementedError: it does.
    """
    last = len(signal.tensor.shape) + int(signal.has_time)
    places = {axis % (last + 1) for axis in ([axes] if isinstance(axes, int) else axes)}
    if places - {last}:
        raise refusal(
            layer, f"it works along axis {min(places)}", "Let it work along the last axis, which holds the features"
        )


def check_place(call: Call) -> None:
    """Refuses what step mode can do in time and a program that runs at every sample cannot, and quantised weights.

    Raises:
        NotImplementedError: see above.
    """
    layer = call.layer
    if mode := quantization_of(layer):
        raise refusal(
            layer,
            f"Keras has quantised its weights ({mode}), on grids that a device has not",
            "Convert the model as it was before model.quantize(); convert rounds it by itself",
        )
    rows = {flow.first_row for flow in call.inputs}
    if len(rows) > 1 and call.inputs[0].has_time:
        raise refusal(
            layer,
            f"its inputs start at different values ({', '.join(map(str, sorted(rows)))}), and in a program none waits "
            "for another",
            "Give its branches the same padding, or cropping",
        )
    late = max(rows)
    if late and (call.effect.looks_before_the_start or call.effect.padding):
        raise refusal(
            layer,
            f"its input means something from step {late} on only, and the steps before would not be zeros",
            "Use padding='causal' in the convolutions in front of it as well, or put all padding in front of the first "
            "one",
        )
    if call.effect.lasting:
        _refuse_late_start(call)


def _refuse_late_start(call: Call) -> None:
    """Refuses a state that would not rest until the first value comes."""
    late = max(flow.first_row for flow in call.inputs)
    window = call.effect.reach is not None
    if late and not window and _lowering_of(call.layer) not in _RESTING:
        raise refusal(
            call.layer,
            f"it carries a state, and its input means something from step {late} on only",
            "Use padding='causal' in the convolutions in front of it, or ZeroPadding1D in front of those",
        )


def _refuse_softmax_inside(layer: keras.layers.Layer, inputs: list[Signal]) -> None:
    if any(signal.activation != "linear" for signal in inputs):
        raise refusal(
            layer,
            "it reads a softmax inside the model, and only one at an output can be exported (the host applies it)",
            "Let the model end before this layer, or use another activation in front of it",
        )


def _lowering_of(layer: keras.layers.Layer) -> Lowering:
    return _LOWERINGS[known_class(layer, _LOWERINGS)]
