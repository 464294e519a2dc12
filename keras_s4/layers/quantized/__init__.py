"""Twins of layers that compute, in floating point, on the grids that the exporter uses: quantisation-aware training.

`keras_s4.quantize_aware` puts them into a trained model.
"""

from keras_s4.layers.quantized.grids import Grid, KernelGrid
from keras_s4.layers.quantized.twins import (
    QuantizedActivation,
    QuantizedDense,
    QuantizedLayer,
    QuantizedLowRankDense,
    SnappedDiagonalSSM,
    SnappedDSS,
)

__all__ = [
    "Grid",
    "KernelGrid",
    "QuantizedActivation",
    "QuantizedDense",
    "QuantizedLayer",
    "QuantizedLowRankDense",
    "SnappedDSS",
    "SnappedDiagonalSSM",
]
