"""Division by the root of a sum of squares."""

from __future__ import annotations

import math

from keras_s4.tflite.c99.expressions import (
    Expression,
    address_of,
    index_of,
    mantissa_and_shift,
    multiply,
    saturate,
    scale_by,
)
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import Normalize


@translates(Normalize, does="divided by the root of the sum of squares")
def translate_normalize(operation: Normalize, source: Translation) -> None:
    x, output = operation.input, operation.output
    rows, size = math.prod(x.shape[:-1]), x.shape[-1]
    layer = _constants(operation, source)
    source.kernels.add("normalize")
    multiplier = fixed_point.rescale_multiplier(x.scale * operation.root_scale, output.scale)
    with source.loop("row", rows) as row:
        features = address_of(source.pointer(x), (row, size))
        source.line(f"const int32_t root = s4_reciprocal_root({layer}, {features});")
        with source.loop("i", size) as i:
            index = index_of((row, size), (i, 1))
            # A value of 16 bits times a root of 17.
            product = multiply(source.element(x, index), Expression("root"))
            source.assign(output, index, saturate(scale_by(product, multiplier, 2**31), output))


def _constants(operation: Normalize, source: Translation) -> str:
    x = operation.input
    coarse, fine = (
        mantissa_and_shift(fixed_point.product_multiplier(x.scale, x.scale, energy.scale))
        for energy in (operation.coarse, operation.fine)
    )
    level = fixed_point.rescale_multiplier(1.0, operation.level.scale)
    root = mantissa_and_shift(fixed_point.product_multiplier(1.0, 1.0, operation.root.scale))
    return source.constants.struct(
        "s4_normalize",
        operation.output.name,
        coarse_gain=source.pointer(operation.coarse_gain),
        fine_gain=source.pointer(operation.fine_gain),
        table=source.pointer(operation.table),
        weights=source.pointer(operation.weights),
        bias=int(operation.bias.data[0]),
        size=f"{x.shape[-1]}U",
        ranges=f"{operation.weights.data.size}U",
        coarse_mantissa=coarse[0],
        coarse_shift=f"{coarse[1]}U",
        fine_mantissa=fine[0],
        fine_shift=f"{fine[1]}U",
        level_mantissa=int(level.mantissa),
        level_shift=int(level.shift),
        level_zero_point=operation.level.zero_point,
        root_mantissa=root[0],
        root_shift=f"{root[1]}U",
    )
