"""The tables of an analysis, for terminals of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.table import Column, Table

from keras_s4.tflite.analysis.layer_analysis import LayerAnalysis
from keras_s4.tflite.analysis.states import CASES, States

_STATE_HEADINGS = ("worst\ncase", "range", "data", "dead\nzone", "left of\nstart", "ideal", "pole\nerror")


def tabulate_layers(found: Sequence[LayerAnalysis], predicted: float | None, measured: float | None) -> Table:
    """One row a layer, with the worst of its states in each column, and one for the model's output."""
    headings = (*_STATE_HEADINGS, "kernel\nerror", "SNR pre-\ndicted", "meas-\nured")
    table = _table(
        ("layer", *headings),
        title="Bits before a 16-bit state saturates; parts of the state; signal-to-noise ratios in dB",
    )
    for layer in found:
        states = layer.states
        forgotten = states.worst(states.remembered)
        cells = [_number(states.headroom(case)[states.used].min(initial=np.inf)) for case in CASES]
        cells += [_part(states.dead_part[states.worst(states.dead_part)])]
        cells += [_part(values[forgotten]) for values in (states.decay, states.ideal_decay)]
        cells += ["–" if states.pole_error is None else f"{states.pole_error.max():.0e}"]
        cells += ["–" if states.kernel_error is None else _part(states.largest_kernel_error)]
        table.add_row(layer.name, *cells, _number(layer.predicted), _number(layer.measured))
    empty = [""] * (len(_STATE_HEADINGS) + 1)
    table.add_row("output", *empty, _number(predicted), _number(measured))
    return table


def tabulate_states(layer: str, found: States) -> Table:
    """One row a state of a layer; those that no input reaches are left out."""
    table = _table(
        ("channel", "mode", "radius", *_STATE_HEADINGS, "rounding\nnoise"),
        title=f"States of {layer}: bits before they saturate; parts of the state",
    )
    for channel, mode in np.argwhere(found.used):
        place = (channel, mode)
        cells = [str(channel), str(mode), f"{abs(found.poles[place]):.6f}"]
        cells += [_number(found.headroom(case)[place]) for case in CASES]
        cells += [_part(values[place]) for values in (found.dead_part, found.decay, found.ideal_decay)]
        cells += ["–" if found.pole_error is None else f"{found.pole_error[place]:.0e}"]
        table.add_row(*cells, f"{found.rounding_noise[place]:.0e}")
    return table


def tabulate_noise(parts: dict[str, float], rows: int) -> Table:
    """The stages that cause most of the noise at the output."""
    table = _table(("stage", "part"), title="Where the noise of the output comes from")
    for name, part in list(parts.items())[:rows]:
        table.add_row(name, f"{part:.0%}")
    return table


def _table(headings: tuple[str, ...], title: str) -> Table:
    columns = [Column(heading, justify="right", vertical="bottom", no_wrap=True) for heading in headings]
    columns[0].justify = "left"
    return Table(*columns, title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0))


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.1f}"


def _part(value: float) -> str:
    return f"{value:.2%}" if value >= 1e-4 else f"{value * 100:.0e}%"
