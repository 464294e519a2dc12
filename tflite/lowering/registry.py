"""Which Keras layers have a lowering, and the program under construction that lowerings add to."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import keras
import numpy as np

from keras_s4.classes import known_class, otherwise
from keras_s4.padded_sequences import real_values
from keras_s4.streaming.streamer import broken_glu
from keras_s4.surgery.layer_state import quantization_of
from keras_s4.tflite.lowering.calibration import Signal
from keras_s4.tflite.lowering.units import Takes, settled
from keras_s4.tflite.program.blocks import Latest
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.program import State
from keras_s4.tflite.program.tensors import Tensor

Type = Literal["int8", "int16"]
Activations = Type | Mapping[str, Type]


class ProgramBuilder:
    """The operations and states gathered so far.

    Args:
        length: steps of a window, which an average over time divides by.
        ranges: scale and zero point of int8 tensors by name, in place of those that the lowerings choose.
        activations: the type of activations, "int8" or "int16"; or by the names of layers, "int8" for the others.
        samples: in each stream of the calibration data; needed where branches of different rates meet.
        real: bool `[B, samples]`, the first steps of each stream, which count; what follows is padding. None for all.

    Attributes:
        activations: the type for the layer that is being lowered.
        window: values of a window that reach the layer that is being lowered, fewer than `length` behind layers that
            drop steps; None if the length is not known.
        period: samples after which the pattern of steps that layers drop repeats.
        layers: class of each layer so far, by the path that the names of its tensors begin with.
    """

    def __init__(
        self,
        length: int | None,
        ranges: Mapping[str, tuple[float, int]] | None = None,
        activations: Activations = "int8",
        samples: int | None = None,
        real: np.ndarray | None = None,
    ):
        self.length = length
        self.samples = samples
        self._real = real
        self.ranges = ranges or {}
        self.activations: Type = activations if isinstance(activations, str) else "int8"
        self._types = {} if isinstance(activations, str) else activations
        self._path = ""
        self.window = length
        self.period = 1
        self.operations: list[Operation | Latest] = []
        self.states: list[State] = []
        self.encodings: dict[str, Encoding] = {}
        self.layers: dict[str, str] = {}
        self.calls: Counter[keras.layers.Layer] = Counter()
        self._latest: dict[str, Tensor] = {}
        self._settled: dict[tuple, Signal] = {}
        self._names: set[str] = set()
        self._prefix = ""

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Puts the name of a nested model, and a slash, in front of all names of tensors."""
        before = self._prefix
        self._prefix = f"{before}{name}/"
        try:
            yield
        finally:
            self._prefix = before

    def name_layer(self, layer: keras.layers.Layer) -> None:
        """Notes what layer the tensors that begin with its name come from."""
        self.layers[self._prefix + layer.name] = type(layer).__name__

    @contextlib.contextmanager
    def lowering(self, name: str) -> Iterator[None]:
        """Sets `activations` for a layer; what is inside of it has the same type unless it is named itself."""
        before = self._path, self.activations
        self._path += name
        self.activations = self._types.get(self._path, self.activations)
        self._path += "/"
        try:
            yield
        finally:
            self._path, self.activations = before

    @contextlib.contextmanager
    def reading(self, signal: Signal) -> Iterator[None]:
        """Sets `window` for a layer that reads a signal."""
        before = self.window
        self.window = None if self.length is None else self.length // signal.period
        try:
            yield
        finally:
            self.window = before

    @property
    def padded(self) -> bool:
        """Whether the model masks padded steps, so that sequences have lengths of their own."""
        return self._real is not None

    def real_steps(self, values: np.ndarray) -> np.ndarray | None:
        """Which of the values `[B, L, ...]` of a signal belong to real steps, bool `[B, L]`; None if all do."""
        return None if self._real is None else real_values(self._real, values.shape[1])

    def observed(self, values: np.ndarray) -> np.ndarray:
        """What scales and ranges are to be chosen from: values `[B, L, ...]`, or those of real steps `[N, ...]`."""
        real = self.real_steps(values)
        return values if real is None else values[real]

    def peak(self, values: np.ndarray) -> float:
        """The largest magnitude of values at steps that count."""
        return float(np.abs(self.observed(values)).max())

    def latest(self, signal: Signal) -> Signal:
        """What a signal without time axis is at the end of a block; its values are those at each sample."""
        name = signal.tensor.name
        if name not in self._latest:
            self._latest[name] = dataclasses.replace(signal.tensor, name=f"{name}/latest")
            self.add(Latest(signal.tensor, self._latest[name]))
        values, period = signal.values, signal.period
        if period > 1:
            rows = np.arange(self.samples or values.shape[1] * period) // period
            values = values[:, np.minimum(rows, values.shape[1] - 1)]
        if signal.encoding is not None:
            self.encodings[self._latest[name].name] = signal.encoding
        return Signal(
            self._latest[name],
            values,
            phase=signal.phase * period,
            has_time=signal.has_time,
            activation=signal.activation,
            encoding=signal.encoding,
        )

    def settled(self, signal: Signal, takes: Takes) -> Signal:
        """The signal with no more of its encoding than a layer takes, computed once for all that read it."""
        encoding = signal.encoding
        if encoding is None:
            return signal
        key = signal.tensor.name, takes, encoding.unit.tobytes(), encoding.offset.tobytes()
        if key not in self._settled:
            name = f"{signal.tensor.name}/settled_{len(self._settled)}"
            self._settled[key] = settled(name, signal, takes, self)
        found = self._settled[key]
        return dataclasses.replace(signal, tensor=found.tensor, values=found.values, encoding=found.encoding)

    def add(self, operation: Operation | Latest) -> Operation | Latest:
        """Appends an operation."""
        self.operations.append(operation)
        return operation

    def tensor(self, name: str, size: int | tuple[int, ...], type: str, scale, zero_point: int = 0) -> Tensor:
        """A new activation or state, named uniquely; an int8 tensor in `ranges` has the scale and zero point there."""
        shape = size if isinstance(size, tuple) else (size,)
        if type == "int8" and self._prefix + name in self.ranges:
            scale, zero_point = self.ranges[self._prefix + name]
        return Tensor(self._unique(name), shape, type, scale, zero_point)

    def constant(self, name: str, data: np.ndarray, type: str, scale=1.0) -> Tensor:
        """A new constant from whole numbers.

        Raises:
            OverflowError: a number does not fit the type.
        """
        limits = np.iinfo(type)
        rounded = np.rint(np.asarray(data, np.float64))
        if rounded.size and (rounded.min() < limits.min or rounded.max() > limits.max):
            raise OverflowError(
                f"Constant {name!r} holds {rounded.min():g} to {rounded.max():g}, outside {type}; "
                "the layer's weights or its input's range are too large for the integer program."
            )
        return Tensor(self._unique(name), rounded.shape, type, scale, data=rounded.astype(type))

    def state(self, name: str, shape: tuple[int, ...], scale: float, type: str = "int32") -> State:
        """A new state: zero at the start, the same scale before and after a step."""
        state = State(*(self.tensor(f"{name}/{end}", shape, type, scale) for end in ("before", "after")))
        self.states.append(state)
        return state

    def _unique(self, name: str) -> str:
        name = self._prefix + name
        if name in self._names:
            raise ValueError(f"Two tensors of the program would be called {name!r}; layer names must differ.")
        self._names.add(name)
        return name


