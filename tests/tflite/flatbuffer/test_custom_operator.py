"""The custom operator for S4 blocks: its files, and its C++ against a stand-in for TensorFlow Lite Micro."""

import dataclasses
import functools
import os
import subprocess
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
import tflm_stand_in
from block_harness import KERNELS, OBJECTS, Node, build, node_of, run
from cpp_compiler import COMPILER, FLAGS, needs_compiler
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4 import layers
from keras_s4.testing import programs
from keras_s4.testing.file_mutations import change_number
from keras_s4.tflite import convert
from keras_s4.tflite.application.custom import reorder_states
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import check_tflite, custom_operator, read_summary, to_tflite
from keras_s4.tflite.flatbuffer.custom_operator.checks import check_block
from keras_s4.tflite.flatbuffer.custom_operator.instructions import OFFSET_BITS, WORDS, Code, instructions_of
from keras_s4.tflite.flatbuffer.operators.operands import Operand
from keras_s4.tflite.flatbuffer.operators.table import CUSTOM_BLOCK
from keras_s4.tflite.flatbuffer.writer import DESCRIPTION, checksum
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.operations import Maximum, Minimum
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor


def layer(type: str, real_poles: bool, limit: int = 0, steps: int = 1, fine: int = 0) -> Program:
    """A program of one step of a DSS layer."""
    b = programs.Builder(3, lowered=True)
    x = b.activation(5, "int16", 2.0**-12, name="x")
    program = b.program(x, b.diagonal_step(x, 7, type, real_poles))
    (step,) = program.operations
    # The first modes of a channel may have decays of 16 bits, the others of 17.
    decay = np.array(step.decay.data)
    decay[4, 1] = decay[0, 2] = -(2**16)
    # As many bits finer are partial sums where modes cancel.
    partial = dataclasses.replace(step.partial, scale=step.partial.scale / 2**fine)
    decay = dataclasses.replace(step.decay, data=decay)
    step = dataclasses.replace(step, limit=limit, decay=decay, partial=partial)
    return in_blocks(dataclasses.replace(program, operations=(step,)), steps)


def block_of(program: Program) -> Program:
    """The program as one whose operations come from an S4 block."""
    known = {tensor.name: tensor for tensor in program.inputs}

    def inside(tensor: Tensor) -> Tensor:
        renamed = dataclasses.replace(tensor, name=f"block/{tensor.name}")
        return known.setdefault(tensor.name, renamed)

    return dataclasses.replace(
        program,
        operations=tuple(operation.with_tensors(inside) for operation in program.operations),
        states=tuple(State(inside(state.before), inside(state.after)) for state in program.states),
        outputs=tuple(map(inside, program.outputs)),
        layers={"block": "S4Block"},
    )


def narrow_block(steps: int = 1) -> Program:
    """A block as lowerings make it of int8 activations, whose product is wanted outside, too."""
    b = programs.Builder(5, lowered=True)
    x = b.activation(19, "int16", 2.0**-12, name="x")
    y = b.lookup(b.diagonal_step(b.affine(x, "int16"), 5, "int8"))
    value, gate = b.fully_connected(y, 19), b.lookup(b.fully_connected(y, 19), zero_point=-128)
    gated = b.multiply(value, gate)
    return in_blocks(block_of(b.program(x, b.sum(x, gated, 1, 3), gated)), steps)


def wide_block(steps: int = 1) -> Program:
    """A block of int16 activations, with everything that has an instruction."""
    b = programs.Builder(6, lowered=True)
    x = b.activation(7, "int16", 2.0**-12, name="x")
    y = b.interpolate(b.diagonal_step(b.affine(x, "int16"), 3, "int16"), 64)
    value, gate = b.fully_connected(y, 7), b.fully_connected(y, 3)
    wide = b.requantize(value, "int32", value.scale)
    relu = b.extremum(Minimum, b.extremum(Maximum, wide, b.constant([0], "int32")), wide)
    squashed = [b.squash(kind, b.requantize(value, "int16", 2.0**-12)) for kind in ("sigmoid", "tanh")]
    gated = b.multiply(*squashed)
    narrow = b.affine(value, "int8")
    outputs = b.sum(value, relu), b.sum(narrow, gated, 2, -1, "int8"), b.requantize(gated, "int16", 2.0**-14), gate
    return in_blocks(block_of(b.program(x, *outputs)), steps)


