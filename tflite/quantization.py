"""A trained model becomes one that is trained on the exporter's grids."""

from __future__ import annotations

import warnings
from typing import TypeVar

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.layers.low_rank import LowRankDense
from keras_s4.layers.quantized.grids import check_quantizers
from keras_s4.layers.quantized.twins import QuantizedLayer, twin_of
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.graph import Graph, graph_of
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite.conversion import convert
from keras_s4.tflite.lowering.builder import Weights
from keras_s4.tflite.lowering.calibration import check_representative_inputs
from keras_s4.tflite.lowering.representative import gather
from keras_s4.tflite.lowering.rounding import REACHES
from keras_s4.tflite.program import nibbles

# A product of raw features whose weights are rounded must swing by so many times the error: 10 dB.
LEAST_RATIO = 3.0
Value = TypeVar("Value")


def quantize_aware(
    model: keras.Model, data: np.ndarray, length: int | None = None, weights: Weights | None = None
) -> keras.Model:
    """Return a copy of a trained model whose forward pass rounds as the exported program does; then `fit` it.

    The model is converted once for its ranges (`keras_s4.tflite.convert` with the same data). In the copy every layer
    with 8-bit values is replaced by its twin from `keras_s4.layers.quantized`: kernels and activations are rounded by
    tensorflow-model-optimization's quantizers, poles lie on the device's grid, gradients pass as if nothing were
    rounded. `convert` knows the twins and keeps their ranges, and their weights of 4 bits. Train with a small learning
    rate, some hundredths of the first training's.

    Args:
        model: a built model, functional or sequential, of layers that can be exported. A compiled model gives a
            compiled one with a fresh optimizer.
        data: `[B, L, features]`, as for `convert`.
        length: steps of a window, as for `convert`.
        weights: "int8", or "int4" of all products that can have them, or by layer, as for `convert`.

    Raises:
        NotImplementedError: a layer cannot be exported.
        ValueError: what `convert` refuses, no dense layer has the 4-bit weights that are asked for, the model has been
            through this before, or raw features of different units go into a Dense or LowRankDense layer, whose twin
            rounds all weights at one scale.
        ImportError: tensorflow-model-optimization is not installed.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Source: Jacob et al. 2018 (arXiv 1712.05877) for training with simulated quantisation.
    """
    check_model(model, data, "quantize_aware")
    check_quantizers()
    graph = graph_of(model)
    if any(isinstance(layer, QuantizedLayer) for layer in layers_by_path(model).values()):
        raise ValueError(f"Model {model.name!r} is quantisation-aware already; train it with fit.")
    data, taken = gather(model, data, "quantize_aware")
    if taken:
        warnings.warn(taken, stacklevel=2)
    _check_raw_features(model, graph, list(check_representative_inputs(model, data).values()))
    program = convert(model, data, length, weights=weights).program
    ranges = {
        tensor.name: (float(tensor.scale), tensor.zero_point)
        for tensor in program.tensors()
        if tensor.type == "int8" and tensor.data is None
    }
    packed = {tensor.name: float(tensor.scale) for tensor in program.tensors() if tensor.type == "int4"}
    twins = {
        path: twin
        for path, layer in layers_by_path(model).items()
        if (twin := twin_of(layer, _points_of(path, ranges), _kernels_of(layer, _points_of(path, packed))))
    }
    if packed and not any(twin.kernels for twin in twins.values()):
        raise ValueError(
            f"Received weights={weights!r}, but of the layers that would have 4-bit weights none is trained on its "
            "grids: those are Dense, LowRankDense and what S4Block mixes with. Leave weights out."
        )
    aware = clone(model, {}, replacements=twins)
    _merge_lora(model, aware)
    return aware


def _merge_lora(model: keras.Model, aware: keras.Model) -> None:
    """Kernels of twins are sums of what LoRA keeps apart; they are trained as a whole."""
    twins = layers_by_path(aware)
    for path, layer in layers_by_path(model).items():
        if getattr(layer, "lora_enabled", False) and not twins[path].lora_enabled:
            twins[path].kernel.assign(layer.kernel)
            twins[path].kernel.trainable = layer.trainable


def _check_raw_features(model: keras.Model, graph: Graph, arrays: list[np.ndarray]) -> None:
    """Refuse models whose twins would lose features of an input, since their weights differ by the features' units.

    Raises:
        ValueError: see `quantize_aware`.
    """
    for key, array in zip(graph.inputs, arrays, strict=True):
        for layer in graph.readers(key):
            if not isinstance(layer, (keras.layers.Dense, LowRankDense)):
                continue
            kernel = layer.kernel_left if isinstance(layer, LowRankDense) else layer.kernel
            kernel = keras.ops.convert_to_numpy(kernel).astype(np.float64)
            unit = max(np.abs(kernel).max() / 127.0, 1e-30)
            values = array.reshape(-1, array.shape[-1])
            swing = np.sqrt(np.mean((values @ kernel).var(axis=0)))
            lost = np.sqrt(np.mean((values @ (np.rint(kernel / unit) * unit - kernel)) ** 2))
            if lost * LEAST_RATIO > swing:
                raise ValueError(
                    f"quantize_aware received model {model.name!r}, whose layer {layer.name!r} reads features of "
                    f"different units, or far from zero: all its weights rounded at one scale, as in training, its "
                    f"result would be off by {lost / max(swing, 1e-30):.2g} times its swing. Put a Normalization, "
                    "adapted to the training data, in front of it and train again; or leave quantize_aware out: "
                    "convert gives each feature a scale of its own."
                )


def _points_of(path: str, values: dict[str, Value]) -> dict[str, Value]:
    """What is known of a layer's tensors, by the ends of their names."""
    prefix = f"{path}/"
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _kernels_of(layer: keras.layers.Layer, scales: dict[str, float]) -> dict[str, tuple[int, float]]:
    """The integers of a dense layer's kernels of 4 bits: the largest, and the part of the kernel that they reach to."""
    found = {}
    for point, scale in scales.items() if isinstance(layer, (keras.layers.Dense, LowRankDense)) else ():
        name = "kernel"
        if isinstance(layer, LowRankDense):
            name = "kernel_left" if point == "left/kernel" else "kernel_right"
        weights = getattr(layer, name)
        peak = np.abs(keras.ops.convert_to_numpy(weights).astype(np.float64)).max()
        reach = nibbles.LARGEST * scale / max(peak, 1e-30)
        found[point] = nibbles.LARGEST, min(REACHES, key=lambda known, reach=reach: abs(known - reach))
    return found
