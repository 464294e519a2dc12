"""Twins of layers that compute in floating point what the exported integer program computes, to its 8-bit roundings.

A twin has an argument `ranges`: for each int8 tensor of the program that belongs to the layer, by the end of its name
(of "head/product" the part "product"), scale and zero point. The exporter takes these ranges over, so that training and
device round to one grid. Tensors of 16 and 32 bits are not rounded in training: they lose less than training can see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from keras_s4.dss.modes import Modes
from keras_s4.dss.shared_modes import SharedModes
from keras_s4.layers.diagonal_ssm import DiagonalSSM
from keras_s4.layers.dss import DSS
from keras_s4.layers.low_rank import LowRankDense
from keras_s4.layers.quantized.grids import LARGEST_WEIGHT, Grid, KernelGrid
from keras_s4.layers.quantized.snapping import POLE_SCALE, snap
from keras_s4.modal_system import ModalSystem
from keras_s4.systems import DiagonalSystem

Ranges = Mapping[str, tuple[float, int]]
# The largest integer and the reach of a `KernelGrid`.
Kernels = Mapping[str, tuple[int, float]]


class QuantizedLayer:
    """Mixin: a layer with grids.

    Args:
        ranges: scale and zero point by point; what is not named is not rounded.
        kernels: largest integer and reach of the kernels "kernel" and "left/kernel" (see `KernelGrid`) that do not have
            8 bits.
    """

    def __init__(self, *args, ranges: Ranges | None = None, kernels: Kernels | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.kernels = {point: (int(largest), float(reach)) for point, (largest, reach) in (kernels or {}).items()}
        self.ranges = {point: (float(scale), int(zero)) for point, (scale, zero) in (ranges or {}).items()}
        self.grids = {
            point: Grid(scale, zero_point, name=point.replace("/", "_"))
            for point, (scale, zero_point) in self.ranges.items()
        }

    def round_at(self, point: str, values):
        """Values on the grid of a point, or as they are where there is none."""
        return self.grids[point](values) if point in self.grids else values

    def get_config(self):
        """Every argument."""
        told = {"ranges": self.ranges, "kernels": self.kernels}
        return {
            **super().get_config(),
            **{name: {point: list(value) for point, value in values.items()} for name, values in told.items()},
        }

    def kernel_grid_of(self, point: str, name: str) -> KernelGrid:
        """A new grid of a kernel."""
        return KernelGrid(*self.kernels.get(point, (LARGEST_WEIGHT, 1.0)), name=name)

    def _build_grids(self) -> None:
        for grid in self.grids.values():
            grid.build(())


@keras.saving.register_keras_serializable(package="keras_s4")
class QuantizedActivation(QuantizedLayer, keras.layers.Activation):
    """An activation on 8-bit values. Points: "rounded" (before it), "output"."""

    def build(self, input_shape):
        """Creates the grids."""
        self._build_grids()
        self.built = True

    def call(self, inputs):
        """The rounded activation of the rounded input."""
        return self.round_at("output", self.activation(self.round_at("rounded", inputs)))


@keras.saving.register_keras_serializable(package="keras_s4")
class QuantizedDense(QuantizedLayer, keras.layers.Dense):
    """A dense layer with a kernel of 8 or 4 bits. Points: "product" (bias included), "rounded", "output"."""

    def build(self, input_shape):
        """Creates the kernel, the bias and the grids."""
        super().build(input_shape)
        self.kernel_grid = self.kernel_grid_of("kernel", "kernel_grid")
        self.kernel_grid.build(self.kernel.shape)
        self._build_grids()

    def call(self, inputs, training=None):
        """`[B, ..., F]` to `[B, ..., units]`."""
        product = ops.matmul(inputs, ops.cast(self.kernel_grid(self.kernel), inputs.dtype))
        return _finish(self, product)


@keras.saving.register_keras_serializable(package="keras_s4")
class QuantizedLowRankDense(QuantizedLayer, LowRankDense):
    """A low-rank dense layer with factors of 8 or 4 bits.

    Points: "left/product", "product" (bias included), "rounded", "output".
    """

    def build(self, input_shape):
        """Creates the factors, the bias and the grids."""
        super().build(input_shape)
        self.left_grid = self.kernel_grid_of("left/kernel", "left_grid")
        self.right_grid = self.kernel_grid_of("kernel", "right_grid")
        self.left_grid.build(self.kernel_left.shape)
        self.right_grid.build(self.kernel_right.shape)
        self._build_grids()

    def call(self, inputs):
        """`[B, ..., F]` to `[B, ..., units]`."""
        left = ops.matmul(inputs, ops.cast(self.left_grid(self.kernel_left), inputs.dtype))
        left = self.round_at("left/product", left)
        return _finish(self, ops.matmul(left, ops.cast(self.right_grid(self.kernel_right), inputs.dtype)))


@keras.saving.register_keras_serializable(package="keras_s4")
class SnappedDSS(QuantizedLayer, DSS):
    """A DSS layer with its poles on the device's grid. Point: "output", where the output is 8-bit."""

    def build(self, inputs_shape, initial_state_shape=None):
        """Creates the weights and the grids."""
        super().build(inputs_shape, initial_state_shape)
        self._build_grids()

    def call(self, inputs, initial_state=None, mask=None):
        """Convolution mode, see `DSS.call`."""
        result = super().call(inputs, initial_state, mask)
        return (self.round_at("output", result[0]), result[1]) if self.return_state else self.round_at("output", result)

    def chunk(self, inputs, state):
        """Convolution mode for a piece of a stream, see `DSS.chunk`."""
        outputs, state = super().chunk(inputs, state)
        return self.round_at("output", outputs), state

    def step(self, inputs, state):
        """One step of the recurrence, see `DSS.step`."""
        outputs, state = super().step(inputs, state)
        return self.round_at("output", outputs), state

    def modes(self) -> Modes:
        """The discretised layer in tensors."""
        modes = super().modes()
        return dataclasses.replace(modes, log_poles=snap(modes.log_poles))

    def system(self) -> DiagonalSystem:
        """The discretised layer as a frozen float64 value, see `DSS.system`."""
        system = super().system()
        return DiagonalSystem(_on_the_grid(system.poles), system.residues, system.feedthrough)