PROGRAMS = {
    "S4 block": narrow_block(),
    "S4 block of int16": wide_block(),
    "S4 block of steps": narrow_block(3),
    "S4 block of int16, of steps": wide_block(2),
    "int8": layer("int8", False),
    "int16": layer("int16", False),
    "real poles": layer("int8", True),
    "clamped": layer("int16", False, 2**30),
    "fed back": programs.single("diagonal_step_fed_back", lowered=True),
    "block": layer("int8", False, steps=3),
    "fine": layer("int16", False, fine=9),
}


@pytest.fixture(scope="module")
def harnesses(tmp_path_factory):
    """Runs one operator; compiled against trees of an age when it is first asked for."""
    return functools.cache(lambda namespace: build(tmp_path_factory.mktemp("operator"), namespace))


@pytest.fixture(params=[tflm_stand_in.OLDER, tflm_stand_in.RECENT], ids=["older", "recent"])
def harness(request, harnesses):
    return harnesses(request.param)


@pytest.fixture
def any_harness(harnesses):
    return harnesses(tflm_stand_in.OLDER)


@needs_compiler
@pytest.mark.parametrize("name", PROGRAMS)
def test_steps_are_those_of_the_emulator(harness, name):
    """From states of all 32-bit values."""
    program = PROGRAMS[name]
    (state,) = program.states
    random = np.random.default_rng(0)
    starts = random.integers(-(2**31), 2**31, (20, *state.before.shape), dtype=np.int32)
    starts[:4] = np.array([-(2**31), 2**31 - 1, 2**30, -(2**30) - 1])[:, None, None, None]
    inputs = programs.random_inputs(program, 20, 3)
    data = to_tflite(program, dss="custom")
    summary = read_summary(data)
    index = summary.operators.index("KERAS_S4_BLOCK")
    assert set(summary.operators) <= {"KERAS_S4_BLOCK", "RESHAPE"}
    names = [summary.tensors[output].name for output in summary.operator_outputs[index]]
    trace = Emulator(program).trace(inputs, record=names, states=[starts])
    after = trace.tensors[state.after.name]
    before = np.concatenate([starts[:, None], after[:, :-1]], axis=1)
    rows = zip(inputs.reshape(60, -1), in_c(before).reshape(60, -1), strict=True)
    done = run(harness, node_of(data).message(*(x.tobytes() + s.tobytes() for x, s in rows)))
    assert done.returncode == 0, done.stderr.decode()
    arrays = [in_c(after) if name == state.after.name else trace.tensors[name] for name in names]
    expected = zip(*(array.reshape(60, -1) for array in arrays), strict=True)
    assert done.stdout == b"".join(values.tobytes() for row in expected for values in row)


def in_c(states: np.ndarray) -> np.ndarray:
    """`[.., 2, N, H]` as `[.., H, N, 2]`."""
    return np.ascontiguousarray(np.swapaxes(states, -1, -3))


def changed(node: Node, place: str, index: int, value) -> Node:
    """A node with another number in its options, or with another tensor."""
    if place == "options":
        numbers = np.frombuffer(node.options, "<i4").copy()
        numbers[index] = value
        return dataclasses.replace(node, options=numbers.tobytes())
    tensors = list(getattr(node, place))
    tensors[index] = value
    return dataclasses.replace(node, **{place: tensors})


