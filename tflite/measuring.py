"""What a model takes on a device, from an actual conversion: the measure of searches over ranks."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.tflite.conversion import convert


def measure(model: keras.Model, representative_data: np.ndarray, length: int | None = None) -> dict[str, int]:
    """Converts a model and says what it takes.

    `functools.partial(keras_s4.tflite.measure, representative_data=x)` is a measure for `keras_s4.compression.search`.

    Args:
        model: as for `convert`.
        representative_data: `[B, L, features]`. The numbers hardly depend on its values, so a few windows do.
        length: as for `convert`.

    Returns:
        `tflite_bytes` (the file), `arena_bytes` (the least working memory, measured on this computer; a 32-bit
        microcontroller needs less; left out where TensorFlow Lite Micro is not installed), `multiply_accumulates` (per
        step), `operators` (in the file).

    Raises:
        NotImplementedError: a layer that cannot be exported.
        ValueError: what `convert` refuses.
    """
    check_model(model, representative_data, "measure")
    manifest = convert(model, representative_data, length).manifest
    arena = {} if manifest["arena_bytes"] is None else {"arena_bytes": manifest["arena_bytes"]}
    return {
        "tflite_bytes": manifest["tflite_bytes"],
        **arena,
        "multiply_accumulates": manifest["multiply_accumulates_per_step"],
        "operators": manifest["operators"],
    }
