"""Operations carry their own facts, and each of them stands in every reader, under the same family."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from keras_s4.testing.programs import SINGLE, single
from keras_s4.tflite.analysis import real_arithmetic
from keras_s4.tflite.c99.registry import TRANSLATORS
from keras_s4.tflite.emulator.arithmetic import KERNELS
from keras_s4.tflite.flatbuffer.expansion import EXPANSIONS
from keras_s4.tflite.program import operations
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.operations.operation import internal, read, written
from keras_s4.tflite.program.tensors import Tensor

GUIDE = Path(__file__).parents[3] / "tflite" / "README.md"
OPERATIONS = [getattr(operations, name) for name in operations.__all__ if name != "Operation"]
PROGRAMS = {name: single(name) for name in SINGLE}


def family(definition) -> str:
    return inspect.getmodule(definition).__name__.rpartition(".")[2]


def define(**fields) -> type[Operation]:
    """An operation with these fields: each a pair of its annotation and what it says of itself."""
    body = {"__annotations__": {name: annotation for name, (annotation, _) in fields.items()}}
    body |= {name: use for name, (_, use) in fields.items() if use is not None}
    return dataclasses.dataclass(frozen=True, eq=False)(type("Defined", (Operation,), body))


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: kind.__name__)
class TestEveryOperation:
    def test_stands_in_every_reader_under_its_family(self, kind):
        found = {family(KERNELS[kind]), family(EXPANSIONS[kind]), family(TRANSLATORS[kind].translate)}
        assert found == {family(kind)}

    def test_has_real_arithmetic(self, kind):
        assert kind in real_arithmetic.RUNS

    def test_has_a_random_program(self, kind):
        assert any(type(operation) is kind for program in PROGRAMS.values() for operation in program.operations)


class TestFacts:
    @pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
    def test_every_tensor_is_read_or_written_and_all_that_is_rounded_is_written(self, program):
        for operation in program.operations:
            reads, writes = operation.reads(), operation.writes()
            assert set(map(id, operation.tensors())) == set(map(id, [*reads, *writes]))
            assert {id(each) for each in reads}.isdisjoint(map(id, writes))
            assert {id(each) for each in [*operation.rounds(), *operation.internals()]} <= set(map(id, writes))
            assert operation.result in writes
            assert operation.result not in operation.internals()

    @pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
    def test_internal_tensors_are_read_by_nobody(self, program):
        internals = {tensor.name for operation in program.operations for tensor in operation.internals()}
        ends = [*program.outputs, *(state.after for state in program.states)]
        assert internals.isdisjoint(tensor.name for operation in program.operations for tensor in operation.reads())
        assert internals.isdisjoint(tensor.name for tensor in ends)

    def test_other_tensors_take_the_place_of_all_but_constants(self):
        (operation,) = PROGRAMS["fully_connected_int8"].operations
        other = operation.with_tensors(lambda tensor: dataclasses.replace(tensor, name=f"{tensor.name}'"))
        assert other.input.name == f"{operation.input.name}'"
        assert other.output.name == f"{operation.output.name}'"
        assert other.weights is operation.weights
        assert other.bias is operation.bias

    def test_multiply_accumulates_by_hand(self):
        macs = {name: [op.multiply_accumulates() for op in PROGRAMS[name].operations] for name in SINGLE}
        size = PROGRAMS["fully_connected_int8"].inputs[0].shape[0]
        assert macs["fully_connected_int8"] == [5 * size]
        assert macs["affine_int8"] == [size, size]
        modes, channels = PROGRAMS["diagonal_step"].operations[0].decay.shape
        assert macs["diagonal_step"] == [8 * modes * channels + channels]
        assert macs["modal_step"] == [channels * 6, 6 * 3, 10 * channels, 6 * 5, 10 * 4]
        rows, size = PROGRAMS["normalize"].operations[-1].output.shape
        assert macs["normalize"][-1] == 2 * rows * size + rows * 1
        assert macs["concatenate"][0] == 0


class TestDefinition:
    def test_fields_with_tensors_say_what_becomes_of_them(self):
        kind = define(input=("Tensor", read()), part=("Tensor", internal()), output=("Tensor", written(rounded=True)))
        x, part, y = (Tensor(name, (1,), "int8") for name in "xpy")
        operation = kind(x, part, y)
        assert operation.reads() == [x]
        assert operation.writes() == [part, y]
        assert operation.internals() == [part]
        assert operation.rounds() == [y]

    @pytest.mark.parametrize("annotation", ["Tensor", "Tensor | None", "tuple[Tensor, ...]", Tensor])
    def test_a_field_that_says_nothing_is_refused(self, annotation):
        with pytest.raises(TypeError, match=r"Field 'output' of operation Defined is .*Tensor.*read\(\), written\(\)"):
            define(input=("Tensor", read()), output=(annotation, None))

    def test_a_number_that_is_written_is_refused(self):
        with pytest.raises(TypeError, match="Field 'start' of operation Defined is int"):
            define(input=("Tensor", read()), start=("int", written()), output=("Tensor", written()))

    def test_a_tensor_where_a_number_belongs_is_refused(self):
        x, y = (Tensor(name, (3,), "int8") for name in "xy")
        with pytest.raises(TypeError, match=r"Slice received Tensor.* as 'start'.* in the order input, start, output"):
            operations.Slice(x, y, 1)
        with pytest.raises(TypeError, match="Slice received 1 as 'output', whose tensors are written"):
            operations.Slice(x, 0, 1)

    def test_a_field_more_in_a_class_of_its_own(self):
        @dataclasses.dataclass(frozen=True, eq=False)
        class Weighed(operations.Accumulate):
            weight: Tensor = read()

        x, before, after, weight = (Tensor(name, (3,), "int32") for name in "xbaw")
        assert Weighed(x, before, after, 2**30, weight).reads() == [x, before, weight]

    def test_a_state_without_holds_state_is_refused(self):
        with pytest.raises(TypeError, match="Defined has holds_state=False"):
            define(state=("Tensor", read()), next_state=("Tensor", written()))

    def test_an_operation_that_holds_a_state_has_both_ends_of_it(self):
        with pytest.raises(TypeError, match="Half has holds_state=True"):

            class Half(Operation):
                state: Tensor = read()
                output: Tensor = written()

                holds_state = True


def test_the_guides_operation_is_equal_in_all_readers():
    chapter = GUIDE.read_text().partition("## Add an operation")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    assert example.count("assert_array_equal") == 3
    exec(compile(example, str(GUIDE), "exec"), {"__name__": "example"})