Lowering = Callable[[keras.layers.Layer, list[Signal], ProgramBuilder], Signal]
_LOWERINGS: dict[type, Lowering] = {}
_TAKING_PADDING: set[Lowering] = set()
_TAKING_UNITS: dict[Lowering, Takes | Callable[[keras.layers.Layer], Takes]] = {}


def register(
    *layer_classes: type,
    takes_padding: bool = False,
    takes: Takes | Callable[[keras.layers.Layer], Takes] = "nothing",
) -> Callable[[Lowering], Lowering]:
    """Decorator: this function lowers layers of these classes, and of subclasses that compute as they do.

    It gets the layer, a list of its inputs and the builder, adds operations and states to the builder, and returns the
    output. A lowering that adds a state sets the output's `phase`, or else the layer is refused behind layers whose
    first values come late: only the lowering knows how to keep its state at rest until then.

    Args:
        layer_classes: Keras layers.
        takes_padding: the layer may stand behind a ZeroPadding1D: zeros in its initial state stand for the padding.
        takes: what the lowering takes of inputs whose features have units of their own (`Signal.encoding`): "nothing",
            then it gets them in one scale; "units", or "both" units and offsets; or a function of the layer.
    """

    def add(lowering: Lowering) -> Lowering:
        _LOWERINGS.update(dict.fromkeys(layer_classes, lowering))
        if takes_padding:
            _TAKING_PADDING.add(lowering)
        _TAKING_UNITS[lowering] = takes
        return lowering

    return add


def supported_layers() -> list[str]:
    """Names of the layer classes that can be exported."""
    return sorted({layer_class.__name__ for layer_class in _LOWERINGS})


def takes_of(layer: keras.layers.Layer) -> Takes:
    """What the lowering of a layer takes of features with units of their own."""
    takes = _TAKING_UNITS[_lowering_of(layer)]
    return takes(layer) if callable(takes) else takes


