"""Figures of a run: the score against the size, what is confused with what, and the program at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from keras_s4.plots import BLUE, COLORS, DASHES, RED, new_figure, show_as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More curves than these have no legend.
NAMED_CURVES = 14
# How scores are drawn: the label of their axis, a factor, and the limits of the axis.
SCORES = {
    "accuracy": ("accuracy on validation windows (%)", 100.0, (0, 105)),
    "rmse": ("root mean square error on validation windows", 1.0, (0, None)),
}


def score_against_size(tradeoff: Mapping[str, Any], score: str) -> Figure:
    """The score on the validation windows against the size of the `.tflite`.

    Args:
        tradeoff: `truncated` (points with `rank`, `tflite_bytes` and the score), `trained` and `retrained` (points).
        score: "accuracy" or "rmse".
    """
    label, factor, limits = SCORES[score]
    points = sorted(tradeoff["truncated"], key=lambda point: point["tflite_bytes"])
    ends = {name: _coordinates([tradeoff[name]], score, factor) for name in ("trained", "retrained")}
    with new_figure(4.2) as figure:
        axes = figure.subplots()
        line = _coordinates([*points, tradeoff["trained"]], score, factor)
        axes.plot(
            *line, color=BLUE, marker="o", zorder=2, label="balanced truncation to as many modes, not trained again"
        )
        for point, x, y in zip(points, *line, strict=False):
            axes.annotate(f"{point['rank']}", (x, y), (0, -17), textcoords="offset points", ha="center")
        axes.plot(*ends["trained"], "s", color="black", markersize=9, label="trained, full size")
        axes.plot(*ends["retrained"], "*", color=RED, markersize=17, label="reduced and trained again")
        axes.set(xlabel="size of the .tflite (KiB)", ylabel=label, ylim=limits)
        axes.margins(x=0.06)
        axes.legend(loc="best" if limits[1] is None else "lower right")
    return figure


def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """How often each class was taken for each other.

    Args:
        counts: `[C, C]`; rows are the true classes.
        names: of the classes.
    """
    counts = np.asarray(counts)
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(5.4, 0.45 * len(names))
    bare = {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}
    with new_figure(side, side + 1.0, bare) as figure:
        axes = figure.subplots()
        # Colours are shares, since some classes have more windows; the numbers are counts.
        display = ConfusionMatrixDisplay(shares, display_labels=[show_as_text(name) for name in names])
        display.plot(ax=axes, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 100})
        for text, count in zip(display.text_.flat, counts.flat, strict=True):
            text.set_text(f"{count}")
        if max(map(len, names)) * len(names) > 60:
            axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
        axes.set(xlabel="class found by the integer program", ylabel="true class")
        bar = figure.colorbar(display.im_, ax=axes, label="share of the true class (%)", shrink=0.85)
        bar.outline.set_visible(False)
    return figure


def streamed_recording(
    signal: np.ndarray, outputs: np.ndarray, label: np.ndarray | int, task: Mapping[str, Any]
) -> Figure:
    """A recording above what the program says after each of its steps.

    Args:
        signal: `[L, features]`.
        outputs: probabilities of classes or labels `[L, C]`, quantities or forecasts `[L, T]`, or scores `[L, 1]`; of a
            program that takes several steps at once a row after each block of them.
        label: the true class, labels `[C]` or quantities `[T]`, or those of each step, `[L]` or `[L, ...]`.
        task: what `keras_s4.datasets.Task.figures` returns.
    """
    sensors, classes, window = task["sensors"], task["classes"], int(task["length"])
    label = np.asarray(label)
    of_steps = bool(label.ndim) and len(label) == len(signal)
    times = np.arange(len(signal)) / (task["rate"] or 1.0)
    block = len(signal) // len(outputs)
    said = times[block - 1 :: block]
    resets = times[window::window]
    heights = (*[1.0] * len(sensors), 1.5)
    with new_figure(2.1 * sum(heights), style={"lines.linewidth": 1.1}) as figure:
        *tops, bottom = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        first = 0
        for axes, sensor in zip(tops, sensors, strict=True):
            _draw_sensor(axes, times, signal[:, first : first + len(sensor["axes"])], sensor)
            first += len(sensor["axes"])
        there = _classes_there(label, of_steps, task["multi_label"]) if classes else []
        if classes:
            _draw_classes(bottom, said, outputs, there, classes)
        elif task["anomaly"]:
            _draw_targets(bottom, said, outputs, None, ["score"])
        elif task["horizon"]:
            axes = [f"{sensor['name']} {axis}".strip() for sensor in sensors for axis in sensor["axes"]]
            _draw_targets(bottom, said, outputs[:, : len(axes)], None, axes)
        else:
            truth = label[block - 1 :: block] if of_steps else np.ravel(label)
            _draw_targets(bottom, said, outputs, truth, task["targets"])
        unit = "step" if task["rate"] is None else "time (s)"
        bottom.set(xlabel=unit, xlim=(0, len(signal) / (task["rate"] or 1.0)))
        for axes in (*tops, bottom):
            for reset in resets:
                axes.axvline(reset, color="#52606d", linestyle=":", linewidth=1.4)
        for reset in resets:
            tops[0].annotate("reset", (reset, 1.0), (0, 3), xycoords=("data", "axes fraction"),
                             textcoords="offset points", ha="center", fontsize=9.5, color="#52606d")  # fmt: skip
        of_class = f" of class {' and '.join(show_as_text(classes[index]) for index in there)}" if there else ""
        figure.suptitle(f"A test recording{of_class}", fontsize=12)
    return figure


def _draw_sensor(axes: Axes, times: np.ndarray, values: np.ndarray, sensor: Mapping[str, Any]) -> None:
    for index, (column, name) in enumerate(zip(values.T, sensor["axes"], strict=True)):
        axes.plot(times, column, color=COLORS[index % len(COLORS)], label=show_as_text(name))
    unit = f"\n({sensor['unit']})" if sensor["unit"] else ""
    axes.set_ylabel(show_as_text(sensor["name"]) + unit.replace("$", r"\$"))
    if 1 < len(sensor["axes"]) <= NAMED_CURVES:
        _name_curves(axes, 1.2)


def _classes_there(label: np.ndarray, of_steps: bool, multi_label: bool) -> list[int]:
    """The classes of a recording that has one label for all of it; of one with a label a step none stands out."""
    if of_steps:
        return []
    return np.flatnonzero(label).tolist() if multi_label else [int(label)]


def _draw_classes(axes: Axes, times: np.ndarray, outputs: np.ndarray, there: list[int], names: Sequence[str]) -> None:
    for index, (values, name) in enumerate(zip(outputs.T, names, strict=True)):
        is_true = index in there
        suffix = " (true)" if is_true else ""
        shown = show_as_text(name) + suffix if is_true or len(names) <= NAMED_CURVES else None
        axes.plot(times, 100 * values, linewidth=3.0 if is_true else 1.4, label=shown, **style_of(index))
    axes.set(ylabel="class probability (%)", ylim=(0, 102))
    _name_curves(axes, 1.8)


def _draw_targets(
    axes: Axes, times: np.ndarray, outputs: np.ndarray, label: np.ndarray | None, names: Sequence[str]
) -> None:
    """Each quantity, and its true value `[T]`, or at each step `[L, ...]`, as a faint line of the same colour."""
    for index, (values, name) in enumerate(zip(outputs.T, names, strict=True)):
        shown = show_as_text(name) if len(names) <= NAMED_CURVES else None
        axes.plot(times, values, linewidth=1.4, label=shown, **style_of(index))
        faint = {"color": COLORS[index % len(COLORS)], "alpha": 0.4, "linewidth": 3.0}
        if label is not None and len(label) == len(times):
            axes.plot(times, label.reshape(len(times), -1)[:, index], **faint)
        elif label is not None:
            axes.axhline(label[index], **faint)
    axes.set(ylabel="output" if label is None else "quantity, and what it is")
    _name_curves(axes, 1.8)


def style_of(index: int) -> dict[str, Any]:
    """The look of a curve among several."""
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": DASHES[index // len(COLORS) % len(DASHES)],
    }


def _name_curves(axes: Axes, length: float) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=length)


def _coordinates(points: Sequence[Mapping[str, Any]], score: str, factor: float) -> tuple[list[float], list[float]]:
    return [point["tflite_bytes"] / 1024 for point in points], [factor * point[score] for point in points]
