"""The states that all channels of a layer share as a part: its spectrum is that of the whole system."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_s4 import reduction
from keras_s4.compression.layer_states import MODE_RAM_BYTES, TINY, LayerStates
from keras_s4.compression.part import Cost
from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.shared_modes import (
    ModalRealization,
    correlation_of,
    input_weighted_realization,
    modal_realization,
    response_energy,
    response_power,
)

# Constants of a mode in the integer program: decay 4, rotation 4, complex input gain 8, offsets of the two rows that
# write it 8; and of the matrices that write and read it two bytes for each input and each output.
MODE_FLASH_BYTES = 24
# Four multiplications for the pole, two for the gain; two more for each input and each output.
MODE_MULTIPLY_ACCUMULATES = 6


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SharedStatesPart(LayerStates[ModalSystem]):
    """The states of one `DiagonalSSM` layer. Its rank is the number of complex modes that the layer keeps.

    Args:
        name: the name of the layer in the model.
        system: the layer, discretised.
        length: steps of the sequences that the layer sees, if known: the horizon of finite-horizon truncation.
        power_spectrum: `[F, I, I]`, power and cross spectra of the layer's inputs on F equally spaced frequencies from
            0 to pi, if measured. The part's spectrum is then weighted by it.
        feedthrough: what feedthrough the layer can hold: "full", "diagonal" or None.
    """

    feedthrough: str | None = "full"

    @property
    def shape(self) -> tuple[int, int]:
        """`(1, N)`: one bank of N modes, whatever the number of channels."""
        return 1, self.system.state_size

    @property
    def modes(self) -> int:
        """Complex modes held, N."""
        return self.system.state_size

    @property
    def mode_spectra(self) -> np.ndarray:
        """`spectrum` as that of the only bank, `[1, N]`."""
        return self.spectrum[None]

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """Singular values, one a rank, `[N]`: each is the root of the sum of squares of two of the whole system.

        They are Hankel singular values, weighted by the power spectrum of the inputs where that is known.
        """
        realization = self._balanced if self.power_spectrum is None else self._weighted
        return np.linalg.norm(realization.spectrum.reshape(-1, 2), axis=1)

    def cost(self, rank: int) -> Cost:
        """Constants, states and multiplications of the integer program at this rank."""
        channels = self.system.input_size + self.system.output_size
        return Cost(
            (MODE_FLASH_BYTES + 2 * channels) * rank,
            MODE_RAM_BYTES * rank,
            (MODE_MULTIPLY_ACCUMULATES + 2 * channels) * rank,
        )

    @functools.cached_property
    def error_bounds(self) -> np.ndarray:
        """Bound on the relative error (Hinf) at every rank 1 .. N: twice the dropped values."""
        dropped = self._balanced.spectrum[::-1].cumsum()[::-1]
        return 2.0 * np.append(dropped[2::2], 0.0) / max(self.system.hinf_norm(), TINY)

    def error_bound(self, rank: int) -> float:
        """Bound on the relative error (Hinf, of all inputs and outputs together), unless real poles take entries.

        It is that of balanced truncation, whatever the inputs.
        """
        return super().error_bound(rank)

    @functools.cached_property
    def mode_gains(self) -> np.ndarray:
        """The largest gain (Hinf) of each mode, `[1, N]`."""
        return reduction.scores_of_modes(self.system)[None]

    def obstacle(self, method: str, options: Mapping[str, Any]) -> str | None:
        """Why a method cannot reduce the part with these options; None if it can."""
        if method == "singular_perturbation" and self.feedthrough != "full":
            return (
                "it changes the feedthrough from every input to every output, and the layer has "
                f"feedthrough={self.feedthrough!r}"
            )
        return super().obstacle(method, options)

    def _energy(self, system: ModalSystem, horizon: int | None) -> float:
        if self.power_spectrum is not None:
            return response_power(system, self._correlation)
        return system.h2_norm() ** 2 if horizon is None else response_energy(system, horizon)

    def _realization_of(self, method: str) -> ModalRealization | None:
        if method == "input_weighted":
            return self._weighted
        return self._balanced if method == "balanced" else None

    @functools.cached_property
    def _balanced(self) -> ModalRealization:
        return modal_realization(self.system)

    @functools.cached_property
    def _weighted(self) -> ModalRealization:
        return input_weighted_realization(self.system, self._correlation)

    @functools.cached_property
    def _correlation(self) -> np.ndarray:
        """Of the inputs, `[K, I, I]`."""
        return correlation_of(self.power_spectrum, self.system.input_size)
