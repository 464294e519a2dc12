"""What all parts of a model have in common: a spectrum, and at every rank a cost, an error bound and a reduced part."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np

from keras_s4.checks import is_whole

# A rank for each part, by name.
Ranks = dict[str, int]


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


class Part(abc.ABC):
    """Something in a model that can be made smaller by lowering its rank.

    Attributes:
        name: the name of the layer in the model, and of the matrix in it: "block_1/dss", "gru/recurrent_kernel".
        kind: "states" or "matrix".
    """

    kind: ClassVar[str]
    name: str

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Channels and state size `(H, N)` of states, rows and columns `(m, n)` of a matrix."""

    @property
    @abc.abstractmethod
    def max_rank(self) -> int:
        """The rank at which the part is left as it is."""

    @property
    @abc.abstractmethod
    def choices(self) -> tuple[int, ...]:
        """The ranks worth choosing, ascending; the last is `max_rank`."""

    @property
    @abc.abstractmethod
    def spectrum(self) -> np.ndarray:
        """What each rank adds, `[max_rank]`, non-increasing."""

    @abc.abstractmethod
    def cost(self, rank: int) -> Cost:
        """What the part takes in the integer program at this rank."""

    @abc.abstractmethod
    def error_bound(self, rank: int) -> float:
        """A bound on the relative error at this rank; 0 at `max_rank`."""

    @abc.abstractmethod
    def truncate(self, rank: int) -> Any:
        """The part at this rank."""

    def energy(self, rank: int) -> float:
        """The share of the spectrum's energy (the sum of squares) that this rank keeps, from 0 to 1."""
        squares = self.spectrum**2
        return float(squares[:rank].sum() / max(squares.sum(), np.finfo(float).tiny))

    def _check_rank(self, rank: int) -> None:
        if not is_whole(rank) or not 1 <= rank <= self.max_rank:
            raise ValueError(f"Part {self.name!r} got rank {rank!r}; expected 1 to {self.max_rank}.")
