"""Figures that commands write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from keras_s4 import extras, plots
from keras_s4.cli.files import follow_link
from keras_s4.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_figure_name(path: Path) -> None:
    """Refuses a kind of figure that cannot be drawn.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the name ends in something else.
    """
    with extras.needed_for("Figures", "report"):
        from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if _kind_of_figure(path) not in kinds:
        raise ValueError(
            f"--figure is {path}; give a name that ends in .svg, .png, .pdf or another of {', '.join(kinds)}."
        )


def write_figure(path: Path | None, make: Callable[[], Figure]) -> None:
    """Draws what `make` gives into a file of the kind that its name tells, if one is wanted."""
    if path is not None:
        write_bytes(follow_link(path), plots.draw(make(), _kind_of_figure(path)))


def _kind_of_figure(path: Path) -> str:
    return path.suffix.removeprefix(".").lower() or "svg"
