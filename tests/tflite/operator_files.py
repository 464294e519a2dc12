"""Files of one operator, and what TensorFlow Lite Micro computes of them."""

import numpy as np
from tflite_micro import runtime

from keras_s4.tflite.flatbuffer.writer import ModelWriter


def operator_model(name: str, inputs: list[tuple], output: tuple, **options) -> bytes:
    """A file of one operator; tensors are `(shape, type, quantization or None, data or None)`, constants have data."""
    writer = ModelWriter()
    indices = [writer.tensor(*tensor) for tensor in inputs]
    end = writer.tensor(*output)
    writer.operator(name, indices, end, **options)
    return writer.finish([index for index, tensor in zip(indices, inputs, strict=True) if tensor[3] is None], [end])


def run_operator(model: bytes, *inputs: np.ndarray) -> np.ndarray:
    """The output of a file of one operator on TensorFlow Lite Micro."""
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 20)
    for index, array in enumerate(inputs):
        interpreter.set_input(array, index)
    interpreter.invoke()
    return interpreter.get_output(0)
