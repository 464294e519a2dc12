"""Figures of continuous streams: what the device says while it runs, and what a threshold costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_s4.job.figures import NAMED_CURVES, style_of
from keras_s4.plots import BLUE, GREEN, RED, new_figure, show_as_text
from keras_s4.recordings import UNLABELLED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# So much of a stream is shown, in seconds: some ten changes of the classes that people do for half a minute.
SHOWN_SECONDS = 300.0
UNKNOWN = "#e4e7eb"


def stream_of_classes(
    labels: np.ndarray,
    steps: np.ndarray,
    outputs: np.ndarray,
    decided: np.ndarray,
    task: Mapping[str, Any],
    seconds: float = SHOWN_SECONDS,
) -> Figure:
    """The beginning of a stream: probabilities on the device, above what is decided and what is true.

    Args:
        labels: the class of each step, `[T]`; `UNLABELLED` where nobody knows it.
        steps: of the decisions, `[D]`.
        outputs: probabilities there, `[D, C]`.
        decided: the classes that were decided for, `[D]`; -1 where none was.
        task: what `keras_s4.datasets.Task.figures` returns.
        seconds: how much is shown.
    """
    rate, names = float(task["rate"]), task["classes"]
    stop = min(len(labels), round(seconds * rate))
    shown = steps < stop
    times = (steps[shown] + 1) / rate
    with new_figure(4.4, style={"lines.linewidth": 1.1}) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1.0))
        _draw_probabilities(top, times, outputs[shown], names)
        _draw_band(bottom, np.arange(stop) / rate, labels[:stop], 1.0, 1.0 / rate)
        _draw_band(bottom, times, decided[shown], 0.0, times[1] - times[0] if len(times) > 1 else 1.0 / rate)
        bottom.set(xlim=(0, stop / rate), ylim=(-0.5, 1.5), xlabel="time (s)")
        bottom.set_yticks([0, 1], ["decided", "true"])
        bottom.grid(visible=False)
        figure.suptitle("A test stream without a reset", fontsize=12)
    return figure


def stream_of_quantities(
    labels: np.ndarray,
    steps: np.ndarray,
    outputs: np.ndarray,
    task: Mapping[str, Any],
    seconds: float = SHOWN_SECONDS,
) -> Figure:
    """The beginning of a stream: quantities on the device, and what they truly are as faint lines of the same colour.

    Args:
        labels: the quantities at each step, `[T, Q]`, or `[T]` of one.
        steps: of the decisions, `[D]`.
        outputs: the quantities there, `[D, Q]`.
        task: what `keras_s4.datasets.Task.figures` returns.
        seconds: how much is shown.
    """
    rate, names = float(task["rate"]), task["targets"]
    stop = min(len(labels), round(seconds * rate))
    shown, labels = steps < stop, labels.reshape(len(labels), -1)
    with new_figure(3.6, style={"lines.linewidth": 1.4}) as figure:
        axes = figure.subplots()
        for index, values in enumerate(outputs[shown].T):
            look = style_of(index)
            axes.plot(np.arange(stop) / rate, labels[:stop, index], color=look["color"], alpha=0.4, linewidth=3.0)
            axes.plot((steps[shown] + 1) / rate, values, label=show_as_text(names[index]), **look)
        axes.set(xlim=(0, stop / rate), xlabel="time (s)", ylabel="quantity, and what it is")
        if len(names) <= NAMED_CURVES:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.8)
        figure.suptitle("A test stream without a reset", fontsize=12)
    return figure


def threshold_curve(curve: Sequence[Mapping[str, float | None]], threshold: float) -> Figure:
    """What each threshold did on validation streams, and the one that was chosen.

    Args:
        curve: rows with "threshold", "recall", "false_alarms_per_hour" and "delay"; None where one is not known.
        threshold: the chosen one.
    """
    with new_figure(3.6) as figure:
        left = figure.subplots()
        right = left.twinx()
        thresholds = [row["threshold"] for row in curve]
        (found,) = left.plot(thresholds, _column(curve, "recall", 100.0), color=BLUE, label="changes found")
        (alarms,) = right.plot(
            thresholds, _column(curve, "false_alarms_per_hour"), color=RED, linestyle="--", label="false alarms an hour"
        )
        (delay,) = right.plot(thresholds, _column(curve, "delay"), color=GREEN, linestyle="-.", label="mean delay (s)")
        chosen = left.axvline(threshold, color="black", linestyle=":", label="chosen")
        left.set(xlabel="threshold", ylabel="changes found (%)", ylim=(0, 105))
        right.set(ylabel="false alarms an hour; seconds", yscale="symlog", ylim=(0, None))
        left.legend(handles=[found, alarms, delay, chosen], loc="center left", bbox_to_anchor=(1.12, 0.5))
    return figure


def _draw_probabilities(axes: Axes, times: np.ndarray, outputs: np.ndarray, names: Sequence[str]) -> None:
    for index, values in enumerate(outputs.T):
        label = show_as_text(names[index]) if len(names) <= NAMED_CURVES else None
        axes.plot(times, 100 * values, label=label, **style_of(index))
    axes.set(ylabel="class probability (%)", ylim=(0, 102))
    if len(names) <= NAMED_CURVES:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.8)


def _draw_band(axes: Axes, times: np.ndarray, classes: np.ndarray, height: float, width: float) -> None:
    """A bar for each run of one class, in the colours of the curves."""
    bounds = np.flatnonzero(np.diff(classes)) + 1
    for part in np.split(np.arange(len(classes)), bounds):
        if not len(part):
            continue
        color = UNKNOWN if classes[part[0]] == UNLABELLED else style_of(int(classes[part[0]]))["color"]
        start, stop = times[part[0]], times[part[-1]] + width
        axes.barh(height, stop - start, 0.8, left=start, color=color)


def _column(rows: Sequence[Mapping[str, float | None]], name: str, factor: float = 1.0) -> list[float]:
    return [float("nan") if row[name] is None else factor * row[name] for row in rows]
