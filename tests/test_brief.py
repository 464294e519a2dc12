import dataclasses

import numpy as np
import pytest

from keras_s4.brief import Brief, brief
from keras_s4.reduction import balanced_truncation
from keras_s4.systems import DiagonalSystem
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.operations import Requantize
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.zeros((3, 4)), "float64[3, 4]"),
        (np.float32(0.5), "np.float32(0.5)"),
        (b"1234", "4 bytes"),
        ((1, 2), "(1, 2)"),
        ([np.zeros(2)] * 9, "[float64[2], float64[2], float64[2], float64[2], ... 9 in all]"),
        ({"a": np.zeros(2), "b": 1}, "{'a': float64[2], 'b': 1}"),
        ("x" * 200, "'" + "x" * 79 + "..."),
        (None, "None"),
    ],
)
def test_values_in_a_few_words(value, expected):
    assert brief(value) == expected


def test_a_dataclass_shows_its_fields():
    @dataclasses.dataclass(repr=False)
    class Pair(Brief):
        name: str
        values: np.ndarray
        others: tuple = ()

    inner = Pair("inner", np.zeros(5))
    assert repr(Pair("outer", np.zeros(7), (inner,))).endswith(
        "Pair(name='outer', values=float64[7], others=(Pair('inner')))"
    )


def test_systems_reductions_programs_and_traces_are_a_few_lines():
    random = np.random.default_rng(0)
    poles = 0.9 * np.exp(1j * random.uniform(0, 3, (64, 32)))
    system = DiagonalSystem(poles, random.normal(size=(64, 32)) + 0j, np.zeros(64))
    assert repr(system) == (
        "DiagonalSystem(poles=complex128[64, 32], residues=complex128[64, 32], feedthrough=float64[64])"
    )
    assert len(repr(balanced_truncation(system, 4))) < 500
    assert "scale=float64[300], zero_point=0, data=int8[300]" in repr(
        Tensor("weights", (300,), "int8", np.full(300, 0.5), data=np.zeros(300, np.int8))
    )
    x = Tensor("x", (300,), "int16")
    y = Tensor("y", (300,), "int8")
    program = Program("many", (x,), (y,), (), (Requantize(x, y),) * 100)
    assert "operations=(Requantize, Requantize, Requantize, Requantize, ... 100 in all)" in repr(program)
    one = dataclasses.replace(program, operations=(Requantize(x, y),))
    trace = Emulator(one).trace(np.zeros((4, 50, 300), np.int16), record=None)
    assert "outputs=(int8[4, 50, 300])" in repr(trace)
