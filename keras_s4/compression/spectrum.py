"""What can go, part by part: the table to look at before choosing ranks."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import keras
from rich.table import Table

from keras_s4.brief import Brief
from keras_s4.compression.kept import Kept, group_by_reason, list_kept_weights
from keras_s4.compression.parts import Part, parts_of
from keras_s4.tables import text_of

KEPT = "kept as they are"
# Names in one line of the text under a table.
_MOST_NAMES = 4
ENERGIES = (0.9, 0.99, 0.999, 0.9999)


@dataclasses.dataclass(frozen=True, repr=False)
class Spectrum(Brief):
    """The parts of a model; printed, a table.

    Args:
        parts: parts by name.
        kept: constants that no rank of these parts changes.
    """

    parts: dict[str, Part]
    kept: tuple[Kept, ...] = ()

    def ranks_by_energy(self, name: str) -> list[int]:
        """The lowest choice of a part that keeps each of `ENERGIES`."""
        part = self.parts[name]
        return [next((r for r in part.choices if part.energy(r) >= keep), part.max_rank) for keep in ENERGIES]

    def figures(self) -> dict[str, Any]:
        """The spectra, JSON-ready: of each part its kind, shape, choices, spectrum, and error bound at every choice.

        Under `KEPT` is a list of what stays as it is, with reasons and bytes.
        """
        parts = {
            name: {
                "kind": part.kind,
                "shape": list(part.shape),
                "max_rank": part.max_rank,
                "choices": list(part.choices),
                "spectrum": part.spectrum.tolist(),
                "error_bounds": [part.error_bound(rank) for rank in part.choices],
            }
            for name, part in self.parts.items()
        }
        return parts | {KEPT: [item.figures() for item in self.kept]}

    def curves(self, ranks: Mapping[str, int] | None = None) -> dict[str, dict[str, Any]]:
        """What `keras_s4.plots.spectra` draws.

        Args:
            ranks: ranks that are kept, by part; by default all.
        """
        return {
            name: {
                "spectrum": part.spectrum.tolist(),
                "channel_spectra": part.mode_spectra.tolist() if part.kind == "states" else [],
                "rank": (ranks or {}).get(name, part.max_rank),
            }
            for name, part in self.parts.items()
        }

    def table(self) -> Table:
        """One row a part: its size and the ranks that keep 90%, 99%, ... of its energy.

        The shape is `H x N`, channels and modes, of states, and `m x n` of a matrix. A matrix is left whole at its full
        rank.
        """
        table = Table(
            "part",
            "shape",
            "rank",
            "bytes",
            *(f"{100 * keep:g}%" for keep in ENERGIES),
            title="Ranks that keep the energy",
        )
        for name, part in self.parts.items():
            cells = [part.max_rank, part.cost(part.max_rank).flash, *self.ranks_by_energy(name)]
            table.add_row(name, " x ".join(map(str, part.shape)), *(f"{cell:,}" for cell in cells))
        table.caption, table.caption_justify = self.kept_text(), "left"
        return table

    def kept_text(self) -> str | None:
        """What stays as it is, a line for each reason; None if nothing does."""
        lines = []
        for reason, items in group_by_reason(self.kept):
            names = [item.name for item in items[:_MOST_NAMES]]
            more = f" and {len(items) - _MOST_NAMES} more" if len(items) > _MOST_NAMES else ""
            lines.append(f"{', '.join(names)}{more}: {sum(item.flash for item in items):,} bytes; {reason}.")
        return "\n".join(["Kept as they are:", *lines]) if lines else None

    def __str__(self) -> str:
        return text_of(self.table())


def spectrum(model: keras.Model, kinds: Collection[str] | None = None, data: Any = None) -> Spectrum:
    """The parts of a trained model, their spectra, and what stays as it is; the arguments are those of `parts_of`."""
    parts = parts_of(model, kinds, data)
    return Spectrum(parts, list_kept_weights(model, parts))
