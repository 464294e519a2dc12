"""What of a model is no part, and so stays as it is at all ranks: why, and what it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_s4.compression.matrices import LOW_RANK, can_be_factored
from keras_s4.compression.part import Part
from keras_s4.compression.parts import KINDS, flash_bytes, is_matrix, layer_path, parts_of
from keras_s4.layers.quantized import QuantizedLayer
from keras_s4.surgery.cloning import state_space_layers
from keras_s4.surgery.graph import is_graph
from keras_s4.surgery.paths import layers_by_path, sublayers

VECTORS = "biases, gains and other vectors"
_CONVOLUTIONS = (
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


@dataclasses.dataclass(frozen=True)
class Kept:
    """Something that no rank changes.

    Attributes:
        name: the name of a weight, behind the path of its layer: "separable/pointwise_kernel"; of states the path of
            their layer; of all that is no matrix together `VECTORS`.
        reason: why it is no part.
        flash: bytes of constants in the integer program.
    """

    name: str
    reason: str
    flash: int

    def figures(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"name": self.name, "reason": self.reason, "bytes": self.flash}


def list_kept_weights(model: keras.Model, parts: Mapping[str, Part]) -> tuple[Kept, ...]:
    """All constants of a model outside of parts, in the order of its layers; the vectors come last.

    Args:
        model: a built model.
        parts: some of those that `parts_of` gives for the model.
    """
    known = _all_parts(model)
    kept = [
        Kept(name, "its states are not among the parts asked for", part.cost(part.max_rank).flash)
        for name, part in known.items()
        if part.kind == "states" and name not in parts
    ]
    counted = {id(weight) for layer in state_space_layers(model).values() for weight in layer.weights}
    in_parts = [(layer_path(name, part), name) for name, part in known.items() if part.kind == "matrix"]
    vectors = 0
    for path, layer in _owners(model):
        names = {name for owner, name in in_parts if owner == path}
        for weight in layer.weights:
            if id(weight) in counted:
                continue
            counted.add(id(weight))
            name = f"{path}/{_inside(layer, weight)}".removeprefix("/")
            part_name = f"{path}/{weight.name.removesuffix('_left').removesuffix('_right')}"
            if not is_matrix(weight):
                vectors += flash_bytes(weight)
            elif part_name not in names:
                kept.append(Kept(name, _reason(layer), flash_bytes(weight)))
            elif part_name not in parts:
                kept.append(Kept(name, "it is not among the parts asked for", flash_bytes(weight)))
    order = {path: index for index, path in enumerate(layers_by_path(model))}
    kept.sort(key=lambda item: order.get(item.name, order.get(item.name.rpartition("/")[0], -1)))
    return (*kept, Kept(VECTORS, "they have no rank", vectors)) if vectors else tuple(kept)


def group_by_reason(kept: tuple[Kept, ...]) -> Iterator[tuple[str, list[Kept]]]:
    """What is kept by its reasons."""
    for reason in dict.fromkeys(item.reason for item in kept):
        yield reason, [item for item in kept if item.reason == reason]


def _inside(layer: keras.layers.Layer, weight: keras.Variable) -> str:
    """The name of a weight, or where several of the layer share it, its path: `query/kernel` of an attention."""
    if [each.name for each in layer.weights].count(weight.name) == 1:
        return weight.name
    inside = f"/{weight.path}".rpartition(f"/{layer.name}/")[2]
    return inside if inside.endswith(weight.name) else weight.name


def _all_parts(model: keras.Model) -> dict[str, Part]:
    try:
        return parts_of(model, KINDS)
    except ValueError:  # there are none
        return {}


def _owners(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers that have weights and are not looked into, and last the model, for weights of its own."""
    for path, layer in layers_by_path(model).items():
        if not sublayers(layer):
            yield path, layer
    yield "", model


def _reason(layer: keras.layers.Layer) -> str:
    kind = type(layer).__name__
    if isinstance(layer, QuantizedLayer):
        return f"{kind} is trained on the device's grids; reduce before quantize_aware"
    if can_be_factored(layer):
        return "no rank of it takes less than the matrix"
    if isinstance(layer, keras.layers.Embedding):
        return "a table is looked up row by row, and no product"
    if isinstance(layer, _CONVOLUTIONS):
        return "there are no depthwise or separable convolutions of low rank"
    if isinstance(layer, keras.Model) and not is_graph(layer):
        return f"{kind} is written by subclassing, so that nothing says how its weights are used"
    if type(layer) in LOW_RANK:
        changed = "has groups" if getattr(layer, "groups", 1) > 1 else "has quantised or LoRA weights"
        return f"a {kind} that {changed} has no counterpart of low rank"
    if type(layer).__module__.split(".")[0] != "keras":
        return f"{kind} is a class of its own, so that nothing says how its weights are used"
    return f"{kind} has no counterpart of low rank"
