"""The states of a DSS layer as a part: its spectrum is that of its Hankel operators."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from keras_s4 import reduction
from keras_s4.compression.layer_states import MODE_RAM_BYTES, TINY, LayerStates
from keras_s4.compression.part import Cost, Part
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.reduction.realization import Realization
from keras_s4.systems import DiagonalSystem

# Constants of the integer program for a mode: decay 4, rotation with both signs 8, complex input gain 8, readout 1;
# 12 more where rounding errors are fed back, which few layers need.
MODE_FLASH_BYTES = 21
# Four multiplications for the pole, two for the input, two for the readout.
MODE_MULTIPLY_ACCUMULATES = 8


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StatesPart(LayerStates[DiagonalSystem]):
    """The states of one DSS layer. Its rank is the number of complex modes that every channel keeps.

    Args:
        name: the name of the layer in the model, as `dss_layers` gives it.
        system: the layer, discretised, `[H, N]`.
        length: steps of the sequences that the layer sees, if known: the horizon of finite-horizon truncation.
        power_spectrum: `[H, F]`, the mean power of the layer's inputs on F equally spaced frequencies from 0 to pi, if
            measured. The part's spectrum is then weighted by it.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and state size `(H, N)`."""
        return self.system.channels, self.system.state_size

    @property
    def modes(self) -> int:
        """Complex modes held, `H * N`."""
        return self.system.channels * self.system.state_size

    @functools.cached_property
    def channel_spectra(self) -> np.ndarray:
        """Hankel singular values of each channel, `[H, 2 N]`, non-increasing."""
        return reduction.hankel_singular_values(self.system)

    @property
    def mode_spectra(self) -> np.ndarray:
        """One value for each mode of each channel, `[H, N]`, as `spectrum` has one for each mode of the layer."""
        return np.sqrt((self.weighted_spectra**2).reshape(*self.shape, 2).sum(axis=2))

    @functools.cached_property
    def weighted_spectra(self) -> np.ndarray:
        """The singular values of each channel for inputs of the measured power, `[H, 2 N]`, or `channel_spectra`."""
        if self.power_spectrum is None:
            return self.channel_spectra
        return self.truncate(self.max_rank, "input_weighted").spectrum

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """Singular values of the layer, one a rank, `[N]`: root of the sum of squares over its channels.

        A mode has two states, so each value stands for two of `weighted_spectra`.
        """
        return np.linalg.norm(self.mode_spectra, axis=0)

    @property
    def mode_gains(self) -> np.ndarray:
        """The largest gain (Hinf) of each mode of each channel, `[H, N]`."""
        return reduction.modal_scores(self.system)

    def cost(self, rank: int) -> Cost:
        """Constants, states and multiplications of the integer program at this rank."""
        modes = rank * self.system.channels
        return Cost(MODE_FLASH_BYTES * modes, MODE_RAM_BYTES * modes, MODE_MULTIPLY_ACCUMULATES * modes)

    @functools.cached_property
    def error_bounds(self) -> np.ndarray:
        """Bound on the relative error (Hinf) of the worst channel at every rank 1 .. N: twice the dropped values."""
        dropped = self.channel_spectra[:, ::-1].cumsum(axis=1)[:, ::-1]
        after = np.concatenate([dropped[:, 2::2], np.zeros((len(dropped), 1))], axis=1)
        gains = np.maximum(self.system.hinf_norm(), TINY)
        return (2.0 * after / gains[:, None]).max(axis=0)

    def error_bound(self, rank: int) -> float:
        """Bound on the relative error (Hinf) of the worst channel at a rank, unless real poles take entries.

        It is that of balanced truncation, whatever the inputs.
        """
        return super().error_bound(rank)

    def _energy(self, system: DiagonalSystem, horizon: int | None) -> float:
        if self.power_spectrum is not None:
            # As many frequencies as the response of F - 1 steps to a sequence of as many needs.
            steps = self.power_spectrum.shape[1] - 1
            gains = np.abs(np.fft.rfft(system.impulse_response(steps), 2 * steps, axis=1)) ** 2
            power = gains * self.power_spectrum
            return float((power.sum() - (power[:, 0] + power[:, -1]).sum() / 2.0) / steps)  # both ends are there once
        return float(np.sum((system.h2_norm() if horizon is None else system.impulse_response(horizon)) ** 2))

    def _realization_of(self, method: str) -> Realization | None:
        return self._balanced if method == "balanced" else None

    @functools.cached_property
    def _balanced(self) -> Realization:
        return balanced_realization(self.system)


def own_poles(part: Part) -> dict[str, Any]:
    """The argument of a layer whose states were reduced that gives every channel poles of its own, if it has any."""
    return {"per_channel_poles": True} if isinstance(part, StatesPart) else {}