@keras.saving.register_keras_serializable(package="keras_s4")
class SnappedDiagonalSSM(QuantizedLayer, DiagonalSSM):
    """A DiagonalSSM layer with poles, what drives the modes, and a full feedthrough on the device's grid.

    What drives a mode has 8 bits of its own. The matrix that reads the modes has 8 bits as well, on a grid that
    the device's calibration chooses: it is not rounded in training.
    """

    def build(self, inputs_shape, initial_state_shape=None):
        """Creates the weights and the grids."""
        super().build(inputs_shape, initial_state_shape)
        self._build_grids()

    def modes(self) -> SharedModes:
        """The discretised layer in tensors."""
        modes = super().modes()
        largest = [ops.max(ops.abs(part), axis=1, keepdims=True) for part in modes.inputs]
        inputs = tuple(_round_to(part, ops.maximum(*largest)) for part in modes.inputs)
        direct = modes.feedthrough
        if self.feedthrough_type == "full":
            direct = _round_to(direct, ops.max(ops.abs(direct)))
        return dataclasses.replace(modes, log_poles=snap(modes.log_poles), inputs=inputs, feedthrough=direct)

    def system(self) -> ModalSystem:
        """The discretised layer as a frozen float64 value, see `DiagonalSSM.system`."""
        system = super().system()
        rows, direct = system.inputs, system.feedthrough
        largest = np.maximum(np.abs(rows.real), np.abs(rows.imag)).max(axis=1, keepdims=True)
        rows = _nearest(rows.real, largest) + 1j * _nearest(rows.imag, largest)
        if self.feedthrough_type == "full":
            direct = _nearest(direct, np.abs(direct).max())
        return ModalSystem(_on_the_grid(system.poles), rows, system.outputs, direct)


# The twin of each class that computes on 8-bit values; subclasses of ours are not taken for their bases.
TWINS: dict[type, type] = {
    keras.layers.Activation: QuantizedActivation,
    keras.layers.Dense: QuantizedDense,
    LowRankDense: QuantizedLowRankDense,
    DSS: SnappedDSS,
    DiagonalSSM: SnappedDiagonalSSM,
}


def twin_of(layer: keras.layers.Layer, ranges: Ranges, kernels: Kernels | None = None) -> keras.layers.Layer | None:
    """A new layer that computes as the exported one does; None where nothing of it is 8-bit.

    Args:
        layer: the one to stand in for; LoRA weights are not taken over.
        ranges: scale and zero point by point, see `QuantizedLayer`.
        kernels: largest integer and reach, see `QuantizedLayer`.
    """
    if type(layer) not in TWINS:
        return None
    config = {name: value for name, value in layer.get_config().items() if name not in ("lora_rank", "lora_alpha")}
    return TWINS[type(layer)].from_config({**config, "ranges": dict(ranges), "kernels": dict(kernels or {})})


def _finish(layer, product):
    """What comes behind the product of a dense layer."""
    if layer.use_bias:
        product = product + ops.cast(layer.bias, product.dtype)
    product = layer.round_at("product", product)
    if layer.activation is keras.activations.linear:
        return product
    return layer.round_at("output", layer.activation(layer.round_at("rounded", product)))


def _round_to(weights, largest):
    """Weights rounded to 127 parts of a magnitude, with gradients as if nothing had been rounded."""
    unit = ops.maximum(largest / LARGEST_WEIGHT, 1e-30)
    return weights + ops.stop_gradient(ops.round(weights / unit) * unit - weights)


def _nearest(weights: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """What `_round_to` gives, in float64."""
    unit = np.maximum(largest / LARGEST_WEIGHT, 1e-30)
    return np.rint(weights / unit) * unit


def _on_the_grid(poles: np.ndarray) -> np.ndarray:
    """The snapped poles in float64, through the function that training uses."""
    logs = np.log(np.where(poles == 0.0, 1e-12, poles))
    log_radius, angle = (
        ops.convert_to_numpy(part)
        for part in snap(tuple(ops.convert_to_tensor(part, "float64") for part in (logs.real, logs.imag)))
    )
    values = np.exp(log_radius + 1j * angle)
    exact = 1.0 + np.rint((values - 1.0).real / POLE_SCALE) * POLE_SCALE
    return exact + 1j * np.rint(values.imag / POLE_SCALE) * POLE_SCALE
