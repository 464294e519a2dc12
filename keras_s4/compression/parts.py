"""What can be made smaller: each part of a model has a spectrum, and a cost and an error bound at every rank."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np

from keras_s4.cloning import dss_layers
from keras_s4.reduction import Reduction, balanced_truncation, hankel_singular_values
from keras_s4.systems import DiagonalSystem

# Constants of the integer program for a mode: decay 4, rotation with both signs 8, complex input gain 8, readout 2.
MODE_FLASH_BYTES = 22
# Its state: two 32-bit numbers, before and after the step.
MODE_RAM_BYTES = 16
# Four multiplications for the pole, two for the input, two for the readout.
MODE_MULTIPLY_ACCUMULATES = 8


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a part takes on a device.

    Args:
        flash: bytes of constants.
        ram: bytes of states.
        multiply_accumulates: per step.
    """

    flash: int
    ram: int
    multiply_accumulates: int


@dataclasses.dataclass(frozen=True, eq=False)
class StatesPart:
    """The states of one DSS layer. Its rank is the number of complex modes that every channel keeps.

    Args:
        name: of the layer in the model, as `dss_layers` gives it.
        system: the layer, discretised, `[H, N]`.
    """

    name: str
    system: DiagonalSystem

    @property
    def max_rank(self) -> int:
        """The state size N as it is."""
        return self.system.state_size

    @functools.cached_property
    def channel_spectra(self) -> np.ndarray:
        """Hankel singular values of each channel, `[H, 2 N]`, non-increasing."""
        return hankel_singular_values(self.system)

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """Hankel singular values of the layer, one a rank, `[N]`: root of the sum of squares over its channels.

        A mode has two states, so each value stands for two of `channel_spectra`.
        """
        squares = np.sum(self.channel_spectra**2, axis=0)
        return np.sqrt(squares.reshape(-1, 2).sum(axis=1))

    def energy(self, rank: int) -> float:
        """Part of the spectrum's energy (the sum of squares) that `rank` modes per channel keep."""
        squares = self.spectrum**2
        return float(squares[:rank].sum() / max(squares.sum(), np.finfo(float).tiny))

    def cost(self, rank: int) -> Cost:
        """Constants, states and multiplications of the integer program at this rank."""
        modes = rank * self.system.channels
        return Cost(MODE_FLASH_BYTES * modes, MODE_RAM_BYTES * modes, MODE_MULTIPLY_ACCUMULATES * modes)

    @functools.cached_property
    def error_bounds(self) -> np.ndarray:
        """Bound on the relative error (Hinf) of the worst channel at every rank 1 .. N: twice the dropped values."""
        dropped = self.channel_spectra[:, ::-1].cumsum(axis=1)[:, ::-1]
        after = np.concatenate([dropped[:, 2::2], np.zeros((len(dropped), 1))], axis=1)
        gains = np.maximum(self.system.hinf_norm(), np.finfo(float).tiny)
        return (2.0 * after / gains[:, None]).max(axis=0)

    def error_bound(self, rank: int) -> float:
        """Bound on the relative error (Hinf) of the worst channel at a rank, unless real poles take entries."""
        return float(self.error_bounds[rank - 1])

    def truncate(self, rank: int) -> Reduction:
        """The balanced truncation to `rank` modes per channel."""
        return balanced_truncation(self.system, rank)


def parts_of(model: keras.Model) -> dict[str, StatesPart]:
    """The parts of a trained model by name, in the order of its layers.

    Raises:
        ValueError: the model has no DSS layer, is not built, or holds NaN.
    """
    layers = dss_layers(model)
    if not layers:
        raise ValueError(
            f"Model {model.name!r} has no DSS layer or S4Block, so nothing can be reduced; its layers are "
            f"{', '.join(sorted({type(layer).__name__ for layer in model.layers})) or 'none'}."
        )
    return {name: StatesPart(name, layer.system()) for name, layer in layers.items()}


def other_flash_bytes(model: keras.Model) -> int:
    """Bytes of the weights outside the states in the integer program: a byte a matrix entry, four any other number."""
    inside = {id(weight) for layer in dss_layers(model).values() for weight in layer.weights}
    weights = [weight for weight in model.weights if id(weight) not in inside]
    return sum(int(np.prod(weight.shape)) * (1 if len(weight.shape) == 2 else 4) for weight in weights)
