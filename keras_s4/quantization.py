"""A trained model becomes one that is trained on the exporter's grids."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.cloning import clone
from keras_s4.layers.quantized.grids import check_quantizers
from keras_s4.layers.quantized.twins import TWINS, QuantizedLayer
from keras_s4.paths import layers_by_path


def quantize_aware(model: keras.Model, data: np.ndarray, length: int | None = None) -> keras.Model:
    """Return a copy of a trained model whose forward pass rounds as the exported program does; then `fit` it.

    The model is converted once for its ranges (`keras_s4.tflite.convert` with the same data). In the copy every layer
    with 8-bit values is replaced by its twin from `keras_s4.layers.quantized`: kernels and activations are rounded by
    tensorflow-model-optimization's quantizers, poles lie on the device's grid, gradients pass as if nothing were
    rounded. `convert` knows the twins and keeps their ranges. Train with a small learning rate, some hundredths of the
    first training's.

    Args:
        model: built, functional or sequential, of layers that can be exported. A compiled model gives a compiled one
            with a fresh optimizer.
        data: `[B, L, features]`, as for `convert`.
        length: as for `convert`.

    Raises:
        NotImplementedError: a layer cannot be exported.
        ValueError: what `convert` refuses, or the model has been through this before.
        ImportError: tensorflow-model-optimization is not installed.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Source: Jacob et al. 2018 (arXiv 1712.05877) for training with simulated quantisation.
    """
    from keras_s4.tflite import convert

    check_model(model, data, "quantize_aware")
    check_quantizers()
    if any(isinstance(layer, QuantizedLayer) for layer in layers_by_path(model).values()):
        raise ValueError(f"Model {model.name!r} is quantisation-aware already; train it with fit.")
    program = convert(model, data, length).program
    ranges = {
        tensor.name: (float(tensor.scale), tensor.zero_point)
        for tensor in program.tensors()
        if tensor.type == "int8" and tensor.data is None
    }
    twins = {path: twin for path, layer in layers_by_path(model).items() if (twin := _twin(path, layer, ranges))}
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


def _twin(path: str, layer: keras.layers.Layer, ranges: dict[str, tuple[float, int]]) -> keras.layers.Layer | None:
    """The layer that computes as the exported one does, or None where nothing is 8-bit."""
    prefix = f"{path}/"
    own = {name.removeprefix(prefix): value for name, value in ranges.items() if name.startswith(prefix)}
    if type(layer) not in TWINS:
        return None
    config = {name: value for name, value in layer.get_config().items() if name not in ("lora_rank", "lora_alpha")}
    return TWINS[type(layer)].from_config({**config, "ranges": own})