@needs_compiler
@pytest.mark.parametrize(
    ("place", "index", "value", "message"),
    [
        ("options", 0, 1, "options of another version"),
        ("options", 1, -1, "the number of ends"),
        ("options", 3, 16, "the number of ends"),
        ("options", 1, 2, "another number of tensors"),
        ("options", 4, -1, "the size of the scratch memory"),
        ("options", 4, 2**24, "the size of the scratch memory"),
        ("options", 4, 4, "an instruction"),
        ("inputs", 0, ("int16", bytes(8)), "an instruction"),
        ("inputs", 1, ("int16", bytes(760)), "a state"),
        ("inputs", 1, ("int32", bytes(756)), "a state"),
        ("inputs", 2, ("int32", bytes(4)), "the instructions"),
        ("inputs", 2, ("int32", b""), "the instructions"),
        ("inputs", 2, ("int32", bytes(88)), "an instruction"),
        ("inputs", 3, ("int8", bytes(8)), "the constants"),
        ("inputs", 3, ("uint8", bytes(8)), "an instruction"),
        ("outputs", 0, ("int32", bytes(8)), "an instruction"),
        ("outputs", 2, ("int32", bytes(8)), "a state"),
    ],
)
def test_what_the_kernel_would_trip_over_is_refused(any_harness, place, index, value, message):
    node = changed(node_of(to_tflite(PROGRAMS["S4 block"], dss="custom")), place, index, value)
    done = run(any_harness, node.message())
    assert done.returncode == 3
    assert done.stderr.decode() == f"KERAS_S4_BLOCK does not know {message} of this file."


@needs_compiler
def test_files_without_options_or_with_tensors_missing_are_refused(any_harness):
    node = node_of(to_tflite(PROGRAMS["int8"], dss="custom"))
    for broken, message in [
        (dataclasses.replace(node, options=b""), "options of another version"),
        (dataclasses.replace(node, inputs=node.inputs[:-1]), "another number of tensors"),
        (dataclasses.replace(node, outputs=node.outputs[:-1]), "another number of tensors"),
    ]:
        done = run(any_harness, broken.message())
        assert (done.returncode, message in done.stderr.decode()) == (3, True)


def operands_of(node: Node) -> tuple[list[Operand], list[Operand]]:
    """The tensors of an operator as the checks of files see them; the last two inputs are constants."""

    def operand(type: str, content: bytes, constant: bool) -> Operand:
        values = np.frombuffer(content, type)
        return Operand(values.shape, type, data=values if constant else None)

    last = len(node.inputs) - 2
    inputs = [operand(*tensor, index >= last) for index, tensor in enumerate(node.inputs)]
    return inputs, [operand(*tensor, False) for tensor in node.outputs]


def passes(node: Node) -> bool:
    """Whether the check of files lets an operator pass."""
    try:
        check_block(*operands_of(node), node.options)
    except ValueError:
        return False
    return True


@needs_compiler
@pytest.mark.parametrize("name", ["S4 block", "S4 block of int16, of steps"])
def test_altered_instructions_are_refused_by_both_or_harmless(tmp_path, name):
    """The kernel and the check of files agree; what both let pass stays in its memory."""
    harness = build(tmp_path, tflm_stand_in.OLDER, ["-g", "-fsanitize=address"])
    node, random = node_of(to_tflite(PROGRAMS[name], dss="custom")), np.random.default_rng(1)
    state = len(node.inputs) - 3
    words = np.frombuffer(node.inputs[-2][1], "<i4")
    steps = b"".join(random.bytes(len(content)) for _, content in node.inputs[:-2])
    outcomes = []
    for seed in range(240):
        altered = words.copy()
        place = int(random.integers(len(altered)))
        altered[place] = change_number(int(altered[place]), np.random.default_rng(seed)) & 0x7FFFFFFF
        other = changed(node, "inputs", -2, ("int32", altered.tobytes()))
        done = run(harness, other.message(steps))
        assert done.returncode == (0 if passes(other) else 3), (words[place], altered[place], place % WORDS)
        outcomes.append(done.returncode)
    assert state >= 1
    assert min(outcomes.count(0), outcomes.count(3)) > 40


