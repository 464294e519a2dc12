"""The states of state space layers of all kinds as parts: methods that reduce them, and what those must know."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from keras_s4 import reduction
from keras_s4.brief import Brief
from keras_s4.compression.part import Part
from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.realization import Realization
from keras_s4.reduction.shared_modes import ModalRealization
from keras_s4.systems import DiagonalSystem

# In place of a method: the one with the least error.
AUTO = "auto"
# Methods to choose from. Of equal errors the first counts: measured on trained layers, h2 has the least nearly always.
CANDIDATES = ("h2", "finite_horizon", "balanced", "input_weighted", "modal", "singular_perturbation")
# Options that a part can know: as which attribute, and what to do where it does not.
_KNOWN = {
    "horizon": ("length", "give horizon=... in steps"),
    "power_spectrum": ("power_spectrum", "give data=... to measure it on"),
}
# Of the state of a mode: two 32-bit numbers, before and after the step.
MODE_RAM_BYTES = 16
TINY = np.finfo(float).tiny

System = TypeVar("System", DiagonalSystem, ModalSystem)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LayerStates(Part, Brief, Generic[System]):
    """The states of one layer. Its rank is the number of complex modes that are kept.

    Args:
        name: the name of the layer in the model.
        system: the layer, discretised.
        length: steps of the sequences that the layer sees, if known: the horizon of finite-horizon truncation.
        power_spectrum: of the layer's inputs, if measured, as the method "input_weighted" takes it. The part's spectrum
            is then weighted by it.
    """

    kind: ClassVar[str] = "states"

    name: str
    system: System
    length: int | None = None
    power_spectrum: np.ndarray | None = None

    @property
    def max_rank(self) -> int:
        """The state size N as it is."""
        return self.system.state_size

    @property
    def choices(self) -> tuple[int, ...]:
        """1 to N: every mode that goes saves the same."""
        return tuple(range(1, self.max_rank + 1))

    @property
    @abc.abstractmethod
    def error_bounds(self) -> np.ndarray:
        """Bound on the relative error (Hinf) at every rank 1 .. N: twice the dropped values."""

    @abc.abstractmethod
    def error_bound(self, rank: int) -> float:
        """Bound on the relative error (Hinf) at a rank, unless real poles take entries.

        It is that of balanced truncation, whatever the inputs.
        """
        return float(self.error_bounds[rank - 1])

    def truncate(self, rank: int, method: str = "balanced", **options: Any) -> Any:
        """The reduction to `rank` modes.

        Args:
            rank: 1 to N.
            method: a key of `keras_s4.reduction.METHODS`, or "auto": that of `candidates` with the least error of the
                layer (`relative_error`).
            options: options of the method. `horizon` defaults to `length`, `power_spectrum` to the measured one. With
                "auto" each method takes what it knows of them.

        Raises:
            ValueError: the rank is out of range, an option is neither given nor known, or the layer cannot hold what
                the method gives.
        """
        self._check_rank(rank)
        if method == AUTO:
            check_options(options)
            found = [self.truncate(rank, each, **options_of(each, options)) for each in self.candidates(options)]
            return min(found, key=lambda each: self.relative_error(each.system, options.get("horizon")))
        if option := self._missing_option(method, options):
            raise ValueError(
                f"Method {method!r} needs the {option} of part {self.name!r}, which is not known; {_KNOWN[option][1]}."
            )
        if reason := self.obstacle(method, options):
            raise ValueError(f"Method {method!r} cannot reduce part {self.name!r}: {reason}. Choose another method.")
        given = {name: value for name, value in options.items() if name not in _KNOWN or value is not None}
        known = self._known_options(method)
        if given:
            return reduction.reduce(self.system, rank, method, **known | given)
        if realization := self._realization_of(method):
            return realization.truncate(rank)
        if (rank, method) not in self._reductions:
            self._reductions[rank, method] = reduction.reduce(self.system, rank, method, **known)
        return self._reductions[rank, method]

    def candidates(self, options: Mapping[str, Any] | None = None) -> list[str]:
        """The methods of `CANDIDATES` that nothing stands against, given options of any of them."""
        return [method for method in CANDIDATES if self.obstacle(method, options or {}) is None]

    def obstacle(self, method: str, options: Mapping[str, Any]) -> str | None:
        """Why a method cannot reduce the part with these options; None if it can."""
        option = self._missing_option(method, options)
        return f"its {option} is not known" if option else None

    def relative_error(self, system: System, horizon: int | None = None) -> float:
        """How far the layer is off with another system in its place, of all that it does, over all channels.

        The root of the energy of the outputs' error, relative to that of the outputs, for inputs of the measured power
        spectrum. Where none is known, for white noise: the error of the kernels, within the horizon.

        Args:
            system: in place of the layer's.
            horizon: steps that count; None for `length`, or where that is not known, for all (the H2 norm).
        """
        error, whole = (self._energy(each, horizon or self.length) for each in (self.system - system, self.system))
        return math.sqrt(error / max(whole, TINY))

    @abc.abstractmethod
    def _energy(self, system: System, horizon: int | None) -> float:
        """The mean energy of the response to inputs of the measured spectrum, or to impulses, over all channels."""

    def _missing_option(self, method: str, options: Mapping[str, Any]) -> str | None:
        """What a method needs to be told and is neither known nor among the options given."""
        known = self._known_options(method)
        return next((name for name in known if known[name] is None and options.get(name) is None), None)

    def _known_options(self, method: str) -> dict[str, Any]:
        """What is known of a method's options."""
        return {name: getattr(self, _KNOWN[name][0]) for name in reduction.options_of(method) if name in _KNOWN}

    @functools.cached_property
    def _reductions(self) -> dict[tuple[int, str], reduction.Reduction | reduction.ModalReduction]:
        """By rank and method, as far as they were asked for: a choice asks again for what it has tried."""
        return {}

    @abc.abstractmethod
    def _realization_of(self, method: str) -> Realization | ModalRealization | None:
        """What all ranks have in common, if a method has it."""


def options_of(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that a method has."""
    return {name: value for name, value in options.items() if name in reduction.options_of(method)}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options that none of the methods has.

    Raises:
        ValueError: names them.
    """
    known = dict.fromkeys(name for method in CANDIDATES for name in reduction.options_of(method))
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ValueError(
            f"Received {', '.join(unknown)} for method {AUTO!r}; the options of its methods are {', '.join(known)}."
        )
