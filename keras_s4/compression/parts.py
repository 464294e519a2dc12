"""What can be made smaller in a model: the states of its DSS layers, and its weight matrices."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import keras
import numpy as np

from keras_s4.checks import check_model, quote
from keras_s4.compression.layer_states import MODE_RAM_BYTES
from keras_s4.compression.matrices import MatrixPart, matrix_layers, matrix_parts
from keras_s4.compression.part import Cost, Part
from keras_s4.compression.shared_states import SharedStatesPart
from keras_s4.compression.states import MODE_FLASH_BYTES, MODE_MULTIPLY_ACCUMULATES, StatesPart
from keras_s4.layers import DSS
from keras_s4.surgery.cloning import state_space_layers
from keras_s4.surgery.graph import is_graph
from keras_s4.surgery.layer_inputs import CrossSpectrum, PowerSpectrum, measure, moment_of
from keras_s4.surgery.paths import Layers, layers_by_path

__all__ = [
    "KINDS",
    "MODE_FLASH_BYTES",
    "MODE_MULTIPLY_ACCUMULATES",
    "MODE_RAM_BYTES",
    "Cost",
    "MatrixPart",
    "Part",
    "SharedStatesPart",
    "StatesPart",
    "other_flash_bytes",
    "parts_of",
]

KINDS = (StatesPart.kind, MatrixPart.kind)


def parts_of(model: keras.Model, kinds: Collection[str] | None = None, data: Any = None) -> dict[str, Part]:
    """The parts of a trained model by name, in the order of its layers.

    States: those of each DSS and each DiagonalSSM layer. Matrices: the kernels of Dense, Conv1D, GRU, LSTM and
    SimpleRNN layers, of cells of these kinds, and of layers of low rank, whose ranks can be lowered further. Matrices
    of which no rank saves anything are left out. Layers count also inside of nested models, blocks, TimeDistributed,
    Bidirectional and RNN; the part is then called as `layers_by_path` calls its layer: "outer/inner/kernel".
    `list_kept_weights` has what is no part.

    Args:
        model: a built model.
        kinds: "states", "matrix", or a collection of them. By default the states, or in a model without any the
            matrices.
        data: inputs of the model, such as `[B, L, features]`. The spectra then say what the parts do to what they
            receive from this data: states of DSS layers are weighted by the power of their inputs at each frequency,
            those of DiagonalSSM layers by their cross spectra as well, matrices by the second moments of theirs.

    Raises:
        TypeError: no model.
        ValueError: an unknown kind; the model has no such part, is not built, is a subclassed one, or holds NaN; data
            that the model does not take.
    """
    check_model(model, data, "parts_of")
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built yet; train it, or call it on data once.")
    if not is_graph(model):
        raise ValueError(
            f"Model {model.name!r} is a {type(model).__name__} written by subclassing, whose layers nothing can take "
            "the place of; build it with the functional API (keras.Input, layers, keras.Model)."
        )
    states, matrices = state_space_layers(model), matrix_layers(model)
    kinds = (KINDS[:1] if states else KINDS[1:]) if kinds is None else _check_kinds(kinds)
    states = states if StatesPart.kind in kinds else {}
    matrices = matrices if MatrixPart.kind in kinds else {}
    spectra, moments = ({}, {}) if data is None else _measure_inputs(model, states, matrices, data)

    parts: dict[str, Part] = {}
    for name, layer in states.items():
        meter = spectra.get(name)
        power = None if meter is None else meter.of(layer)
        length = _length(model, layer) if meter is None else meter.length
        if isinstance(layer, DSS):
            parts[name] = StatesPart(name, layer.system(), length, power)
        else:
            parts[name] = SharedStatesPart(name, layer.system(), length, power, layer.feedthrough_type)
    for name, layer in matrices.items():
        parts |= matrix_parts(name, layer, moments.get(name))
    if not parts:
        raise ValueError(_nothing_to_reduce(model, kinds))
    order = list(layers_by_path(model))
    return dict(sorted(parts.items(), key=lambda item: order.index(layer_path(*item))))


def layer_path(name: str, part: Part) -> str:
    """The path of the layer that a part is in."""
    return name if part.kind == StatesPart.kind else name.rpartition("/")[0]


def other_flash_bytes(model: keras.Model) -> int:
    """Bytes of the weights outside the states in the integer program: a byte a matrix entry, four any other number."""
    inside = {id(weight) for layer in state_space_layers(model).values() for weight in layer.weights}
    return sum(flash_bytes(weight) for weight in model.weights if id(weight) not in inside)


def _measure_inputs(model: keras.Model, states: Layers, matrices: Layers, data: Any) -> tuple[dict, dict]:
    """Meters of the spectra of the inputs of state space layers, and moments of those of matrices, by layer name."""
    spectra = {name: (PowerSpectrum if isinstance(layer, DSS) else CrossSpectrum)() for name, layer in states.items()}
    moments = {name: moment_of(layer) for name, layer in matrices.items()}
    measure(model, {**spectra, **moments}, data)
    return spectra, {name: moment.values for name, moment in moments.items()}


def is_matrix(weight: keras.Variable) -> bool:
    """Whether the integer program multiplies by a weight, and so keeps a byte for each of its numbers."""
    return len(weight.shape) > 1 and weight.name != "bias"


def flash_bytes(weight: keras.Variable) -> int:
    """What a weight outside of the states takes in the integer program."""
    return int(np.prod(weight.shape)) * (1 if is_matrix(weight) else 4)


def _check_kinds(kinds: Collection[str]) -> tuple[str, ...]:
    given = (kinds,) if isinstance(kinds, str) or not isinstance(kinds, Iterable) else tuple(kinds)
    if not given or not all(isinstance(kind, str) and kind in KINDS for kind in given):
        raise ValueError(f"parts_of got kinds={quote(given)}; expected some of {', '.join(map(repr, KINDS))}.")
    return given


def _length(model: keras.Model, layer: keras.layers.Layer) -> int | None:
    """Steps of the sequences that a layer gets, fewer behind strides; None if they vary."""
    if any(len(tensor.shape) > 1 and tensor.shape[1] is None for tensor in model.inputs):
        return None
    config = layer.get_build_config() or {}
    shape = config.get("input_shape") or config.get("shapes_dict", {}).get("inputs_shape") or (None, None)
    return shape[1]


def _nothing_to_reduce(model: keras.Model, kinds: tuple[str, ...]) -> str:
    missing = {
        "states": "no DSS or DiagonalSSM layer",
        "matrix": "no Dense, Conv1D, GRU, LSTM or SimpleRNN layer with a matrix that a lower rank makes smaller",
    }
    layers = ", ".join(sorted({type(layer).__name__ for layer in layers_by_path(model).values()})) or "none"
    return (
        f"Model {model.name!r} has {' and '.join(missing[kind] for kind in kinds)}, so nothing can be reduced; its "
        f"layers are {layers}."
    )