@needs_compiler
@pytest.mark.parametrize(
    ("place", "offset", "value"),
    [(0, 14, 3), (0, 14, 2), (0, -2, 0), (0, -2, 1), (2, 0, 0), (2, 0, 63)],
    ids=["ends early", "ends by halves", "does not end", "ends its kind", "shifts not", "shifts too far"],
)
def test_constants_that_would_lead_the_kernel_astray_are_refused(any_harness, place, offset, value):
    """Channels that end elsewhere than with their last mode, and shifts by fewer bits than one or by too many."""
    node = node_of(to_tflite(PROGRAMS["S4 block"], dss="custom"))
    (step,) = (each for each in instructions_of(np.frombuffer(node.inputs[-2][1], "<i4")) if each.code == Code.DIAGONAL)
    constants = bytearray(node.inputs[-1][1])
    first = step.constants[place] % 2**OFFSET_BITS
    constants[first + offset + (16 * step.inner * step.outer if offset < 0 else 0)] = value
    altered = changed(node, "inputs", -1, ("uint8", bytes(constants)))
    assert passes(node)
    assert not passes(altered)
    assert run(any_harness, altered.message()).returncode == 3


class TestFile:
    def test_has_one_operator_for_each_step_and_nothing_else_changes(self):
        program = programs.model(2, blocks=2, lowered=True)
        ours, builtin = (read_summary(to_tflite(program, dss=dss)) for dss in ("custom", "operators"))
        assert ours.operators.count("KERAS_S4_BLOCK") == 2
        assert "DEPTHWISE_CONV_2D" in builtin.operators
        assert "DEPTHWISE_CONV_2D" not in ours.operators
        assert set(ours.registrations) <= {*builtin.registrations, "AddCustom"}
        ends = [[summary.tensors[index] for index in summary.inputs[:1]] for summary in (ours, builtin)]
        assert ends[0] == ends[1]
        assert ours.bytes < builtin.bytes

    @pytest.mark.parametrize("activations", ["int8", "int16"])
    @pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "tanh"])
    def test_has_one_operator_for_each_s4_block(self, activations, activation):
        keras.utils.set_random_seed(0)
        blocks = [layers.S4Block(2, activation=activation) for _ in range(2)]
        model = keras.Sequential([keras.Input((20, 4)), *blocks, keras.layers.Dense(3)])
        converted = convert(model, np.random.default_rng(0).normal(size=(8, 20, 4)), activations=activations)
        summary = read_summary(to_tflite(converted.program, dss="custom"))
        assert summary.operators.count("KERAS_S4_BLOCK") == 2
        assert len(summary.operators) <= 5

    def test_has_a_dss_layer_alone_where_a_block_has_too_many_ends(self):
        b = programs.Builder(0, lowered=True)
        x = b.activation(4, "int16", 2.0**-12, name="x")
        y = b.diagonal_step(x, 2, "int8")
        program = block_of(b.program(x, *(b.lookup(y) for _ in range(14))))
        summary = read_summary(to_tflite(program, dss="custom"))
        assert summary.operators.count("KERAS_S4_BLOCK") == 1
        assert summary.operators.count("GATHER") == 14

    def test_has_states_in_the_order_of_the_kernel(self):
        summary = read_summary(to_tflite(programs.model(lowered=True), dss="custom"))
        assert [before.shape for before, _ in summary.states] == [(1, 8, 4, 2), (1, 1, 1, 8)]

    def test_may_keep_states_as_variables(self):
        summary = read_summary(to_tflite(programs.model(lowered=True), "variables", "custom"))
        assert [variable.shape for variable in summary.variables] == [(1, 8, 4, 2), (1, 1, 1, 8)]

    def test_has_constants_at_multiples_of_16_bytes(self):
        root = schema.Model.GetRootAsModel(to_tflite(PROGRAMS["int8"], dss="custom"), 0)
        tables = [root.Buffers(index)._tab for index in range(root.BuffersLength())]
        assert all(table.Vector(table.Offset(4)) % 16 == 0 for table in tables if table.Offset(4))

    def test_damage_is_a_value_error(self):
        data = to_tflite(PROGRAMS["int8"], dss="custom")
        random, refused = np.random.default_rng(0), 0
        start = data.index(DESCRIPTION.encode()) + len(DESCRIPTION)
        for _ in range(500):
            altered = bytearray(data)
            for position in random.integers(0, len(data), 3):
                altered[position] = random.integers(0, 256)
            altered[start : start + 8] = checksum(bytes(altered), start).encode()
            try:
                check_tflite(bytes(altered))
            except ValueError:
                refused += 1
        assert refused > 50

    def test_other_custom_operators_are_refused(self):
        data = to_tflite(PROGRAMS["int8"], dss="custom").replace(b"KERAS_S4_BLOCK", b"KERAS_S4_BLOCQ")
        start = data.index(DESCRIPTION.encode()) + len(DESCRIPTION)
        data = data[:start] + checksum(data, start).encode() + data[start + 8 :]
        with pytest.raises(ValueError, match=r"unknown code 32 'KERAS_S4_BLOCQ'"):
            check_tflite(data)

    def test_other_words_and_unknown_forms_are_refused(self):
        with pytest.raises(ValueError, match="dss='fused'; expected one of 'operators', 'custom'"):
            to_tflite(PROGRAMS["int8"], dss="fused")
        with pytest.raises(NotImplementedError, match="readouts of imaginary parts"):
            to_tflite(programs.single("diagonal_step"), dss="custom")


