"""The ranks of a trained model's parts and the method of reduction as hyperparameters of keras-tuner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4 import reduction
from keras_s4.checks import is_whole
from keras_s4.compression.layer_states import AUTO
from keras_s4.compression.part import Part
from keras_s4.compression.parts import parts_of
from keras_s4.compression.reduce import reduce
from keras_s4.compression.search.engine import keras_tuner

RANK = "rank/"
METHOD = "method"


class RankHyperModel(keras_tuner.HyperModel):
    """Reduced copies of a trained model, one for every choice of ranks and method. Any keras-tuner tuner takes it.

    The hyperparameters are `rank/NAME` for every part and, if there is more than one to choose from, `method`.

    Args:
        model: trained and compiled, functional or sequential.
        parts: parts by name whose ranks are searched, the others staying as they are; None for `parts_of(model)`.
        methods: names from `keras_s4.reduction.METHODS`, or "auto"; they concern the states alone.
        choices: how many ranks of each part to choose from at most, evenly spaced on a logarithmic scale up to the full
            rank; or the ranks themselves by part name, parts left out having 8.
        learning_rate: the learning rate of the reduced models; by default as the model was compiled.
        options: further arguments of `keras_s4.reduce` by method: `{"finite_horizon": {"horizon": 100}}`, or
            `{"auto": {"data": x}}`, without which "auto" goes by the error of kernels.

    Raises:
        ValueError: a model that is not built or not compiled, no parts, an unknown method or part, an impossible rank.
    """

    def __init__(
        self,
        model: keras.Model,
        parts: Mapping[str, Part] | None = None,
        methods: Sequence[str] = ("balanced",),
        choices: int | Mapping[str, Sequence[int]] = 8,
        learning_rate: float | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        super().__init__()
        _check_model(model)
        self.model = model
        self.methods = _check_methods(methods)
        parts = dict(parts if parts is not None else parts_of(model))
        self.choices = {name: ranks_to_try(part, choices) for name, part in parts.items()}
        if isinstance(choices, Mapping) and set(choices) - set(parts):
            unknown = ", ".join(sorted(set(choices) - set(parts)))
            raise ValueError(f"choices names {unknown}, but the parts are {', '.join(parts)}.")
        self.full_ranks = {name: part.max_rank for name, part in parts.items()}
        self.learning_rate = learning_rate
        self.options = {name: dict(values) for name, values in (options or {}).items()}

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Adds the ranks and the method to a space."""
        self.read_ranks(hp)

    def read_ranks(self, hp: keras_tuner.HyperParameters) -> tuple[dict[str, int], str]:
        """The ranks by part name, and the method, that hyperparameters stand for."""
        ranks = {name: int(hp.Choice(RANK + name, list(values))) for name, values in self.choices.items()}
        method = self.methods[0] if len(self.methods) == 1 else hp.Choice(METHOD, list(self.methods))
        return ranks, method

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The reduced model, compiled with a fresh optimizer."""
        return self.reduce_model(*self.read_ranks(hp))

    def reduce_model(self, ranks: dict[str, int], method: str) -> keras.Model:
        """The same for given ranks."""
        model = reduce(self.model, ranks, method=method, **self.options.get(method, {}))
        if self.learning_rate is not None:
            config = self.model.get_compile_config()
            config["optimizer"]["config"]["learning_rate"] = self.learning_rate
            model.compile_from_config(config)
        return model


def ranks_to_try(part: Part, choices: int | Mapping[str, Sequence[int]] = 8) -> tuple[int, ...]:
    """Some of a part's choices, ascending; see `RankHyperModel`.

    Raises:
        ValueError: no rank, or one that the part cannot have.
    """
    if not isinstance(choices, Mapping):
        if not is_whole(choices) or choices < 1:
            raise ValueError(f"choices is {choices!r}; expected a number of ranks, at least 1, or ranks by part name.")
        positions = np.rint(np.geomspace(len(part.choices), 1, choices)).astype(int) - 1
        return tuple(part.choices[position] for position in np.unique(positions))
    if part.name not in choices:
        return ranks_to_try(part)
    given = choices[part.name]
    ranks = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not ranks or not all(is_whole(rank) and 1 <= rank <= part.max_rank for rank in ranks):
        raise ValueError(
            f"choices gives part {part.name!r} the ranks {ranks}; expected numbers from 1 to {part.max_rank}."
        )
    return tuple(sorted({int(rank) for rank in ranks}))


def _check_model(model: keras.Model) -> None:
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it before searching ranks for it.")
    if not model.compiled or not model.get_compile_config():
        raise ValueError(
            f"Model {model.name!r} is not compiled, so its reduced copies cannot be trained; compile it with the loss, "
            "the optimizer and the metrics that they are to have."
        )


def _check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    methods = (methods,) if isinstance(methods, str) else tuple(methods)
    known = (*reduction.METHODS, AUTO)
    unknown = [method for method in methods if method not in known]
    if unknown or not methods:
        raise ValueError(f"methods is {methods}; expected one or more of {', '.join(known)}.")
    return methods
