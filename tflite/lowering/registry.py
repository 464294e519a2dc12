"""Which Keras layers have a lowering, and the program under construction that lowerings add to."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_s4.tflite.calibration import Signal
from keras_s4.tflite.program import Operation, State, Tensor


class ProgramBuilder:
    """The operations and states gathered so far.

    Args:
        length: steps of a window, which an average over time divides by.
        output_layer: name of the layer whose output is the model's.
    """

    def __init__(self, length: int | None, output_layer: str):
        self.length = length
        self.output_layer = output_layer
        self.operations: list[Operation] = []
        self.states: list[State] = []
        self.output_activation = "linear"
        self._names: set[str] = set()

    def add(self, operation: Operation) -> Operation:
        """Appends an operation."""
        self.operations.append(operation)
        return operation

    def tensor(self, name: str, size: int | tuple[int, ...], type: str, scale, zero_point: int = 0) -> Tensor:
        """A new activation or state, named uniquely."""
        shape = size if isinstance(size, tuple) else (size,)
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

    def state(self, name: str, shape: tuple[int, ...], scale: float) -> State:
        """A new int32 state: zero at the start, the same scale before and after a step."""
        state = State(
            self.tensor(f"{name}/before", shape, "int32", scale), self.tensor(f"{name}/after", shape, "int32", scale)
        )
        self.states.append(state)
        return state

    def _unique(self, name: str) -> str:
        if name in self._names:
            raise ValueError(f"Two tensors of the program would be called {name!r}; layer names must differ.")
        self._names.add(name)
        return name


Lowering = Callable[[keras.layers.Layer, list[Signal], ProgramBuilder], Signal]
_LOWERINGS: dict[type, Lowering] = {}


def register(*layer_classes: type) -> Callable[[Lowering], Lowering]:
    """Decorator: this function lowers layers of these classes."""

    def add(lowering: Lowering) -> Lowering:
        _LOWERINGS.update(dict.fromkeys(layer_classes, lowering))
        return lowering

    return add


def supported_layers() -> list[str]:
    """Names of the layer classes that can be exported."""
    return sorted(layer_class.__name__ for layer_class in _LOWERINGS)


def lower(layer: keras.layers.Layer, inputs: list[Signal], builder: ProgramBuilder) -> Signal:
    """Adds a layer's operations to the program and returns its output.

    Raises:
        NotImplementedError: no lowering for this class of layers; the message lists the supported ones.
    """
    for layer_class in type(layer).__mro__:
        if layer_class in _LOWERINGS:
            return _LOWERINGS[layer_class](layer, inputs, builder)
    raise NotImplementedError(
        f"Layer {layer.name!r} ({type(layer).__name__}) cannot be exported. Supported: "
        f"{', '.join(supported_layers())}; add yours with keras_s4.tflite.lowering.register."
    )