class TestFolder:
    @needs_compiler
    def test_application_registers_the_operator_and_passes_its_check(self, tmp_path):
        program = programs.model(lowered=True)
        folder = Converted(program, to_tflite(program), 60).save(tmp_path / "saved", "custom") / "tflm_custom"
        data = (folder / "model.tflite").read_bytes()
        assert data == to_tflite(program, dss="custom")
        tflm_stand_in.write_tree(tmp_path / "tree", data)
        kernels = [folder / name for name in KERNELS]
        subprocess.run([*compiler(), "-std=c99", "-c", *kernels], cwd=tmp_path, check=True)
        sources = [*sorted(folder.glob("*.cc")), *(tmp_path / name for name in OBJECTS)]
        command = [*COMPILER, *FLAGS, "-I", tmp_path / "tree", *sources]
        done = subprocess.run([*command, "-o", tmp_path / "check"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        golden = reorder_states(golden_vectors(program), program)
        (tmp_path / "steps").write_bytes(tflm_stand_in.recorded_steps(golden).tobytes())
        environment = {**os.environ, "RECORDED_STEPS": str(tmp_path / "steps")}
        done = subprocess.run([tmp_path / "check"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "; the largest difference is 0." in done.stdout

    def test_kernels_are_those_of_the_c_source(self, tmp_path):
        program = programs.model(lowered=True)
        converted = Converted(program, to_tflite(program), 60)
        files = converted.c_source("model")
        folder = converted.save(tmp_path, "custom")
        shared = {path.name for path in (folder / "tflm_custom").iterdir()} & set(files)
        assert shared >= {"keras_s4_arithmetic.h", "keras_s4_rows.h", "keras_s4_dense.c", "keras_s4_diagonal.c"}
        for name in shared:
            assert (folder / "tflm_custom" / name).read_text() == files[name]
        assert "`tflm_custom/`" in (folder / "README.md").read_text()

    def test_is_written_on_request_only(self, tmp_path):
        program = PROGRAMS["int8"]
        converted = Converted(program, to_tflite(program))
        assert not (converted.save(tmp_path) / "tflm_custom").exists()
        with pytest.raises(ValueError, match="dss='fused'; expected one of"):
            converted.save(tmp_path / "other", "fused")
        assert not (tmp_path / "other").exists()


def test_sources_are_in_the_package():
    settings = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "keras_s4.tflite.flatbuffer.custom_operator" in settings["packages"]
    patterns = settings["package-data"]["keras_s4.tflite.flatbuffer.custom_operator"]
    packed = {path.name for pattern in patterns for path in custom_operator.LIBRARY.parent.glob(pattern)}
    assert packed == {path.name for path in custom_operator.LIBRARY.iterdir()}
    assert CUSTOM_BLOCK.name == "KERAS_S4_BLOCK"
