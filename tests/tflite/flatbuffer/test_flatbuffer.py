"""The `.tflite` files: what is in them, how small they are, and that damaged ones are refused."""

import dataclasses

import numpy as np
import pytest
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4.testing.programs import SINGLE, Builder, model, single
from keras_s4.tflite.flatbuffer import check_tflite, read_summary, to_tflite
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS, TENSOR_TYPES
from keras_s4.tflite.flatbuffer.writer import DESCRIPTION, ModelWriter, Quantization, checksum
from keras_s4.tflite.program.operations import Add, Lookup
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

PROGRAMS = [*SINGLE, "model"]


def program_of(name: str) -> Program:
    return model(blocks=2) if name == "model" else single(name)


@pytest.mark.parametrize("name", PROGRAMS)
class TestEveryFile:
    def test_is_the_same_each_time(self, name):
        assert to_tflite(program_of(name)) == to_tflite(program_of(name))

    def test_has_only_operators_of_the_table_and_no_float(self, name):
        summary = read_summary(to_tflite(program_of(name)))
        assert set(summary.operators) <= set(OPERATORS)
        assert not summary.float_tensors
        assert set(summary.registrations) == {OPERATORS[operator].registration for operator in summary.operators}

    def test_has_the_ends_of_the_program_in_order(self, name):
        program = program_of(name)
        summary = read_summary(to_tflite(program))
        befores, afters = ([getattr(state, end) for state in program.states] for end in ("before", "after"))
        for ends, indices in [
            ((*program.inputs, *befores), summary.inputs),
            ((*program.outputs, *afters), summary.outputs),
        ]:
            assert len(ends) == len(indices)
            for tensor, index in zip(ends, indices, strict=True):
                assert summary.tensors[index].type == tensor.type
                assert np.prod(summary.tensors[index].shape) == np.prod(tensor.shape)
                if tensor.type != "int32" and tensor not in (*befores, *afters):
                    assert summary.tensors[index].scales == pytest.approx((tensor.scale,))
                    assert summary.tensors[index].zero_points == (tensor.zero_point,)

    def test_has_states_that_are_equal_at_both_ends_and_carry_no_scale(self, name):
        program = program_of(name)
        summary = read_summary(to_tflite(program))
        assert len(summary.states) == len(program.states)
        for before, after in summary.states:
            assert (before.type, before.shape, before.scales) == (after.type, after.shape, after.scales)
            assert before.type in ("int8", "int16", "int32")
            assert before.scales == before.zero_points == ()

    def test_reads_the_same_with_the_generated_schema(self, name):
        data = to_tflite(program_of(name))
        theirs = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        ours = read_summary(data)
        (graph,) = theirs.subgraphs
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        codes = [theirs.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
        assert [names[code] for code in codes] == list(ours.operators)
        for tensor, mine in zip(graph.tensors, ours.tensors, strict=True):
            assert tuple(tensor.shape) == mine.shape
            assert tensor.type == getattr(schema.TensorType, mine.type.upper())
            constant = theirs.buffers[tensor.buffer].data
            assert (0 if constant is None else len(constant)) == mine.constant_bytes
        for operator, inputs, outputs in zip(graph.operators, ours.operator_inputs, ours.operator_outputs, strict=True):
            assert (tuple(operator.inputs), tuple(operator.outputs)) == (inputs, outputs)
        assert theirs.buffers[0].data is None

    def test_has_constants_at_multiples_of_16_bytes(self, name):
        """Kernels read them in place."""
        root = schema.Model.GetRootAsModel(to_tflite(program_of(name)), 0)
        tables = [root.Buffers(index)._tab for index in range(root.BuffersLength())]
        assert all(table.Vector(table.Offset(4)) % 16 == 0 for table in tables if table.Offset(4))


class TestSize:
    def test_of_two_blocks_of_32_channels_and_8_states(self):
        data = to_tflite(model(features=6, channels=32, modes=8, blocks=2, classes=7))
        assert len(data) <= 28 * 1024
        assert len(read_summary(data).operators) <= 85

    def test_equal_constants_are_stored_once(self):
        b = Builder(0)
        x = b.activation(4, "int8", 0.1)
        table = b.constant(np.arange(256) - 128, "int8")
        first = b.add(Lookup(x, table, b.activation(4, "int8", 0.1)))
        one = len(to_tflite(b.program(x, first)))
        twin = b.constant(table.data.copy(), "int8")
        second = b.add(Lookup(first, twin, b.activation(4, "int8", 0.1)))
        assert len(to_tflite(b.program(x, second))) < one + 256

    def test_identities_vanish(self):
        b = Builder(0)
        x = b.activation(4, "int16", 0.25)
        same = b.requantize(x, "int16", 0.25)
        total = b.add(Add(same, x, 1, 1, 0.25, b.activation(4, "int16", 0.5)))
        assert read_summary(to_tflite(b.program(x, total))).operators == ("CAST", "ADD", "QUANTIZE")

    def test_an_input_that_is_also_an_output_is_copied(self):
        b = Builder(0)
        x = b.activation(4, "int16", 0.25)
        summary = read_summary(to_tflite(b.program(x, x, b.requantize(x, "int16", 0.25))))
        assert len({*summary.inputs, *summary.outputs}) == 3


class TestRefusals:
    def test_int32_is_never_rounded_to_int32(self):
        b = Builder(0)
        x = b.activation(4, "int16", 0.25)
        with pytest.raises(ValueError, match="no operator rounds int32 to int32"):
            to_tflite(b.program(x, b.requantize(x, "int32", 0.3)))

    def test_inconsistent_programs(self):
        program = model()
        with pytest.raises(ValueError, match="No operation"):
            to_tflite(dataclasses.replace(program, outputs=(Tensor("elsewhere", (1,), "int8"),)))


@pytest.fixture(scope="module")
def data():
    return to_tflite(single("diagonal_step"))


class TestDamage:
    """No damage gets past the check, and none makes it fail in another way than by ValueError."""

    def test_truncated(self, data):
        for length in [*range(0, 64), *range(64, len(data), 41), len(data) - 1]:
            with pytest.raises(ValueError, match="damaged"):
                check_tflite(data[:length])

    def test_one_flipped_bit(self, data):
        for position in range(0, len(data), 3):
            flipped = bytearray(data)
            flipped[position] ^= 1 << position % 8
            with pytest.raises(ValueError, match="damaged"):
                check_tflite(bytes(flipped))

    @pytest.mark.parametrize("other", [b"", b"TFL3", b"\x00" * 4 + b"TFL3", bytes(range(256))])
    def test_other_files(self, other):
        with pytest.raises(ValueError, match="damaged"):
            check_tflite(other)

    def test_structure_is_checked_even_where_the_checksum_is_right(self, data):
        """Files of another writer, or malicious ones: whatever the bytes, either a summary or a ValueError."""
        random = np.random.default_rng(0)
        start = data.index(DESCRIPTION.encode()) + len(DESCRIPTION)
        refused = 0
        for _ in range(1500):
            altered = bytearray(data)
            for position in random.integers(0, len(data), 3):
                altered[position] = random.integers(0, 256)
            altered[start : start + 8] = checksum(bytes(altered), start).encode()
            try:
                check_tflite(bytes(altered))
            except ValueError:
                refused += 1
        assert refused > 100

    def test_a_state_with_two_shapes(self):
        writer = ModelWriter()
        x = writer.tensor((1, 4), "int8", Quantization((0.5,)))
        state, wide = (writer.tensor((1, 4), "int32") for _ in range(2))
        after = writer.tensor((1, 1, 1, 4), "int32")
        writer.operator("CAST", [x], wide, input_type=TENSOR_TYPES["int8"], output_type=TENSOR_TYPES["int32"])
        writer.operator("ADD", [state, wide], after)
        with pytest.raises(ValueError, match="starts a step as"):
            check_tflite(writer.finish([x, state], [after]))
