"""How far the outputs of changed copies of a model are from its own, on data: what reductions are chosen by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_s4.surgery.layer_inputs import BATCH_SIZE, check_data
from keras_s4.surgery.padding import mask_at, may_mask
from keras_s4.surgery.paths import layers_by_path

_TINY = np.finfo(float).tiny


class OutputError:
    """The relative error of a model's outputs, measured against those that the model has now.

    The root of the sum of squares of all differences, relative to that of the outputs; of several outputs the root mean
    square of theirs. Steps that the model masks do not count. States that a layer carries begin anew.

    Args:
        model: a built model; its outputs of now are what later ones are compared with.
        data: inputs of the model, numpy. A model of a fixed batch size reads whole batches.

    Raises:
        TypeError, ValueError: data that the model does not take.
    """

    def __init__(self, model: keras.Model, data: Any):
        check_data(model, data)
        self._data = data
        self._fixed = model.inputs[0].shape[0]
        self._masks = _masks_of(model, self._batches) if may_mask(model) else None
        self._outputs = self._outputs_of(model)

    def __call__(self, model: keras.Model) -> float:
        """The relative error of a model's outputs; infinite where they are no finite numbers."""
        pairs = zip(self._outputs_of(model), self._outputs, strict=True)
        with np.errstate(invalid="ignore", over="ignore"):
            squares = [float(np.sum((a - b) ** 2) / max(np.sum(b**2), _TINY)) for a, b in pairs]
        return math.sqrt(sum(squares) / len(squares)) if all(map(math.isfinite, squares)) else math.inf

    def _outputs_of(self, model: keras.Model) -> list[np.ndarray]:
        for layer in layers_by_path(model).values():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()
        batches = [keras.tree.flatten(model.predict_on_batch(batch)) for batch in self._batches]
        outputs = [np.concatenate(parts).astype(np.float64) for parts in zip(*batches, strict=True)]
        if self._masks is None:
            return outputs
        return [values if mask is None else values[mask] for values, mask in zip(outputs, self._masks, strict=True)]

    @property
    def _batches(self) -> Iterator[Any]:
        size, count = self._fixed or BATCH_SIZE, len(keras.tree.flatten(self._data)[0])
        for start in range(0, count - count % self._fixed if self._fixed else count, size):
            yield keras.tree.map_structure(
                lambda array, start=start: np.asarray(array)[start : start + size], self._data
            )


def _masks_of(model: keras.Model, batches: Iterator[Any]) -> list[np.ndarray | None]:
    """Of each output the steps that count, bool `[B, L]`; None where all do."""
    found = []
    for batch in batches:
        outputs = keras.tree.flatten(model(keras.tree.map_structure(keras.ops.convert_to_tensor, batch)))
        masks = [mask_at(tensor) if len(tensor.shape) > 2 else None for tensor in outputs]
        masks = [mask if mask is not None and len(mask.shape) == 2 else None for mask in masks]
        found.append([None if mask is None else keras.ops.convert_to_numpy(mask).astype(bool) for mask in masks])
    return [
        None if any(part is None for part in parts) else np.concatenate(parts) for parts in zip(*found, strict=True)
    ]
