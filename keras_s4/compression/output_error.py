"""How far the outputs of changed copies of a model are from its own, on data: what reductions are chosen by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_s4.scoring.outputs import last_activations, outputs_by_name
from keras_s4.surgery.layer_inputs import BATCH_SIZE, check_data
from keras_s4.surgery.padding import mask_at, may_mask
from keras_s4.surgery.paths import layers_by_path

_TINY = np.finfo(float).tiny
# Of a float32: below, a probability, or what it lacks to 1, is 0.
_SMALLEST_PROBABILITY, _SMALLEST_REST = 1e-38, 2.0**-24


class OutputError:
    """The relative error of a model's outputs, measured against those that the model has now.

    The root of the sum of squares of all differences, relative to that of the outputs; of several outputs the root mean
    square of theirs. Probabilities count as what a softmax or sigmoid has made them of: where these saturate, as on
    sequences that the model was trained on, the outputs hardly tell one reduction from another. What all classes have
    in common in front of a softmax does not count, nor do steps that the model masks. States that a layer carries begin
    anew.

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
        self._activations = last_activations(model)
        self._masks = self._masks_of(model) if may_mask(model) else dict.fromkeys(self._activations)
        self._outputs = self._outputs_of(model)

    def __call__(self, model: keras.Model) -> float:
        """The relative error of a model's outputs; infinite where they are no finite numbers."""
        found, squares = self._outputs_of(model), []
        with np.errstate(invalid="ignore", over="ignore"):
            for name, expected in self._outputs.items():
                squares.append(float(np.sum((found[name] - expected) ** 2) / max(np.sum(expected**2), _TINY)))
        return math.sqrt(sum(squares) / len(squares)) if all(map(math.isfinite, squares)) else math.inf

    def _outputs_of(self, model: keras.Model) -> dict[str, np.ndarray]:
        for layer in layers_by_path(model).values():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()
        names = list(self._activations)
        batches = [outputs_by_name(model.predict_on_batch(batch), names) for batch in self._batches]
        outputs = {name: np.concatenate([batch[name] for batch in batches]).astype(np.float64) for name in names}
        return {
            name: before_activation(values if self._masks[name] is None else values[self._masks[name]], activation)
            for (name, activation), values in zip(self._activations.items(), outputs.values(), strict=True)
        }

    def _masks_of(self, model: keras.Model) -> dict[str, np.ndarray | None]:
        """Of each output the steps that count, bool `[B, L]`; None where all do."""
        found: dict[str, list] = {name: [] for name in self._activations}
        for batch in self._batches:
            outputs = outputs_by_name(model(keras.tree.map_structure(keras.ops.convert_to_tensor, batch)), list(found))
            for name, tensor in outputs.items():
                mask = mask_at(tensor) if len(tensor.shape) > 2 else None
                usable = mask is not None and len(mask.shape) == 2
                found[name].append(keras.ops.convert_to_numpy(mask).astype(bool) if usable else None)
        return {
            name: None if any(part is None for part in parts) else np.concatenate(parts)
            for name, parts in found.items()
        }

    @property
    def _batches(self) -> Iterator[Any]:
        size, count = self._fixed or BATCH_SIZE, len(keras.tree.flatten(self._data)[0])
        for start in range(0, count - count % self._fixed if self._fixed else count, size):
            part = slice(start, start + size)
            yield keras.tree.map_structure(lambda array, part=part: np.asarray(array)[part], self._data)


def before_activation(outputs: np.ndarray, activation: str | None) -> np.ndarray:
    """What a softmax, up to what all classes have in common, or a sigmoid made outputs of; others as they are."""
    if activation not in ("softmax", "sigmoid"):
        return outputs
    with np.errstate(invalid="ignore"):
        logs = np.log(np.maximum(outputs, _SMALLEST_PROBABILITY))
        if activation == "softmax":
            return logs - logs.mean(axis=-1, keepdims=True)
        return logs - np.log(np.maximum(1.0 - outputs, _SMALLEST_REST))
