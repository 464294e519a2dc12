"""Named boards: core, clock, memory and consumption, each with its source; the table is boards.json."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_s4.costs.ranges import Range

_TABLE = Path(__file__).parent / "boards.json"
# What a source can tell of a board, and how that is called.
FACTS = {
    "core": "core",
    "clock_mhz": "clock",
    "flash_bytes": "flash",
    "ram_bytes": "RAM",
    "memory": "memory",
    "wait_states": "wait states",
    "volts": "voltage",
    "run_milliamperes": "run current",
    "picojoules_a_cycle": "energy a cycle",
    "sleep_microamperes": "sleep current",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where facts of a board stand.

    Args:
        facts: keys of `FACTS`.
        text: the document and the place, and what stands there.
        assumed: whether the facts are more than what stands there.
    """

    facts: tuple[str, ...]
    text: str
    assumed: bool = False

    def __str__(self) -> str:
        return f"{', '.join(FACTS[fact] for fact in self.facts)}{', assumed' if self.assumed else ''}: {self.text}"


@dataclasses.dataclass(frozen=True)
class Board:
    """A board, or a chip on the board that its maker sells for it.

    Args:
        name: as it is typed.
        title: as it is sold.
        chip: the microcontroller.
        core: a key of `keras_s4.costs.timings.TIMINGS`, "avr" or "rv32".
        clock_mhz: that it is sold for, or that its software sets.
        flash_bytes: of the chip or the board, a bootloader included.
        ram_bytes: for data, all of it.
        memory: what the memory that code lies in adds to the cycles.
        wait_states: a factor of the cycles for that, from the best case to the worst.
        volts: of the supply, for the currents; None where they are not known.
        run_milliamperes: while the core runs at `clock_mhz`.
        picojoules_a_cycle: where energy was measured instead.
        sleep_microamperes: between steps, with its RAM kept and a timer that wakes it.
        sources: where all this stands; text will do for a board of your own.
    """

    name: str
    title: str
    chip: str
    core: str
    clock_mhz: float
    flash_bytes: int
    ram_bytes: int
    memory: str
    wait_states: Range
    volts: float | None = None
    run_milliamperes: float | None = None
    picojoules_a_cycle: float | None = None
    sleep_microamperes: float | None = None
    sources: tuple[Source | str, ...] = ()

    @property
    def nanojoules_a_cycle(self) -> float | None:
        """Energy of a cycle while the core runs; None where it is not known."""
        if self.picojoules_a_cycle is not None:
            return self.picojoules_a_cycle / 1e3
        if self.run_milliamperes is None or self.volts is None:
            return None
        return self.run_milliamperes * self.volts / self.clock_mhz

    @property
    def assumptions(self) -> tuple[Source, ...]:
        """Those sources that do not tell all that is said of the board."""
        return tuple(source for source in self.sources if isinstance(source, Source) and source.assumed)

    def to_json(self) -> dict[str, Any]:
        """All facts, JSON-ready."""
        sources = [str(source) for source in self.sources]
        return dataclasses.asdict(self) | {"wait_states": list(self.wait_states), "sources": sources}


@functools.cache
def boards() -> dict[str, Board]:
    """All boards by name."""
    return {row["name"]: _board(row) for row in json.loads(_TABLE.read_text())}


def _board(row: Mapping[str, Any]) -> Board:
    """A row of the table."""
    sources = (Source(tuple(each["of"].split()), each["text"], each.get("assumed", False)) for each in row["sources"])
    return Board(**{**row, "wait_states": Range(*row["wait_states"]), "sources": tuple(sources)})


def board_named(name: str | Board) -> Board:
    """A board.

    Raises:
        ValueError: there is none of that name.
    """
    if isinstance(name, Board):
        return name
    known = boards()
    key = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if key not in known:
        raise ValueError(f"Received board {name!r}; expected one of {', '.join(known)}.")
    return known[key]
