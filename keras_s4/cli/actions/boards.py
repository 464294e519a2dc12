"""Boards: those that there are, and what was estimated of a program on some. Needs no Keras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from keras_s4.cli.console import console, show_table
from keras_s4.cli.files import write_json
from keras_s4.costs import Estimate, boards, check_request, estimates_table
from keras_s4.costs.estimate import notes
from keras_s4.costs.model import expected_error


def check(names: Sequence[str], rate: float | None, method: str = "auto") -> list[str]:
    """The names of boards as the table has them.

    Raises:
        ValueError: an unknown board or method, or a rate that is not above 0.
    """
    return [board.name for board in check_request(names, rate, method)]


def list_boards(json: Path | None) -> None:
    """Shows all boards with the sources of their facts."""
    table = Table("board", "chip", "core", "MHz", "flash", "RAM", "run", "sleep", title="Boards")
    for board in boards().values():
        run = "" if board.nanojoules_a_cycle is None else f"{1000 * board.nanojoules_a_cycle:,.0f} pJ a cycle"
        sleep = "" if board.sleep_microamperes is None else f"{board.sleep_microamperes:g} uA"
        sizes = (f"{size / 1024:,.0f} KB" for size in (board.flash_bytes, board.ram_bytes))
        table.add_row(board.name, board.chip, board.core.upper(), f"{board.clock_mhz:g}", *sizes, run, sleep)
    write_json(json, {name: board.to_json() for name, board in boards().items()})
    show_table(table)
    for board in boards().values():
        for source in board.sources:
            console().print(f"{board.name}: {source}.", soft_wrap=False)


def show(estimates: Sequence[Estimate]) -> None:
    """A table of boards, and what must be said below it."""
    show_table(estimates_table(estimates))
    for note in notes(estimates):
        console().print(note, soft_wrap=False)
    for core in dict.fromkeys(each.board.core for each in estimates if each.is_modelled):
        console().print(f"The cost model of {core.upper()} {expected_error(core)}", soft_wrap=False)
