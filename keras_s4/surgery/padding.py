"""Padded sequences: which of their steps are real, as the model's own layers say.

Keras passes masks beside the tensors, from layers that make them (Masking, Embedding) to those that heed them. A stream
on a device has no padding: real samples come, and then it ends. So a padded sequence is run to its own length, as if it
had its real steps alone; `padding_proof` finds out whether a model treats it so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_s4.samples import as_list
from keras_s4.surgery.calls import calls_of, tensors_in
from keras_s4.surgery.graph import walk

Tensor = Any

BATCH_SIZE = 256
# Steps of a sequence on which it is tried whether a model of open length makes a mask.
TRIAL_LENGTH = 4


class Padding:
    """The mask that a model makes of its inputs.

    Args:
        model: a model that makes a mask; see `padding_of`.

    Attributes:
        model: the model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._arguments = _mask_arguments(model)
        layers = list(layers_within(model))
        # Concatenate takes a step for real if one of its inputs does, and an input without a mask always does.
        joined = any(isinstance(layer, keras.layers.Concatenate) for layer in layers)
        self._several = joined or sum(map(_makes_mask, layers)) > 1

    def mask(self, inputs: list[Tensor]) -> Tensor | None:
        """The mask, bool `[B, L]`, False at padded steps, by the layers' own computation; None if they make none.

        Args:
            inputs: the inputs of the model, `[B, L, ...]`; tensors of a graph under construction as well.
        """
        if self._arguments is None:
            return _first_mask(self.model, inputs)
        return as_list(self._arguments(inputs))[0]

    def mask_of(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """`mask` of arrays, `[B, L, ...]` for each input of the model.

        Raises:
            ValueError: layers are called with different masks, or the mask is not one of the inputs' steps.
        """
        masks = [self._check_mask(as_tensors(self.model, part)) for part in _batches(arrays, BATCH_SIZE)]
        return np.concatenate(masks)

    def real_steps(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Which steps of sequences are real, bool `[B, L]`.

        Args:
            arrays: an array for each input of the model, `[B, L, ...]`.

        Raises:
            ValueError: sequences that are padding throughout, layers that are called with different masks, or a mask
                of other steps than the inputs have.
        """
        mask = self.mask_of(arrays)
        empty = np.flatnonzero(~mask.any(axis=1))
        if empty.size:
            raise ValueError(
                f"Model {self.model.name!r} masks all steps of {empty.size} of {len(mask)} sequences, the first of "
                f"them number {empty[0]}; leave out sequences without a real step."
            )
        return mask

    def _check_mask(self, inputs: list[Tensor]) -> np.ndarray:
        mask = keras.ops.convert_to_numpy(self.mask(inputs)).astype(bool)
        steps = inputs[0].shape[1]
        if mask.shape[1] != steps:
            raise ValueError(
                f"Model {self.model.name!r} makes its mask behind layers that change the number of steps: it has "
                f"{mask.shape[1]} steps, the inputs have {steps}. In a stream a sample is there or not: put the layer "
                "that makes the mask (Masking, Embedding with mask_zero=True) first, or leave it out."
            )
        others = [] if self._arguments is None else as_list(self._arguments(inputs))
        if self._several:
            others += _masks_of_layers(self.model, inputs)
        for other in map(keras.ops.convert_to_numpy, others):
            if other.shape == mask.shape and np.any(other.astype(bool) != mask):
                sequence, step = np.argwhere(other.astype(bool) != mask)[0]
                raise ValueError(
                    f"Model {self.model.name!r} calls layers with masks that differ, first at step {step} of sequence "
                    f"{sequence} of a batch. In a stream a step is there or not, for all layers: pad all inputs alike, "
                    "and let one layer, Masking or Embedding(mask_zero=True), make the mask of all others."
                )
        return mask


def padding_of(model: keras.Model) -> Padding | None:
    """The padding of a model; None for a model that makes no mask.

    Args:
        model: a built model, functional or sequential.
    """
    if not may_mask(model):
        return None
    padding = Padding(model)
    sizes = [
        [1 if tensor.shape[0] is None else tensor.shape[0], tensor.shape[1] or TRIAL_LENGTH, *tensor.shape[2:]]
        for tensor in model.inputs
    ]
    return None if padding.mask(as_tensors(model, [np.zeros(size) for size in sizes])) is None else padding


def places_of_real_steps(real: Tensor) -> Tensor:
    """In tensors, `[B, L]`: where the real steps of each sequence are, in order, and behind them where the others are.

    Args:
        real: bool `[B, L]`.
    """
    length = ops.shape(real)[1]
    steps = ops.arange(length, dtype="int32")[None]
    return ops.argsort(ops.where(real, steps, steps + length), axis=1)


def take_steps(sequences: Tensor, places: Tensor) -> Tensor:
    """In tensors, `[B, T, ...]`: steps of sequences `[B, L, ...]` at places `[B, T]`."""
    places = ops.reshape(places, (*ops.shape(places), *(1 for _ in sequences.shape[2:])))
    shape = (*ops.shape(places)[:2], *sequences.shape[2:])
    return ops.take_along_axis(sequences, ops.broadcast_to(places, shape), axis=1)


def layers_within(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, those of nested models and inside wrappers as well."""
    for layer in model.layers:
        yield layer
        wrapped = getattr(layer, "layer", None)
        for inner in (layer, wrapped):
            if isinstance(inner, keras.Model):
                yield from layers_within(inner)
        if isinstance(wrapped, keras.layers.Layer):
            yield wrapped


def call_layers(model: keras.Model, inputs: list[Tensor], watch=lambda layer, inputs, outputs: None) -> list[Tensor]:
    """The outputs of a model from its layers one by one, those of nested models as well; sequences of any length.

    Args:
        model: a built model, functional or sequential.
        inputs: tensors `[B, L, ...]`.
        watch: is shown each layer that is no model or block, its inputs and its outputs.
    """

    def call(path: str, layer: keras.layers.Layer, values: list[Tensor]):
        outputs = layer(values if len(values) > 1 else values[0])
        watch(layer, values, outputs)
        return outputs

    return walk(model, call, inputs)


def mask_at(tensor: Tensor) -> Tensor | None:
    """The mask that Keras passes beside a tensor that a layer gave."""
    return _READER(tensor)


class _MaskReader(keras.layers.Layer):
    """Gives the mask that it is called with."""

    def __init__(self):
        super().__init__(name="mask_reader", autocast=False)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        return mask

    def compute_mask(self, inputs, mask=None):
        return None


_READER = _MaskReader()


class _MaskFoundError(Exception):
    """Ends a walk through a model."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.mask = mask


def _masks_of_layers(model: keras.Model, inputs: list[Tensor]) -> list[Tensor]:
    found = []

    def watch(layer, values, outputs):
        found.extend(mask for mask in map(mask_at, as_list(outputs)) if mask is not None)

    call_layers(model, inputs, watch)
    return found


def _first_mask(model: keras.Model, inputs: list[Tensor]) -> Tensor | None:
    def watch(layer, values, outputs):
        for output in as_list(outputs):
            mask = mask_at(output)
            if mask is not None and len(mask.shape) == 2:
                raise _MaskFoundError(mask)

    try:
        call_layers(model, inputs, watch)
    except _MaskFoundError as found:
        return found.mask
    return None


def may_mask(model: keras.Model) -> bool:
    """Whether a model has something that can make a mask; a subclassed one too."""
    return _mask_arguments(model) is not None or any(map(_makes_mask, layers_within(model)))


def _makes_mask(layer: keras.layers.Layer) -> bool:
    """Whether a layer makes a mask, and does not only pass one on; a layer of one's own may."""
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    own = type(layer).compute_mask is not keras.layers.Layer.compute_mask
    return own and type(layer).__module__.split(".")[0] not in ("keras", "keras_s4")


def _mask_arguments(model: keras.Model) -> keras.Model | None:
    """From a functional model's inputs to the masks that its graph names as arguments of calls; None without any."""
    if not model.built or isinstance(model, keras.Sequential) or not hasattr(model, "operations"):
        return None
    calls = calls_of(model).calls
    makers = {id(tensor): call.operation for call in calls for tensor in call.outputs}
    masks = [makers.get(id(tensor)) for call in calls for tensor in tensors_in(call.arguments.get("mask"))]
    found = {operation.name: operation.output for operation in masks if operation is not None}
    return keras.Model(model.inputs, list(found.values())) if found else None


def as_tensors(model: keras.Model, arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """Arrays in the types of a model's inputs."""
    return [ops.convert_to_tensor(array, source.dtype) for array, source in zip(arrays, model.inputs, strict=True)]


def _batches(arrays: Sequence[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]
