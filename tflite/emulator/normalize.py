"""Division by the root of the sum of squares."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import Normalize
from keras_s4.tflite.program.operations.normalize import ROOT_OFFSET
from keras_s4.tflite.program.tensors import Tensor


@compiles(Normalize)
def compile_normalize(operation: Normalize, arithmetic: Arithmetic) -> Run:
    input, level, root, output = operation.input, operation.level, operation.root, operation.output
    coarse_gain, fine_gain = arithmetic.wide(operation.coarse_gain.data), arithmetic.wide(operation.fine_gain.data)
    to_level = arithmetic.rescaler(1.0, level)
    root_multiplier = fixed_point.product_multiplier(1.0, 1.0, root.scale)
    to_output = arithmetic.rescaler(input.scale * operation.root_scale, output)
    offsets = 256 * np.arange(level.shape[-1]) + 128
    weights, bias = operation.weights.data[0].astype(np.int64), operation.bias.data.astype(np.int64)

    def measure_energy(tensor: Tensor, energy: np.ndarray) -> np.ndarray:
        multiplier = fixed_point.product_multiplier(input.scale, input.scale, tensor.scale)
        if arithmetic.check_overflow:
            arithmetic.guard(energy * multiplier.real, f"{tensor.name} (before saturation)")
        return fixed_point.requantize_reduced(energy, multiplier, tensor.type)

    def run(values: Values):
        q = values[input.name]
        energy = (q.astype(np.int64) ** 2).sum(axis=-1, keepdims=True)
        coarse, fine = measure_energy(operation.coarse, energy), measure_energy(operation.fine, energy)
        levels = to_level(arithmetic.wide(coarse) * coarse_gain + arithmetic.wide(fine) * fine_gain)
        parts = operation.table.data[levels + offsets]
        sums = (parts * weights).sum(axis=-1, keepdims=True) + bias
        roots = fixed_point.requantize_reduced(sums, root_multiplier, root.type)
        product = arithmetic.wide(q) * (arithmetic.wide(roots) + arithmetic.accumulator(ROOT_OFFSET))
        computed = (operation.coarse, coarse), (operation.fine, fine), (level, levels), (operation.part, parts)
        values.update({tensor.name: array for tensor, array in (*computed, (root, roots))})
        values[output.name] = to_output(arithmetic.guard(product, f"{output.name} (product)"))

    return run
