"""Which method reduces which layer: the one with the least measured error, and the errors of all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from rich.table import Table

from keras_s4.brief import Brief
from keras_s4.checks import check_model
from keras_s4.compression.layer_states import AUTO, CANDIDATES, LayerStates, check_options, options_of
from keras_s4.compression.output_error import OutputError
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.ranks import parts_and_ranks
from keras_s4.tables import text_of

# What the errors are of.
OUTPUTS, KERNELS = "outputs", "kernels"
_TITLES = {OUTPUTS: "Error of the model's outputs on the data", KERNELS: "Error of the layers' kernels"}
# Most rounds over the layers. They end as soon as one changes nothing.
_ROUNDS = 3

Methods = dict[str, str]


@dataclasses.dataclass(frozen=True, repr=False)
class MethodChoice(Brief):
    """Which method reduces the states of which layer, and what the others would have lost. All errors are relative.

    Attributes:
        methods: of each layer that is reduced, by the name of its part; `keras_s4.reduce(model, ranks, methods)` does
            the same again.
        error: of the methods chosen, together.
        of: what the errors are of. `OUTPUTS`: of the outputs of the model on the data. `KERNELS`, where there is no
            data: of the impulse responses of the layers, over the steps of their sequences if known; together the root
            mean square over the layers.
        one_for_all: the error by method, if it reduces all of these layers; in the order of `CANDIDATES`.
        layers: by layer, the error by method, if it reduces that layer and the others are reduced by those chosen; of
            kernels that of the layer itself.
        left_out: why a method was not tried, by method.
    """

    methods: Methods
    error: float
    of: str
    one_for_all: dict[str, float]
    layers: dict[str, dict[str, float]]
    left_out: dict[str, str]

    def figures(self) -> dict[str, Any]:
        """JSON-ready; an error that is not finite is None."""
        return {
            "methods": self.methods,
            "error": _json_ready(self.error),
            "errors of": self.of,
            "one for all": {method: _json_ready(error) for method, error in self.one_for_all.items()},
            "layers": {
                name: {method: _json_ready(error) for method, error in errors.items()}
                for name, errors in self.layers.items()
            },
            "left out": self.left_out,
        }

    def table(self) -> Table:
        """A row a method, a column a layer; what was chosen is marked."""
        table = Table("method", *self.layers, "all layers", title=_TITLES[self.of])
        for method in CANDIDATES:
            if method in self.left_out:
                table.add_row(method, *["–"] * (len(self.layers) + 1))
                continue
            cells = [_cell(errors.get(method), self.methods[name] == method) for name, errors in self.layers.items()]
            table.add_row(method, *cells, _cell(self.one_for_all.get(method)))
        table.add_section()
        table.add_row("chosen", *self.methods.values(), _cell(self.error))
        if self.left_out:
            table.caption, table.caption_justify = "\n".join(f"{m}: {why}." for m, why in self.left_out.items()), "left"
        return table

    def __str__(self) -> str:
        return text_of(self.table())


def choose_methods(model: keras.Model, ranks: Ranks | int, data: Any = None, **options: Any) -> MethodChoice:
    """The method of reducing states with the least error, layer by layer: what `method="auto"` of `reduce` does.

    With data the error is that of the model's outputs on them: every method is tried on all layers at once, and from
    the best of these on others on single layers as long as that lowers the error. So what is chosen is never worse on
    these data than one method for all. Give inputs that stand for those to come, such as some hundred training
    sequences; not those of the test.

    Without data it is the error of each layer's kernel, over as many steps as its sequences have, or, where their
    length is open, over all.

    Args:
        model: a functional or sequential model, trained.
        ranks: as for `keras_s4.reduce`.
        data: inputs of the model, numpy.
        options: options of the methods, for example `horizon`; each takes those that it has.

    Returns:
        A :class:`MethodChoice`; without methods where no states are reduced.

    Raises:
        TypeError: no model.
        ValueError: see `keras_s4.reduce`; an option that no method has; no method whose reduced model gives numbers.
    """
    check_model(model, data, "choose_methods")
    parts, ranks = parts_and_ranks(model, ranks, data)
    return choose(model, parts, ranks, data, options)


def choose(
    model: keras.Model, parts: Mapping[str, Part], ranks: Ranks, data: Any, options: Mapping[str, Any]
) -> MethodChoice:
    """The same, given the ranks of all parts, these having been measured on the data."""
    check_options(options)
    shrinking = {name: part for name, part in parts.items() if ranks[name] < part.max_rank}
    states = {name: part for name, part in shrinking.items() if part.kind == "states"}
    candidates = {name: part.candidates(options) for name, part in states.items()}
    left_out = dict(_left_out(states, candidates, options))
    if not states:
        return MethodChoice({}, 0.0, KERNELS if data is None else OUTPUTS, {}, {}, {})
    if data is None:
        found = _by_kernels(states, ranks, candidates, options)
    else:
        found = _by_outputs(model, shrinking, ranks, candidates, data, options)
    if not math.isfinite(found.error):
        raise ValueError(
            f"method={AUTO!r} found no method for which model {model.name!r} gives finite outputs on the data; see "
            "what the model itself gives for them."
        )
    return dataclasses.replace(found, left_out=left_out)


def _by_kernels(
    states: Mapping[str, LayerStates], ranks: Ranks, candidates: Mapping[str, list[str]], options: Mapping[str, Any]
) -> MethodChoice:
    horizon = options.get("horizon")
    layers = {
        name: {
            method: part.relative_error(
                part.truncate(ranks[name], method, **options_of(method, options)).system, horizon
            )
            for method in candidates[name]
        }
        for name, part in states.items()
    }
    methods = {name: min(errors, key=errors.get) for name, errors in layers.items()}
    one_for_all = {
        method: _root_mean_square(errors[method] for errors in layers.values()) for method in _common(candidates)
    }
    error = _root_mean_square(layers[name][method] for name, method in methods.items())
    return MethodChoice(methods, error, KERNELS, one_for_all, layers, {})


def _by_outputs(
    model: keras.Model,
    shrinking: Mapping[str, Part],
    ranks: Ranks,
    candidates: Mapping[str, list[str]],
    data: Any,
    options: Mapping[str, Any],
) -> MethodChoice:
    padded = PaddedModel(model, shrinking, AUTO, **options)
    error_of = OutputError(padded.at({name: part.max_rank for name, part in shrinking.items()}), data)
    known: dict[tuple[str, ...], float] = {}

    def measure(methods: Methods) -> float:
        key = tuple(methods.values())
        if key not in known:
            known[key] = error_of(padded.at(ranks, methods))
        return known[key]

    one_for_all = {method: measure(dict.fromkeys(candidates, method)) for method in _common(candidates)}
    methods = dict.fromkeys(candidates, min(one_for_all, key=one_for_all.get))
    methods, layers = _improve_layers(methods, candidates, measure)
    return MethodChoice(methods, measure(methods), OUTPUTS, one_for_all, layers, {})


def _improve_layers(
    methods: Methods, candidates: Mapping[str, list[str]], measure: Callable[[Methods], float]
) -> tuple[Methods, dict[str, dict[str, float]]]:
    """Other methods for single layers as long as they lower the error; the errors around those found."""
    for _ in range(_ROUNDS):
        before = dict(methods)
        for name, choices in candidates.items():
            best = min(choices, key=lambda method, name=name: measure({**methods, name: method}))
            if measure({**methods, name: best}) < measure(methods):
                methods = {**methods, name: best}
        if methods == before:
            break
    layers = {
        name: {method: measure({**methods, name: method}) for method in choices} for name, choices in candidates.items()
    }
    return methods, layers


def _common(candidates: Mapping[str, list[str]]) -> list[str]:
    """Methods that all layers can have."""
    return [method for method in CANDIDATES if all(method in choices for choices in candidates.values())]


def _left_out(
    states: Mapping[str, LayerStates], candidates: Mapping[str, list[str]], options: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Methods that no layer can have, and why."""
    for method in CANDIDATES:
        if states and not any(method in choices for choices in candidates.values()):
            yield method, next(iter(states.values())).obstacle(method, options)


def _root_mean_square(values: Iterator[float]) -> float:
    return float(np.sqrt(np.mean(np.square([*values]))))


def _json_ready(error: float) -> float | None:
    return error if math.isfinite(error) else None


def _cell(error: float | None, is_chosen: bool = False) -> str:
    return "–" if error is None else f"{error:.3g}{' *' if is_chosen else ''}"
