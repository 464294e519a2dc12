"""The states of a DSS layer as a part: its spectrum is that of its Hankel operators."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from keras_s4 import reduction
from keras_s4.brief import Brief
from keras_s4.compression.part import Cost, Part
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.reduction.realization import Realization
from keras_s4.systems import DiagonalSystem

# Constants of the integer program for a mode: decay 4, rotation with both signs 8, complex input gain 8, readout 1;
# 12 more where rounding errors are fed back, which few layers need.
MODE_FLASH_BYTES = 21
# Its state: two 32-bit numbers, before and after the step.
MODE_RAM_BYTES = 16
# Four multiplications for the pole, two for the input, two for the readout.
MODE_MULTIPLY_ACCUMULATES = 8
# In place of a method: the one with the least error.
AUTO = "auto"
# Methods to choose from. Of equal errors the first counts: measured on trained layers, h2 has the least nearly always.
CANDIDATES = ("h2", "finite_horizon", "balanced", "input_weighted", "modal", "singular_perturbation")
# Options that a part can know: as which attribute, and what to do where it does not.
_KNOWN = {
    "horizon": ("length", "give horizon=... in steps"),
    "power_spectrum": ("power_spectrum", "give data=... to measure it on"),
}
_TINY = np.finfo(float).tiny


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StatesPart(Part, Brief):
    """The states of one DSS layer. Its rank is the number of complex modes that every channel keeps.

    Args:
        name: the name of the layer in the model, as `dss_layers` gives it.
        system: the layer, discretised, `[H, N]`.
        length: steps of the sequences that the layer sees, if known: the horizon of finite-horizon truncation.
        power_spectrum: `[H, F]`, the mean power of the layer's inputs on F equally spaced frequencies from 0 to pi, if
            measured. The part's spectrum is then weighted by it.
    """

    kind: ClassVar[str] = "states"

    name: str
    system: DiagonalSystem
    length: int | None = None
    power_spectrum: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and state size `(H, N)`."""
        return self.system.channels, self.system.state_size

    @property
    def modes(self) -> int:
        """Complex modes held, `H * N`."""
        return self.system.channels * self.system.state_size

    @property
    def max_rank(self) -> int:
        """The state size N as it is."""
        return self.system.state_size

    @property
    def choices(self) -> tuple[int, ...]:
        """1 to N: every mode that goes saves the same."""
        return tuple(range(1, self.max_rank + 1))

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
        gains = np.maximum(self.system.hinf_norm(), np.finfo(float).tiny)
        return (2.0 * after / gains[:, None]).max(axis=0)

    def error_bound(self, rank: int) -> float:
        """Bound on the relative error (Hinf) of the worst channel at a rank, unless real poles take entries.

        It is that of balanced truncation, whatever the inputs.
        """
        return float(self.error_bounds[rank - 1])

    def truncate(self, rank: int, method: str = "balanced", **options: Any) -> reduction.Reduction:
        """The reduction to `rank` modes per channel.

        Args:
            rank: 1 to N.
            method: a key of `keras_s4.reduction.METHODS`, or "auto": that of `candidates` with the least error of the
                layer (`relative_error`).
            options: options of the method. `horizon` defaults to `length`, `power_spectrum` to the measured one. With
                "auto" each method takes what it knows of them.

        Raises:
            ValueError: the rank is out of range, or an option is neither given nor known.
        """
        self._check_rank(rank)
        if method == AUTO:
            check_options(options)
            found = [self.truncate(rank, each, **options_of(each, options)) for each in self.candidates(options)]
            return min(found, key=lambda each: self.relative_error(each.system, options.get("horizon")))
        if option := self.missing_option(method, options):
            raise ValueError(
                f"Method {method!r} needs the {option} of part {self.name!r}, which is not known; {_KNOWN[option][1]}."
            )
        if method == "balanced" and not options:
            return self._realization.truncate(rank)
        given = {name: value for name, value in options.items() if name not in _KNOWN or value is not None}
        known = self._known_options(method)
        if given:
            return reduction.reduce(self.system, rank, method, **known | given)
        if (rank, method) not in self._reductions:
            self._reductions[rank, method] = reduction.reduce(self.system, rank, method, **known)
        return self._reductions[rank, method]

    def candidates(self, options: Mapping[str, Any] | None = None) -> list[str]:
        """The methods of `CANDIDATES` of which enough is known, given options of any of them."""
        return [method for method in CANDIDATES if self.missing_option(method, options or {}) is None]

    def missing_option(self, method: str, options: Mapping[str, Any]) -> str | None:
        """What a method needs to be told and is neither known nor among the options given."""
        known = self._known_options(method)
        return next((name for name in known if known[name] is None and options.get(name) is None), None)

    def relative_error(self, system: DiagonalSystem, horizon: int | None = None) -> float:
        """How far the layer is off with another system in its place, of all that it does, over all channels.

        The root of the energy of the outputs' error, relative to that of the outputs, for inputs of the measured power
        spectrum. Where none is known, for white noise: the error of the kernels, within the horizon.

        Args:
            system: in place of the layer's.
            horizon: steps that count; None for `length`, or where that is not known, for all (the H2 norm).
        """
        error = _energy(self.system - system, horizon or self.length, self.power_spectrum)
        return math.sqrt(error / max(_energy(self.system, horizon or self.length, self.power_spectrum), _TINY))

    def _known_options(self, method: str) -> dict[str, Any]:
        """What is known of a method's options."""
        return {name: getattr(self, _KNOWN[name][0]) for name in reduction.options_of(method) if name in _KNOWN}

    @functools.cached_property
    def _reductions(self) -> dict[tuple[int, str], reduction.Reduction]:
        """By rank and method, as far as they were asked for: a choice asks again for what it has tried."""
        return {}

    @functools.cached_property
    def _realization(self) -> Realization:
        """What all ranks have in common."""
        return balanced_realization(self.system)


def own_poles(part: Part) -> dict[str, Any]:
    """The argument of a layer whose states were reduced that gives every channel poles of its own, if it has any."""
    return {"per_channel_poles": True} if isinstance(part, StatesPart) else {}


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


def _energy(system: DiagonalSystem, horizon: int | None, power_spectrum: np.ndarray | None) -> float:
    """Mean energy of the response to an input of a power spectrum `[H, F]`, by default 1, over all channels."""
    if power_spectrum is not None:
        # As many frequencies as the response of F - 1 steps to a sequence of as many needs.
        steps = power_spectrum.shape[1] - 1
        gains = np.abs(np.fft.rfft(system.impulse_response(steps), 2 * steps, axis=1)) ** 2
        power = gains * power_spectrum
        return float((power.sum() - (power[:, 0] + power[:, -1]).sum() / 2.0) / steps)  # both ends are there once
    return float(np.sum((system.h2_norm() if horizon is None else system.impulse_response(horizon)) ** 2))
