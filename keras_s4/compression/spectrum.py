"""What can go, part by part: the table to look at before choosing ranks."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import keras
from rich.console import Console
from rich.table import Table

from keras_s4.compression.parts import StatesPart, parts_of

ENERGIES = (0.9, 0.99, 0.999, 0.9999)


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """The parts of a model; printed, a table.

    Args:
        parts: by name.
    """

    parts: dict[str, StatesPart]

    def ranks_by_energy(self, name: str) -> list[int]:
        """The lowest rank of a part that keeps each of `ENERGIES`."""
        part = self.parts[name]
        ranks = range(1, part.max_rank + 1)
        return [next((r for r in ranks if part.energy(r) >= keep), part.max_rank) for keep in ENERGIES]

    def figures(self) -> dict[str, Any]:
        """The spectra, JSON-ready."""
        return {
            name: {
                "max_rank": part.max_rank,
                "channels": part.system.channels,
                "spectrum": part.spectrum.tolist(),
                "error_bounds": part.error_bounds.tolist(),
            }
            for name, part in self.parts.items()
        }

    def table(self) -> Table:
        """One row a part: its size and the ranks that keep 90%, 99%, ... of its energy."""
        table = Table(
            "part",
            "channels",
            "modes",
            "bytes",
            *(f"{keep:.2%}" for keep in ENERGIES),
            title="Modes that keep the energy",
        )
        for name, part in self.parts.items():
            cells = [part.system.channels, part.max_rank, part.cost(part.max_rank).flash, *self.ranks_by_energy(name)]
            table.add_row(name, *(f"{cell:,}" for cell in cells))
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(self.table())
        return text.getvalue()


def spectrum(model: keras.Model) -> Spectrum:
    """The parts of a trained model and their spectra."""
    return Spectrum(parts_of(model))
