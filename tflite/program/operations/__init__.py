"""The operations of an integer program, each with its exact arithmetic, in which `q` stands for stored integers.

`requantize(q, multiplier)` is TensorFlow Lite's: multiplication by a real multiplier, stored as a 31-bit mantissa and a
power of two, rounded twice, then clamped to the range of the output's type. `requantize_reduced(q, multiplier)` has a
15-bit mantissa and rounds once: kernels that multiply int16 by int8 do so. Both are in `fixed_point.py`, with the
functions that give the multiplier of each operation: scales are rounded to float32 first.

One module for each family; an operation's kernel, expansion and translation stand in the modules of the same name of
`emulator`, `flatbuffer` and `c99`.
"""

from keras_s4.tflite.program.operations.averages import RecentMean, SlidingSum
from keras_s4.tflite.program.operations.dense import FullyConnected
from keras_s4.tflite.program.operations.elementwise import (
    Add,
    Affine,
    Lookup,
    Maximum,
    Minimum,
    Multiply,
    Requantize,
    Squash,
)
from keras_s4.tflite.program.operations.interpolate import Interpolate
from keras_s4.tflite.program.operations.normalize import Normalize
from keras_s4.tflite.program.operations.operation import Operation
from keras_s4.tflite.program.operations.shapes import Concatenate, Embed, Reshape, Slice
from keras_s4.tflite.program.operations.states import Accumulate, DiagonalStep, ModalStep
from keras_s4.tflite.program.operations.windows import DepthwiseProduct, Window, WindowMaximum

__all__ = [
    "Accumulate",
    "Add",
    "Affine",
    "Concatenate",
    "DepthwiseProduct",
    "DiagonalStep",
    "Embed",
    "FullyConnected",
    "Interpolate",
    "Lookup",
    "Maximum",
    "Minimum",
    "ModalStep",
    "Multiply",
    "Normalize",
    "Operation",
    "RecentMean",
    "Requantize",
    "Reshape",
    "Slice",
    "SlidingSum",
    "Squash",
    "Window",
    "WindowMaximum",
]
