"""One model that takes on any ranks by its weights alone, for the many evaluations of a search."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.compression.layer_states import options_of
from keras_s4.compression.matrices import owner_of
from keras_s4.compression.part import Part, Ranks
from keras_s4.compression.parts import layer_path
from keras_s4.compression.states import own_poles
from keras_s4.modal_system import ModalSystem
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.paths import layer_at
from keras_s4.systems import DiagonalSystem


class PaddedModel:
    """A copy of a model in its full size, whose parts are filled with what is left of them at lower ranks.

    A reduced matrix is written out in full, a reduced system padded with modes that contribute nothing. The outputs are
    those of the model that `keras_s4.reduce` builds, to rounding, but the graph is always the same: it is traced, and
    compiled, once for all ranks. It is as slow and as large as the model itself.

    Args:
        model: a built model, functional or sequential; it is not changed.
        parts: parts of the model, by name.
        method: the method that reduces states, a key of `keras_s4.reduction.METHODS`, or "auto" for that with the least
            error of each layer.
        options: options of the method.
    """

    def __init__(self, model: keras.Model, parts: Mapping[str, Part], method: str = "balanced", **options: Any):
        self._parts = parts
        self._method, self._options = method, options
        self._model = clone(model, {name: changes for name, part in parts.items() if (changes := own_poles(part))})
        self._parts_by_layer: dict[str, list[str]] = {}
        for name, part in parts.items():
            self._parts_by_layer.setdefault(layer_path(name, part), []).append(name)
        self._sources = {layer: layer_at(model, layer) for layer in self._parts_by_layer}
        # A search comes back to the same ranks again and again, and reducing states takes longer than evaluating them.
        self._system = functools.cache(self._reduced_system)
        self._held: dict[str, tuple[int, str]] = {}
        self.at({name: part.max_rank for name, part in parts.items()})

    def at(self, ranks: Ranks, methods: Mapping[str, str] | None = None) -> keras.Model:
        """The model with all parts at these ranks: always the same object, with other weights after each call.

        Args:
            ranks: of all parts.
            methods: of reducing states, by part, where they are others than that of the model.
        """
        wanted = {name: (ranks[name], (methods or {}).get(name, self._method)) for name in self._parts}
        for layer, names in self._parts_by_layer.items():
            if any(self._held.get(name) != wanted[name] for name in names):
                self._fill(layer, {name: wanted[name] for name in names})
        self._held = wanted
        return self._model

    def _fill(self, layer_name: str, wanted: Mapping[str, tuple[int, str]]) -> None:
        layer = layer_at(self._model, layer_name)
        for source, target in zip(self._sources[layer_name].weights, layer.weights, strict=True):
            # Poles that the channels of the model share become those of each channel.
            target.assign(np.broadcast_to(keras.ops.convert_to_numpy(source), target.shape))
        for name, (rank, method) in wanted.items():
            part = self._parts[name]
            if rank == part.max_rank:
                continue
            if part.kind == "states":
                layer.set_system(self._system(name, rank, method))
            else:
                _set_matrix(layer, name.rpartition("/")[2], part.truncate(rank))

    def _reduced_system(self, name: str, rank: int, method: str) -> DiagonalSystem | ModalSystem:
        part = self._parts[name]
        options = self._options if method == self._method else options_of(method, self._options)
        return part.truncate(rank, method, **options).system.padded(part.max_rank)


def _set_matrix(layer: keras.layers.Layer, name: str, matrix: np.ndarray) -> None:
    if hasattr(layer, "set_matrices"):
        layer.set_matrices(**{name: matrix})
        return
    weight = getattr(owner_of(layer), name)
    # The kernel of a convolution has its window and its channels apart.
    weight.assign(matrix.reshape(weight.shape))
