"""A network of a search, tried: its record."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from keras_s4.architectures import Architecture
from keras_s4.compression.search.trials import Record, name_of

NOTHING, REDUCTION = STARTS = ("nothing", "reduction")


@dataclasses.dataclass(frozen=True)
class ArchitectureTrial(Record):
    """One network, trained for some epochs.

    Args:
        architecture: what it is made of, as `keras_s4.architectures.Architecture.figures` says it.
        start: what its weights were before: "nothing", or "reduction" of a larger trained network.
        epochs: of training in all, those of a stopped and continued trial together.
        metric: on the validation data after training; None if it failed, or was over a budget and not trained.
        measures: what it takes, by name.
        excess: how far it is over its budgets, as a fraction of each, summed.
        seconds: that it took.
        finished: when, in seconds since 1970.
        error: what went wrong, or None.
    """

    architecture: Mapping[str, Any]
    start: str
    epochs: int
    metric: float | None
    measures: Mapping[str, float]
    excess: float
    seconds: float
    finished: float
    error: str | None = None

    @functools.cached_property
    def name(self) -> str:
        """What its files are called."""
        return trial_name(self.architecture, self.start, self.epochs)

    @functools.cached_property
    def network(self) -> Architecture:
        """The same as an `Architecture`, for `keras_s4.architectures.build`."""
        return Architecture.of(self.architecture)

    def check_types(self) -> None:
        """See `Record`."""
        super().check_types()
        if not isinstance(self.architecture, dict) or self.start not in STARTS:
            raise TypeError(f"architecture must be an object, and start one of {', '.join(STARTS)}")
        try:
            Architecture.of(self.architecture)
        except ValueError as error:
            raise TypeError(str(error)) from error


def trial_name(architecture: Mapping[str, Any], start: str, epochs: int) -> str:
    """A name for a trial, the same in every process."""
    return name_of([sorted(architecture.items()), start, epochs])
