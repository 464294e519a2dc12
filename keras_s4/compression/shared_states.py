"""The states that all channels of a layer share as a part: its spectrum is that of the whole system."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from keras_s4 import reduction
from keras_s4.brief import Brief
from keras_s4.compression.part import Cost, Part
from keras_s4.compression.states import AUTO, MODE_RAM_BYTES, check_options
from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.shared_modes import ModalRealization, modal_realization

METHOD = "balanced"
# Constants of a mode in the integer program: decay 4, rotation 4, complex input gain 8, offsets of the two rows that
# write it 8; and of the matrices that write and read it two bytes for each input and each output.
MODE_FLASH_BYTES = 24
# Four multiplications for the pole, two for the gain; two more for each input and each output.
MODE_MULTIPLY_ACCUMULATES = 6
_TINY = np.finfo(float).tiny


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SharedStatesPart(Part, Brief):
    """The states of one `DiagonalSSM` layer. Its rank is the number of complex modes that the layer keeps.

    They are reduced by balanced truncation alone.

    Args:
        name: the name of the layer in the model.
        system: the layer, discretised.
        length: steps of the sequences that the layer sees, if known.
    """

    kind: ClassVar[str] = "states"

    name: str
    system: ModalSystem
    length: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """`(1, N)`: one bank of N modes, whatever the number of channels."""
        return 1, self.system.state_size

    @property
    def modes(self) -> int:
        """Complex modes held, N."""
        return self.system.state_size

    @property
    def max_rank(self) -> int:
        """The state size N as it is."""
        return self.system.state_size

    @property
    def choices(self) -> tuple[int, ...]:
        """1 to N: every mode that goes saves the same."""
        return tuple(range(1, self.max_rank + 1))

    @property
    def mode_spectra(self) -> np.ndarray:
        """`spectrum` as that of the only bank, `[1, N]`."""
        return self.spectrum[None]

    @property
    def spectrum(self) -> np.ndarray:
        """Singular values, one a rank, `[N]`: each is the root of the sum of squares of two Hankel singular values."""
        return np.linalg.norm(self._realization.spectrum.reshape(-1, 2), axis=1)

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
        dropped = self._realization.spectrum[::-1].cumsum()[::-1]
        return 2.0 * np.append(dropped[2::2], 0.0) / max(self.system.hinf_norm(), _TINY)

    def error_bound(self, rank: int) -> float:
        """Bound on the relative error (Hinf, of all inputs and outputs together), unless real poles take entries."""
        return float(self.error_bounds[rank - 1])

    @functools.cached_property
    def mode_gains(self) -> np.ndarray:
        """The largest gain (Hinf) of each mode, `[1, N]`."""
        system = self.system
        pairs = zip(system.poles, system.inputs, system.outputs.T, strict=True)
        return np.array([[_single_mode(*mode).hinf_norm() for mode in pairs]])

    def truncate(self, rank: int, method: str = METHOD, **options: Any) -> reduction.ModalReduction:
        """The reduction to `rank` modes.

        Args:
            rank: 1 to N.
            method: "balanced" or "auto", which is the same here.
            options: none; with "auto" those of methods for other parts.

        Raises:
            ValueError: the rank is out of range, or another method.
        """
        self._check_rank(rank)
        if method == AUTO:
            check_options(options)
        elif method != METHOD:
            raise ValueError(
                f"Part {self.name!r} is a system of {self.system.input_size} inputs and {self.system.output_size} "
                f"outputs that share their states, which {METHOD!r} reduces and {method!r} does not; name the methods "
                f"of the parts one by one, as in method={{{self.name!r}: {METHOD!r}}}."
            )
        return self._realization.truncate(rank)

    def candidates(self, options: Mapping[str, Any] | None = None) -> list[str]:
        """The methods that can reduce it."""
        return [METHOD]

    def missing_option(self, method: str, options: Mapping[str, Any]) -> str | None:
        """Nothing is ever missing."""

    def relative_error(self, system: ModalSystem, horizon: int | None = None) -> float:
        """How far the layer is off with another system in its place: the error of the kernels within the horizon.

        Args:
            system: in place of the layer's.
            horizon: steps that count; None for `length`, or where that is not known, for all (the H2 norm).
        """
        steps = horizon or self.length
        norms = [
            each.h2_norm() if steps is None else float(np.linalg.norm(each.impulse_response(steps)))
            for each in (self.system - system, self.system)
        ]
        return norms[0] / max(norms[1], _TINY)

    @functools.cached_property
    def _realization(self) -> ModalRealization:
        """What all ranks have in common."""
        return modal_realization(self.system)


def _single_mode(pole: complex, inputs: np.ndarray, outputs: np.ndarray) -> ModalSystem:
    """A mode alone, with its inputs and outputs turned into two at most, which changes no gain."""
    written, read = (
        np.linalg.qr(np.stack([v.real, v.imag], axis=1), mode="r") @ [1.0, 1.0j] for v in (inputs, outputs)
    )
    return ModalSystem([pole], written[None], read[:, None], np.zeros((len(read), len(written))))
