"""The arithmetic of sigmoid and tanh on int16, at every value."""

import numpy as np
import pytest
from operator_files import operator_model, run_operator

from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.sigmoid import INPUT_SCALES, OUTPUT_SCALE, check_scales, sigmoid_int16, tanh_int16
from keras_s4.tflite.program.tensors import Tensor

EVERY = np.arange(-(2**15), 2**15).astype(np.int16)[None]


@pytest.mark.parametrize("scale", INPUT_SCALES)
@pytest.mark.parametrize(
    ("operator", "function", "real"),
    [("LOGISTIC", sigmoid_int16, lambda x: 1 / (1 + np.exp(-x))), ("TANH", tanh_int16, np.tanh)],
    ids=["sigmoid", "tanh"],
)
def test_every_value_is_that_of_tflm_and_near_the_function(operator, function, real, scale):
    result = function(EVERY, scale)
    ends = (EVERY.shape, "int16", Quantization((scale,)), None), (EVERY.shape, "int16", Quantization((OUTPUT_SCALE,)))
    np.testing.assert_array_equal(run_operator(operator_model(operator, [ends[0]], ends[1]), EVERY), result)
    assert np.abs(result - np.minimum(real(EVERY * scale) / OUTPUT_SCALE, 2**15 - 1)).max() < 1.5
    assert np.all(np.diff(result[0]) >= 0)


def test_scales_with_which_the_kernels_do_something_else_are_refused():
    input, output = Tensor("x", (3,), "int16", 2.0**-10), Tensor("y", (3,), "int16", 2.0**-15)
    with pytest.raises(ValueError, match=r"from 'x' of scale 0.0009765625 .*; expected 2\*\*-12 or 2\*\*-11"):
        check_scales(input, output)
