"""Units of a model's inputs and outputs, found on the training data."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keras_s4.checks import check_model, quote
from keras_s4.layers import LastStep, Standardization
from keras_s4.recordings import Recordings
from keras_s4.samples import real_array
from keras_s4.surgery.graph import is_graph
from keras_s4.surgery.paths import layers_by_path

# Outputs have one scale on a device. Of a quantity that is smaller than another by so much, few integers are left.
LIKE = 64.0


def normalize_to(
    model: keras.Model,
    data: Any,
    targets: Any = None,
    robust: bool = False,
    mask_value: float | None = None,
) -> keras.Model:
    """Brings the features of a model's input to mean 0 and deviation 1 as they are in the training data.

    It adapts the `keras_s4.layers.Standardization` of models that were made with `normalization=True`, once, before
    training. Whatever is done to the model later keeps it, and `convert` folds it into the scales of the input: a
    device is given raw sensor values. Outputs of quantities, and of forecasts, get the units of their targets alike.

    Args:
        model: that was made with `normalization=True`.
        data: the training recordings (`keras_s4.recordings.Recordings`), or windows `[W, L, F]`.
        targets: quantities `[W, T]` for regressors, or `[W, L, T]`; of recordings their labels by default, and of
            forecasters the data.
        robust: by median and quartiles, which outliers do not move; see `Standardization.adapt`.
        mask_value: of padded steps in windows, which do not count, nor do targets of theirs.

    Returns:
        The model.

    Raises:
        TypeError: no model.
        ValueError: a model without a Standardization; NaN or infinite numbers; targets that are missing.
    """
    check_model(model, data, "normalize_to")
    inputs, outputs = _layers_of(model)
    if not inputs:
        raise ValueError(
            f"normalize_to got model {model.name!r}, whose input no layer normalises; make it with normalization=True, "
            "or put keras_s4.layers.Standardization() first."
        )
    samples = _samples(data)
    counted = np.ones(samples.shape[:-1], bool) if mask_value is None else np.any(samples != mask_value, axis=-1)
    for layer in inputs:
        layer.adapt(samples[counted], robust)
    for layer in outputs:
        layer.adapt(_targets(targets, data, samples, counted, layer, model), robust)
        _warn_of_unlike(layer)
    return model


def warn_of_unadapted(model: keras.Model) -> None:
    """Warns of layers that are to normalise a model's input and change nothing yet."""
    inputs, _ = _layers_of(model)
    if any(layer.built and not layer.is_adapted for layer in inputs):
        warnings.warn(
            f"Model {model.name!r} has a normalization that was not adapted to training data, so that it does nothing: "
            "keras_s4.training.normalize_to(model, x) before it is compiled.",
            stacklevel=4,
        )


def _layers_of(model: keras.Model) -> tuple[list[Standardization], list[Standardization]]:
    """Those that take units away, and those that give them."""
    layers = layers_by_path(model).values() if is_graph(model) else ()
    found = [layer for layer in layers if isinstance(layer, Standardization)]
    return [layer for layer in found if not layer.invert], [layer for layer in found if layer.invert]


def units_of_outputs(model: keras.Model) -> np.ndarray | float:
    """What counts as an error of 1 in each output: the deviations of the targets it was adapted to, else 1."""
    _, outputs = _layers_of(model)
    return keras.ops.convert_to_numpy(outputs[0].deviation) if len(outputs) == 1 else 1.0


def _samples(data: Any) -> np.ndarray:
    """All steps, `[N, F]` of recordings and `[W, L, F]` of windows."""
    if isinstance(data, Recordings):
        return np.concatenate(data.signals)
    array = real_array(data, "normalize_to got data")
    if array.ndim < 2:
        raise ValueError(f"normalize_to got data of shape {array.shape}; expected windows [W, L, features].")
    return array


def _targets(
    targets: Any, data: Any, samples: np.ndarray, counted: np.ndarray, layer: Standardization, model: keras.Model
) -> np.ndarray:
    """What a layer that gives units to a model's outputs is adapted to, `[N, T]`; `counted` are the real steps."""
    count, rank = layer.mean.shape[0], len(model.outputs[0].shape)
    if targets is None and isinstance(data, Recordings) and (rank == 2 or _measures_steps(data)):
        targets = np.concatenate(data.labels) if data.has_step_labels else data.labels
    elif targets is None and rank > 2 and samples.shape[-1] == count:
        return samples[counted]  # forecasts are in the units of the series
    if targets is None:
        raise ValueError(
            f"normalize_to got no targets, and a model whose outputs have units (layer {layer.name!r}); expected the "
            f"{count} quantities of each window, [W, {count}]."
        )
    array = real_array(targets, "normalize_to got targets")
    if array.size % count or (array.ndim > 1 and array.shape[-1] != count and count > 1):
        raise ValueError(
            f"normalize_to got targets of shape {array.shape}, such as {quote(array.ravel()[:1].tolist())}; expected "
            f"[W, {count}]."
        )
    # A forecast begins behind the last step that counts, so that all of it does.
    of_steps = counted.ndim == 1 or (rank > 2 and not any(isinstance(each, LastStep) for each in model.layers))
    if of_steps and not counted.all():
        array = _without_padding(array, counted, count)
    return array.reshape(-1, count)


def _without_padding(targets: np.ndarray, counted: np.ndarray, count: int) -> np.ndarray:
    """Targets of all steps without those of padded ones; those that have no axis of steps do not know of padding."""
    if targets.shape[: counted.ndim] == counted.shape:
        return targets[counted]
    if targets.ndim > 2:
        raise ValueError(
            f"normalize_to got targets of shape {targets.shape} for steps {counted.shape}, some of which are padding; "
            f"expected targets of as many steps, or of those that count alone, [N, {count}]."
        )
    return targets


def _measures_steps(data: Recordings) -> bool:
    return data.has_step_labels and np.asarray(data.labels[0]).dtype.kind == "f"


def _warn_of_unlike(layer: Standardization) -> None:
    reach = np.abs(keras.ops.convert_to_numpy(layer.mean)) + keras.ops.convert_to_numpy(layer.deviation)
    deviation = keras.ops.convert_to_numpy(layer.deviation)
    if reach.max() > LIKE * deviation.min():
        warnings.warn(
            f"The outputs reach {reach.max():.3g}, and one of them moves by {deviation.min():.3g} only: all have one "
            "scale on a device, where little of that will be left. Measure them in units in which they are alike, and "
            "from where they mostly are.",
            stacklevel=3,
        )
