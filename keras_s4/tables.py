"""Tables as text: as narrow as what they hold, and so wide that nothing is cut off."""

from __future__ import annotations

import copy
import io

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

# Columns of a terminal. Sentences are folded to keep within them; names and numbers stay whole, whatever it takes.
WIDTH = 80
# A column of sentences is folded to no fewer, and one of short texts not at all.
FOLDED = 24
# More columns than any table has.
_UNLIMITED = 100_000


def whole_width(table: Table) -> int:
    """How wide a table is with every cell on lines of its own, none folded."""
    return _console(_UNLIMITED).measure(table).maximum


def text_of(table: Table, *sentences: str) -> str:
    """A table without colours, its title above, its caption and sentences below; folded at spaces alone.

    Args:
        table: title, caption and cells are strings, taken as they are: no markup.
        sentences: what is to be said below it, each on a line of its own.
    """
    body = _lines_of(_fold(table, WIDTH))
    width = max(map(cell_len, body), default=0)
    room = max(WIDTH, width)
    title = [line.center(width).rstrip() for line in _wrap(table.title, room)]
    below = [line for text in (table.caption, *sentences) for line in _wrap(text, room)]
    return "".join(f"{line}\n" for line in [*title, *body, *below])


def _fold(table: Table, room: int) -> Table:
    """A copy without title and caption, its widest columns folded at spaces as far as it takes to fit."""
    folded = copy.copy(table)
    folded.title = folded.caption = None
    folded.columns = [copy.copy(column) for column in table.columns]
    ranges = [_range(column) for column in table.columns]
    room -= whole_width(folded) - sum(most for _, most in ranges)  # without edges and padding
    caps = range(max((most for _, most in ranges), default=0), 0, -1)
    candidates = ([max(least, min(most, cap)) for least, most in ranges] for cap in caps)
    widths = next((found for found in candidates if sum(found) <= room), [least for least, _ in ranges])
    for column, width in zip(folded.columns, widths, strict=True):
        column.width = width
    return folded


def _range(column: Column) -> tuple[int, int]:
    """The least width of a column, in which words and short texts stay whole, and the most that it can use."""
    console = _console(_UNLIMITED)
    found = [console.measure(cell) for cell in (column.header, *column.cells)]
    most = max(each.maximum for each in found)
    return (most if column.no_wrap else min(most, max(FOLDED, *(each.minimum for each in found)))), most


def _lines_of(table: Table) -> list[str]:
    console = _console(max(1, whole_width(table)))
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _wrap(text: str | None, width: int) -> list[str]:
    lines = Text(text).wrap(_console(width), width) if text else []
    return [line.plain.rstrip() for line in lines]


def _console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False, color_system=None)