def lower(layer: keras.layers.Layer, inputs: list[Signal], builder: ProgramBuilder) -> Signal:
    """Adds a layer's operations to the program and returns its output.

    Each call of a layer has tensors and states of its own; constants are shared in the file.

    Raises:
        NotImplementedError: no lowering for this class of layers; the message lists the supported ones. Or the layer's
            configuration, or its place in the model, cannot be exported.
    """
    if reason := broken_glu(layer):
        raise refusal(layer, *reason)
    if not isinstance(layer, keras.Model) and (mode := quantization_of(layer)):
        raise refusal(
            layer,
            f"Keras has quantised its weights ({mode}), on grids that a device has not",
            "Convert the model as it was before model.quantize(); convert rounds it by itself",
        )
    lowering = _lowering_of(layer)
    phase, period = _common_timing(layer, inputs)
    _check_place(layer, inputs, takes_padding=lowering in _TAKING_PADDING)
    takes = takes_of(layer)
    inputs = [builder.settled(signal, takes) for signal in inputs]
    states = len(builder.states)
    builder.calls[layer] += 1
    again = builder.inside(f"call_{builder.calls[layer]}") if builder.calls[layer] > 1 else contextlib.nullcontext()
    with again, builder.lowering(layer.name), builder.reading(inputs[0]):
        builder.name_layer(layer)
        result = lowering(layer, inputs, builder)
    if isinstance(layer, keras.Model):
        return result  # its layers have seen to what follows
    drops = result.period > period
    if result.phase < phase and len(builder.states) > states and not drops:
        raise refusal(
            layer,
            f"it carries a state, and its input means something from step {phase} on only",
            "Use padding='causal' in the convolutions in front of it, or ZeroPadding1D in front of those",
        )
    # A recurrent layer that gives its last step gives the latest one in a stream, as a pooling over time does.
    has_time = result.has_time and inputs[0].has_time and bool(getattr(layer, "return_sequences", True))
    if not drops:
        result = dataclasses.replace(result, phase=max(result.phase, phase), period=period)
    result = dataclasses.replace(result, has_time=has_time)
    builder.period = math.lcm(builder.period, result.period)
    return builder.latest(result) if inputs[0].has_time and not has_time else result


def refusal(layer: keras.layers.Layer, reason: str, remedy: str) -> NotImplementedError:
    """The error to raise for a layer that cannot be exported."""
    return NotImplementedError(f"Layer {layer.name!r} ({type(layer).__name__}) cannot be exported: {reason}. {remedy}.")


def check_last_axis(layer: keras.layers.Layer, axes: int | Sequence[int], signal: Signal) -> None:
    """Refuses a layer that works along another axis than the last, in one of `axes` as Keras counts them.

    Raises:
        NotImplementedError: it does.
    """
    last = len(signal.tensor.shape) + int(signal.has_time)
    places = {axis % (last + 1) for axis in ([axes] if isinstance(axes, int) else axes)}
    if places - {last}:
        where = "the time axis" if signal.has_time and 1 in places else f"axis {min(places)}"
        raise refusal(layer, f"it works along {where}", "Let it work along the last axis, which holds the features")


def _lowering_of(layer: keras.layers.Layer) -> Lowering:
    layer_class = known_class(layer, _LOWERINGS)
    if layer_class is None:
        raise NotImplementedError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be exported. Supported: "
            f"{', '.join(supported_layers())}; add yours with keras_s4.tflite.lowering.register."
        )
    if reason := otherwise(layer, _LOWERINGS):
        raise refusal(layer, *reason)
    return _LOWERINGS[layer_class]


def _common_timing(layer: keras.layers.Layer, inputs: list[Signal]) -> tuple[int, int]:
    """The phase and the period of a layer's inputs."""
    if len({signal.has_time for signal in inputs}) > 1:
        raise refusal(
            layer,
            "some of its inputs are sequences, others are not",
            "Join sequences with sequences, or what comes behind a pooling over time with its like",
        )
    periods = {signal.period for signal in inputs}
    if len(periods) > 1:
        raise refusal(
            layer,
            f"its inputs have a value every so many steps: {', '.join(map(str, sorted(periods)))}",
            "Give its branches the same strides",
        )
    phases = {signal.phase - signal.padding for signal in inputs}
    if len(phases) > 1 and inputs[0].has_time:
        raise refusal(
            layer,
            f"its inputs start at different steps ({', '.join(map(str, sorted(phases)))})",
            "Give its branches the same padding, or cropping",
        )
    return max(signal.phase for signal in inputs), periods.pop()


def _check_place(layer: keras.layers.Layer, inputs: list[Signal], takes_padding: bool) -> None:
    if any(signal.activation != "linear" for signal in inputs):
        raise refusal(
            layer,
            "it reads a softmax inside the model, and only one at an output can be exported (the host applies it)",
            "Let the model end before this layer, or use another activation in front of it",
        )
    if any(signal.padding for signal in inputs) and not takes_padding:
        raise refusal(
            layer,
            "there is padding in front of it, for which only the zeros in a convolution's initial state can stand",
            "Put ZeroPadding1D directly in front of a convolution",
        )
