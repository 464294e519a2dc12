"""Figures of models and searches, and the style of all figures. Nothing global is touched."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_s4 import extras

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
BLUE, ORANGE, GREEN = COLORS[:3]
RED = COLORS[5]
DASHES = ("-", "--", "-.", (0, (1, 1)))
FAINT = "#9aa5b1"
STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.usetex": False,
}
WIDTH = 9.0


@contextlib.contextmanager
def new_figure(height: float, width: float = WIDTH, style: Mapping[str, Any] | None = None) -> Iterator[Figure]:
    """An empty figure to draw into, in the style of all figures.

    Args:
        height: in inches.
        width: in inches.
        style: what is other than in `STYLE`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with extras.needed_for("Figures", "report"):
        import matplotlib
        from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | dict(style or {})):
        yield Figure(figsize=(width, height), layout="constrained")


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return not extras.missing_packages("report")


def spectra(parts: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The spectrum of each part, with the rank that was kept.

    Args:
        parts: by part name: `spectrum` `[N]`, `channel_spectra` `[H, N]` of states, empty of matrices, and `rank`.
    """
    columns = min(len(parts), 2)
    rows = -(-len(parts) // columns)
    with new_figure(3.6 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, (name, part) in zip(grid, parts.items(), strict=False):
            _draw_spectrum(axes, part)
            axes.set_title(show_as_text(name))
        for axes in grid[len(parts) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel("singular value")
        grid[0].legend(loc="best", fontsize=10)
    return figure


def pareto_front(
    points: Sequence[Mapping[str, Any]],
    original: Mapping[str, float],
    cost: str,
    metric: str,
    budget: float | None = None,
) -> Figure:
    """What a search found: a metric against a cost, and the front that no other point beats in both.

    Args:
        points: each with `cost`, `metric`, `feasible` (within all budgets) and `front`.
        original: `cost` and `metric` of the model before its reduction.
        cost: label of the horizontal axis.
        metric: label of the vertical axis.
        budget: the most that the cost may be, or None.
    """
    front = sorted((point for point in points if point["front"]), key=lambda point: point["cost"])
    others = [point for point in points if point["feasible"] and not point["front"]]
    over = [point for point in points if not point["feasible"]]
    with new_figure(4.2) as figure:
        axes = figure.subplots()
        for group, style, color, label in (
            (others, "o", FAINT, "other trials"),
            (over, "x", RED, "over a budget"),
            ([original], "s", "black", "before the reduction"),
        ):
            if group:
                axes.plot(*_columns(group, "cost", "metric"), style, color=color, label=label)
        if front:
            costs, metrics = _columns(front, "cost", "metric")
            axes.step(costs, metrics, where="post", color=BLUE, alpha=0.5)
            axes.plot(costs, metrics, "o", color=BLUE, markersize=8, label="front")
        if budget is not None:
            axes.axvline(budget, color=RED, linestyle="--", label=f"budget: {budget:,}")
        axes.set(xlabel=show_as_text(cost), ylabel=show_as_text(metric))
        axes.margins(x=0.06, y=0.1)
        axes.legend(loc="best")
    return figure


def fronts_of_kinds(
    panels: Sequence[tuple[str, Sequence[Mapping[str, Any]], float | None]], metric: str, kinds: Sequence[str]
) -> Figure:
    """What a search over networks found: a metric against each cost, and the fronts that no other network beats.

    Args:
        panels: of each cost its label, the points, each with `cost`, `metric`, `kind` and `front`, and the budget or
            None.
        metric: label of the vertical axis.
        kinds: of networks, each with a colour of its own.
    """
    colors = dict(zip(kinds, COLORS * len(kinds), strict=False))
    with new_figure(3.6, max(WIDTH, 4.2 * len(panels))) as figure:
        (row,) = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        for axes, (cost, points, budget) in zip(row, panels, strict=True):
            front = sorted((point for point in points if point["front"]), key=lambda point: point["cost"])
            axes.step(*_columns(front, "cost", "metric"), where="post", color="black", alpha=0.35, label="front")
            for kind in kinds:
                for on_front, size, alpha in ((False, 5, 0.4), (True, 9, 1.0)):
                    group = [point for point in points if point["kind"] == kind and point["front"] == on_front]
                    label = show_as_text(kind) if on_front else None
                    axes.plot(
                        *_columns(group, "cost", "metric"), "o", color=colors[kind], markersize=size, alpha=alpha,
                        label=label,
                    )  # fmt: skip
            if budget is not None:
                axes.axvline(budget, color=RED, linestyle="--", label=f"budget: {budget:,.0f}")
            axes.set(xlabel=show_as_text(cost), xscale="log")
            axes.margins(x=0.06, y=0.1)
        row[0].set_ylabel(show_as_text(metric))
        row[0].legend(loc="best", fontsize=9)
    return figure


def draw(figure: Figure, kind: str = "svg") -> bytes:
    """Draws a figure into the content of a file; equal figures give equal files.

    Args:
        figure: any.
        kind: "svg", "png", "pdf" or another that matplotlib writes.
    """
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "keras-s4"}):
        figure.savefig(content, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()


def show_as_text(name: str) -> str:
    """A user's name as text: matplotlib takes dollars for formulas, and leaves out of legends what begins with "_"."""
    shown = "".join(character if character.isprintable() else "?" for character in str(name)).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _draw_spectrum(axes: Axes, part: Mapping[str, Any]) -> None:
    modes = np.arange(1, len(part["spectrum"]) + 1)
    floor = 1e-6 * max(part["spectrum"])
    for index, values in enumerate(part["channel_spectra"]):
        label = "each channel" if index == 0 else None
        axes.plot(modes, np.maximum(values, floor), color=FAINT, alpha=0.45, linewidth=0.8, label=label)
    axes.plot(modes, np.maximum(part["spectrum"], floor), color=BLUE, marker="o", markersize=4, label="the part")
    kept = part["rank"]
    axes.axvline(kept + 0.5, color=RED, linestyle="--", label=f"kept: {kept} of {len(modes)}")
    axes.axvspan(kept + 0.5, max(len(modes), kept + 0.5) + 0.5, color=RED, alpha=0.06, linewidth=0)
    axes.set(yscale="log", xlabel="rank", xlim=(0.5, len(modes) + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)


def _columns(points: Sequence[Mapping[str, Any]], *names: str) -> list[list[float]]:
    return [[point[name] for point in points] for name in names]
