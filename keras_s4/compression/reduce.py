"""A smaller copy of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_s4.checks import check_model, choice
from keras_s4.compression.layer_states import AUTO, check_options, options_of
from keras_s4.compression.matrices import low_rank_layer
from keras_s4.compression.method_choice import choose
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.ranks import parts_and_ranks
from keras_s4.compression.states import own_poles
from keras_s4.reduction import METHODS
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.paths import layer_at, layers_by_path


def reduce(
    model: keras.Model,
    ranks: Ranks | int,
    method: str | Mapping[str, str] = "balanced",
    data: Any = None,
    **options: Any,
) -> keras.Model:
    """A copy of a trained model with smaller states and thinner matrices, ready to be evaluated or trained on.

    A reduced DSS layer has poles of its own in every channel; a DiagonalSSM layer is reduced as a whole. A layer with a
    reduced matrix is replaced by the layer of low rank with its name and arguments (Dense by `LowRankDense`, and so
    on), also inside of other layers. All other weights are copied. A compiled model gives a compiled one with a fresh
    optimizer.

    Args:
        model: a functional or sequential model.
        ranks: modes to keep per channel, and ranks of matrices, by part name; parts that are left out stay as they are.
            A whole number is for all parts of `parts_of(model)`: the states, or in a model without any the matrices.
        method: the method of reducing states, a key of `keras_s4.reduction.METHODS`; or one for each part, by name,
            those left out being reduced by "balanced"; or "auto", with which every layer is reduced by the method with
            the least error: of the model's outputs on the data, or without data of the layer's kernel (see
            `keras_s4.compression.choose_methods`).
        data: inputs of the model, numpy: matrices then lose what matters least to their products on this data, and the
            methods "input_weighted" and "auto" measure on it. Give training or validation data, not those of the test.
        options: options of the method, for example `horizon` of "finite_horizon", which is otherwise the length of the
            sequences that the layer gets.

    Returns:
        The reduced model; of "auto" with an attribute `method_choice`, a `keras_s4.compression.MethodChoice`, which is
        not saved with it.

    Raises:
        TypeError: no model.
        ValueError: a rank out of range, or an unknown part or method; NaN in the weights; a model that is not built;
            data that the model does not take; a method that needs more than is known.

    Source: Ezoe and Sato 2024 (arXiv 2402.15993) for states.
    """
    check_model(model, data, "reduce")
    if not isinstance(method, Mapping):
        choice(method, "reduce got method=", (*METHODS, AUTO))
    else:
        check_options(options)
    parts, ranks = parts_and_ranks(model, ranks, data)
    shrinking = {name: part for name, part in parts.items() if ranks[name] < part.max_rank}
    states = {name: part for name, part in shrinking.items() if part.kind == "states"}
    matrices = {name: part for name, part in shrinking.items() if part.kind == "matrix"}
    chosen = choose(model, parts, ranks, data, options) if method == AUTO else None
    methods = _methods_by_part(method if chosen is None else chosen.methods, parts)
    own = {name: options if methods[name] == method else options_of(methods[name], options) for name in states}
    systems = {name: part.truncate(ranks[name], methods[name], **own[name]).system for name, part in states.items()}

    replacements = _low_rank_layers(model, {name: ranks[name] for name in matrices})
    changes = {name: {"state_size": ranks[name], **own_poles(part)} for name, part in states.items()}
    reduced = clone(model, changes, replacements=replacements)
    for name, system in systems.items():
        layer_at(reduced, name).set_system(system)
    for name, part in matrices.items():
        path, matrix_name = _layer_and_matrix(name)
        layer_at(reduced, path).set_matrices(**{matrix_name: part.truncate(ranks[name])})
    if chosen is not None:
        reduced.method_choice = chosen
    return reduced


def _methods_by_part(method: str | Mapping[str, str], parts: Mapping[str, Part]) -> dict[str, str]:
    """The method for each part.

    Raises:
        ValueError: a name of no part, or of no method.
    """
    if not isinstance(method, Mapping):
        return dict.fromkeys(parts, method)
    if unknown := [name for name in method if name not in parts]:
        raise ValueError(f"reduce got methods for {', '.join(map(str, unknown))}; the parts are {', '.join(parts)}.")
    methods = {name: method.get(name, "balanced") for name in parts}
    return {name: choice(each, f"reduce got for part {name!r} the method ", METHODS) for name, each in methods.items()}


def _low_rank_layers(model: keras.Model, ranks: Ranks) -> dict[str, keras.layers.Layer]:
    """Layers in the place of others, by path, from the ranks of matrices."""
    by_layer: dict[str, Ranks] = {}
    for name, rank in ranks.items():
        path, matrix_name = _layer_and_matrix(name)
        by_layer.setdefault(path, {})[matrix_name] = rank
    layers = layers_by_path(model)
    return {path: low_rank_layer(layers[path], layer_ranks) for path, layer_ranks in by_layer.items()}


def _layer_and_matrix(name: str) -> tuple[str, str]:
    layer_name, _, matrix_name = name.rpartition("/")
    return layer_name, matrix_name
