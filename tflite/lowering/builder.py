"""The program under construction that lowerings add to."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import keras
import numpy as np

from keras_s4.layers.quantized import QuantizedLayer
from keras_s4.padded_sequences import real_values
from keras_s4.streaming.plan import Call
from keras_s4.tflite.lowering.rounding import EIGHT_BITS, FOUR_BITS, KernelFormat
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import Takes, settle
from keras_s4.tflite.program import fixed_point, nibbles
from keras_s4.tflite.program.blocks import Latest
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.program import State
from keras_s4.tflite.program.tensors import Tensor

Type = Literal["int8", "int16"]
Activations = Type | Mapping[str, Type]
WeightType = Literal["int4", "int8"]
Weights = WeightType | Mapping[str, WeightType]


class ProgramBuilder:
    """The operations and states gathered so far.

    Args:
        length: steps of a window, which an average over time divides by.
        ranges: scale and zero point of int8 tensors by name, in place of those that the lowerings choose.
        activations: the type of activations, "int8" or "int16"; or by the names of layers, "int8" for the others.
        samples: in each stream of the calibration data; needed where branches of different rates meet.
        real: bool `[B, samples]`, the first steps of each stream, which count; what follows is padding. None for all.
        four_bits: paths of layers whose dense products have weights of 4 bits, where they read int8.

    Attributes:
        activations: the type for the layer that is being lowered.
        call: of that layer, in the plan of the stream.
        packed: paths of layers that have weights of 4 bits so far.
        layers: class of each layer so far, by the path that the names of its tensors begin with.
    """

    def __init__(
        self,
        length: int | None,
        ranges: Mapping[str, tuple[float, int]] | None = None,
        activations: Activations = "int8",
        samples: int | None = None,
        real: np.ndarray | None = None,
        four_bits: Collection[str] = (),
    ):
        self.length = length
        self.samples = samples
        self._real = real
        self.ranges = ranges or {}
        self.activations: Type = activations if isinstance(activations, str) else "int8"
        self._types = {} if isinstance(activations, str) else activations
        self._four_bits = frozenset(four_bits)
        self.packed: set[str] = set()
        self._path = ""
        self.call: Call | None = None
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

    @contextlib.contextmanager
    def lowering(self, call: Call) -> Iterator[None]:
        """Sets `call`, and `activations` for its layer; what is inside of it has the same type unless named itself."""
        before = self._path, self.activations, self.call
        self._path += call.layer.name
        self.activations = self._types.get(self._path, self.activations)
        self._path += "/"
        self.call = call
        try:
            yield
        finally:
            self._path, self.activations, self.call = before

    def kernel_format(
        self, tensor: Tensor, layer: keras.layers.Layer | None = None, point: str = "kernel"
    ) -> KernelFormat:
        """How a kernel of the layer that is being lowered is rounded.

        Args:
            tensor: what it is multiplied with.
            layer: a twin knows how its kernels were trained to be rounded.
            point: which of its kernels.
        """
        path = self._path.removesuffix("/")
        fits = tensor.type == "int8"
        if isinstance(layer, QuantizedLayer):
            largest, reach = layer.kernels.get(point, EIGHT_BITS[1:])
            return KernelFormat("int4" if fits and largest == FOUR_BITS.largest else "int8", largest, reach)
        if not fits or path not in self._four_bits:
            return EIGHT_BITS
        self.packed.add(path)
        return FOUR_BITS

    def name_layer(self, layer: keras.layers.Layer) -> None:
        """Notes what layer the tensors that begin with its name come from."""
        self.layers[self._prefix + layer.name] = type(layer).__name__

    @property
    def window(self) -> int | None:
        """Rows of a window that the layer being lowered reads, fewer than `length` behind layers that drop steps.

        None if the length is not known.
        """
        if self.length is None or self.call is None or not self.call.inputs[0].has_time:
            return self.length
        return self.call.inputs[0].timing.rows(self.length)

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
        values, period = signal.values, signal.flow.timing.period
        if period > 1:
            rows = np.arange(self.samples or values.shape[1] * period) // period
            values = values[:, np.minimum(rows, values.shape[1] - 1)]
        if signal.encoding is not None:
            self.encodings[self._latest[name].name] = signal.encoding
        return dataclasses.replace(signal, tensor=self._latest[name], values=values)

    def settle(self, signal: Signal, takes: Takes) -> Signal:
        """The signal with no more of its encoding than a layer takes, computed once for all that read it."""
        encoding = signal.encoding
        if encoding is None:
            return signal
        key = signal.tensor.name, takes, encoding.unit.tobytes(), encoding.offset.tobytes()
        if key not in self._settled:
            name = f"{signal.tensor.name}/settled_{len(self._settled)}"
            self._settled[key] = settle(name, signal, takes, self)
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
        least, most = (-nibbles.LARGEST, nibbles.LARGEST) if type == "int4" else fixed_point.RANGES[type]
        rounded = np.rint(np.asarray(data, np.float64))
        if rounded.size and (rounded.min() < least or rounded.max() > most):
            raise OverflowError(
                f"Constant {name!r} holds {rounded.min():g} to {rounded.max():g}, outside {type}; "
                "the layer's weights or its input's range are too large for the integer program."
            )
        return Tensor(
            self._unique(name), rounded.shape, type, scale, data=rounded.astype("int8" if type == "int4" else type)
        )

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
