"""What every method of reduction returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_s4.brief import Brief
from keras_s4.modal_system import ModalSystem
from keras_s4.systems import DiagonalSystem


@dataclass(frozen=True, eq=False, repr=False)
class Reduction(Brief):
    """A reduced system and what the reduction lost.

    Attributes:
        method: that found it, a key of `keras_s4.reduction.METHODS`.
        original: the system before the reduction, H channels of N entries.
        system: the reduced system, with `rank` entries a channel (the largest rank, where ranks differ).
        spectrum: [H, S], what the method orders the states by, non-increasing: of balanced methods the 2N Hankel
            singular values. A channel has as many as it has real states (`DiagonalSystem.orders`), or entries; zeros
            follow.
        error_bound: [H] bound on the Hinf norm of the error of each channel that is known before the error is measured;
            infinite where the method has none.
        orders: [H] int, real states kept.
        stabilized: [H] bool, channels in which the method gave an unstable system at an order that fits `rank`, so that
            a lower order, or what the docstring of the method says, took its place; None where that cannot happen.
    """

    method: str
    original: DiagonalSystem
    system: DiagonalSystem
    spectrum: np.ndarray
    error_bound: np.ndarray
    orders: np.ndarray
    stabilized: np.ndarray | None = None

    @cached_property
    def error_system(self) -> DiagonalSystem:
        """The original less the reduced system."""
        return self.original - self.system

    @cached_property
    def h2_error(self) -> np.ndarray:
        """[H] measured H2 norm of the error."""
        return self.error_system.h2_norm()

    @cached_property
    def hinf_error(self) -> np.ndarray:
        """[H] measured Hinf norm of the error, see `DiagonalSystem.hinf_norm`."""
        return self.error_system.hinf_norm()


@dataclass(frozen=True, eq=False, repr=False)
class ModalReduction(Brief):
    """A reduced system of several inputs and outputs, and what the reduction lost.

    Attributes:
        method: that found it, a key of `keras_s4.reduction.METHODS`.
        original: the system before the reduction, of N entries.
        system: the reduced system, of as many entries as were asked for.
        spectrum: [S], what the method orders the states by, non-increasing: of balanced methods 2N singular values,
            zeros behind as many as there are real states.
        error_bound: bound on the Hinf norm of the error that is known before it is measured; infinite where the method
            has none.
        stabilized: whether the method gave an unstable system at an order that fits, so that a lower order, or what the
            docstring of the method says, took its place.
    """

    method: str
    original: ModalSystem
    system: ModalSystem
    spectrum: np.ndarray
    error_bound: float
    stabilized: bool = False

    @property
    def order(self) -> int:
        """Real states kept."""
        return self.system.order

    @cached_property
    def error_system(self) -> ModalSystem:
        """The original less the reduced system."""
        return self.original - self.system

    @cached_property
    def h2_error(self) -> float:
        """Measured H2 norm of the error."""
        return self.error_system.h2_norm()

    @cached_property
    def hinf_error(self) -> float:
        """Measured Hinf norm of the error, see `ModalSystem.hinf_norm`."""
        return self.error_system.hinf_norm()
