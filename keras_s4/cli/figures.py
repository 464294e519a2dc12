"""Figures that commands write."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from keras_s4 import plots
from keras_s4.cli.files import follow_link
from keras_s4.files import write_bytes


def check_figure_name(path: Path) -> None:
    """Refuses a kind of figure that cannot be drawn.

    Raises:
        ValueError: the name ends in something else.
    """
    kinds = FigureCanvasBase.get_supported_filetypes()
    if _kind_of_figure(path) not in kinds:
        raise ValueError(
            f"--figure is {path}; give a name that ends in .svg, .png, .pdf or another of {', '.join(kinds)}."
        )


def write_figure(path: Path | None, figure: Figure) -> None:
    """Draws a figure into a file of the kind that its name tells, if one is wanted."""
    if path is not None:
        write_bytes(follow_link(path), plots.draw(figure, _kind_of_figure(path)))


def _kind_of_figure(path: Path) -> str:
    return path.suffix.removeprefix(".").lower() or "svg"
