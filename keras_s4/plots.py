"""Figures of a run. Each function returns a matplotlib `Figure` of its own; nothing global is touched."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
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


def spectra(parts: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The spectrum of each part, with the rank that was kept.

    Args:
        parts: by part name: `spectrum` `[N]`, `channel_spectra` `[H, N]` of states, empty of matrices, and `rank`.
    """
    columns = min(len(parts), 2)
    rows = -(-len(parts) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, (name, part) in zip(grid, parts.items(), strict=False):
            _draw_spectrum(axes, part)
            axes.set_title(_plain(name))
        for axes in grid[len(parts) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel("singular value")
        grid[0].legend(loc="best", fontsize=10)
    return figure


def accuracy_against_size(tradeoff: Mapping[str, Any]) -> Figure:
    """Accuracy on the validation windows against the size of the `.tflite`.

    Args:
        tradeoff: `truncated` (points with `rank`, `accuracy`, `tflite_bytes`), `trained` and `retrained` (points).
    """
    points = sorted(tradeoff["truncated"], key=lambda point: point["tflite_bytes"])
    trained, retrained = tradeoff["trained"], tradeoff["retrained"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        axes = figure.subplots()
        line = [*points, trained]
        label = "balanced truncation to as many modes, not trained again"
        axes.plot(*_coordinates(line), color=BLUE, marker="o", label=label, zorder=2)
        for point in points:
            x, y = _coordinates([point])
            axes.annotate(f"{point['rank']}", (x[0], y[0]), (0, -17), textcoords="offset points", ha="center")
        axes.plot(*_coordinates([trained]), "s", color="black", markersize=9, label="trained, full size")
        axes.plot(*_coordinates([retrained]), "*", color=RED, markersize=17, label="reduced and trained again")
        axes.set(xlabel="size of the .tflite (KiB)", ylabel="accuracy on validation windows (%)", ylim=(0, 105))
        axes.margins(x=0.06)
        axes.legend(loc="lower right")
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
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
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
        axes.set(xlabel=_plain(cost), ylabel=_plain(metric))
        axes.margins(x=0.06, y=0.1)
        axes.legend(loc="best")
    return figure


def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """How often each class was taken for each other.

    Args:
        counts: `[C, C]`; rows are the true classes.
        names: of the classes.
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with matplotlib.rc_context(STYLE | {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.55 else "black" if count else FAINT
            axes.text(column, row, f"{count}", ha="center", va="center", color=color)
        axes.set_xticks(range(len(names)), [_plain(name) for name in names])
        axes.set_yticks(range(len(names)), [_plain(name) for name in names])
        axes.tick_params(length=0)
        axes.set(xlabel="class found by the integer program", ylabel="true class")
        figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.85).outline.set_visible(False)
    return figure


def streamed_recording(
    signal: np.ndarray, probabilities: np.ndarray, label: int, names: Sequence[str], rate: float, window: int
) -> Figure:
    """A recording above the class probabilities after each of its steps.

    Args:
        signal: `[L, 6]`, acceleration (g) and angular velocity (rad/s).
        probabilities: `[L, C]`.
        label: the true class.
        names: of the classes.
        rate: steps a second.
        window: steps after which the states are reset.
    """
    seconds = np.arange(len(signal)) / rate
    with matplotlib.rc_context(STYLE | {"lines.linewidth": 1.1}):
        figure = Figure(figsize=(WIDTH, 7.4), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1, 1.5))
        sensors = ((top, signal[:, :3], "acceleration\n(g)"), (middle, signal[:, 3:], "angular velocity\n(rad/s)"))
        for axes, channels, quantity in sensors:
            for values, axis, color in zip(channels.T, "xyz", (BLUE, ORANGE, GREEN), strict=True):
                axes.plot(seconds, values, color=color, label=axis)
            axes.set_ylabel(quantity)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
        for index, (values, name) in enumerate(zip(probabilities.T, names, strict=True)):
            color, dashes = COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)]
            width = 3.0 if index == label else 1.4
            suffix = " (true)" if index == label else ""
            bottom.plot(
                seconds, 100 * values, color=color, linestyle=dashes, linewidth=width, label=_plain(name) + suffix
            )
        bottom.set(xlabel="time (s)", ylabel="class probability (%)", ylim=(0, 102), xlim=(0, len(signal) / rate))
        bottom.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.8)
        for axes in (top, middle, bottom):
            for reset in range(window, len(signal), window):
                axes.axvline(reset / rate, color="#52606d", linestyle=":", linewidth=1.4)
        for reset in range(window, len(signal), window):
            top.annotate("reset", (reset / rate, 1.0), (0, 3), xycoords=("data", "axes fraction"),
                         textcoords="offset points", ha="center", fontsize=9.5, color="#52606d")  # fmt: skip
        figure.suptitle(f"A test recording of class {_plain(names[label])}", fontsize=12)
    return figure


def drawn(figure: Figure, kind: str = "svg") -> bytes:
    """A figure as the content of a file; equal figures give equal files.

    Args:
        figure: any.
        kind: "svg", "png", "pdf" or another that matplotlib writes.
    """
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "keras-s4"}):
        figure.savefig(content, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()


def _plain(name: str) -> str:
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


def _coordinates(points: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    return [point["tflite_bytes"] / 1024 for point in points], [100 * point["accuracy"] for point in points]


def _columns(points: Sequence[Mapping[str, Any]], *names: str) -> list[list[float]]:
    return [[point[name] for point in points] for name in names]
