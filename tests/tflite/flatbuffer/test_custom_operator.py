"""The custom operator for S4 blocks: its files, and its C++ against a stand-in for TensorFlow Lite Micro."""

import os
import subprocess
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
import tflm_stand_in
from block_harness import KERNELS, OBJECTS, node_of, run
from block_programs import PROGRAMS, bank, block_of, block_of_modes
from cpp_compiler import COMPILER, FLAGS, needs_compiler
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4 import layers
from keras_s4.testing import programs
from keras_s4.tflite import convert
from keras_s4.tflite.application.custom import reorder_states
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import check_tflite, custom_operator, read_summary, to_tflite
from keras_s4.tflite.flatbuffer.operators.table import CUSTOM_BLOCK
from keras_s4.tflite.flatbuffer.writer import DESCRIPTION, checksum


@needs_compiler
@pytest.mark.parametrize("name", PROGRAMS)
def test_steps_are_those_of_the_emulator(harness, name):
    """From states of all 32-bit values."""
    program = PROGRAMS[name]
    (state,) = program.states
    random = np.random.default_rng(0)
    starts = random.integers(-(2**31), 2**31, (20, *state.before.shape), dtype=np.int32)
    extremes = np.array([-(2**31), 2**31 - 1, 2**30, -(2**30) - 1])
    starts[:4] = extremes.reshape(4, *(1,) * len(state.before.shape))
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
    """States of steps `[B, L, 2, N, H]` as `[B, L, H, N, 2]`; those of banks of modes as they are."""
    return np.ascontiguousarray(np.swapaxes(states, -1, -3) if states.ndim == 5 else states)


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
    @pytest.mark.parametrize("kind", ["own modes", "shared modes"])
    def test_has_one_operator_for_each_s4_block(self, activations, activation, kind):
        keras.utils.set_random_seed(0)
        kinds = [2 if kind == "own modes" else layers.DiagonalSSM(None, 3) for _ in range(2)]
        blocks = [layers.S4Block(modes, activation=activation) for modes in kinds]
        model = keras.Sequential([keras.Input((20, 4)), *blocks, keras.layers.Dense(3)])
        converted = convert(model, np.random.default_rng(0).normal(size=(8, 20, 4)), activations=activations)
        summary = read_summary(to_tflite(converted.program, dss="custom"))
        assert summary.operators.count("KERAS_S4_BLOCK") == 2
        assert len(summary.operators) <= 5

    @pytest.mark.parametrize("feedthrough", ["full", "diagonal", None])
    @pytest.mark.parametrize("activations", ["int8", "int16"])
    @pytest.mark.parametrize("steps", [1, 3])
    def test_has_one_operator_for_each_diagonal_ssm_with_its_products(self, feedthrough, activations, steps):
        keras.utils.set_random_seed(0)
        bank = layers.DiagonalSSM(4, 3, feedthrough=feedthrough)
        model = keras.Sequential([keras.Input((21, 4)), bank, keras.layers.Dense(3)])
        x = np.random.default_rng(0).normal(size=(8, 21, 4))
        program = convert(model, x, activations=activations, steps=steps).program
        summary = read_summary(to_tflite(program, dss="custom"))
        assert [name for name in summary.operators if name != "RESHAPE"] == ["KERAS_S4_BLOCK", "FULLY_CONNECTED"]
        assert [before.shape for before, _ in summary.states] == [(1, 1, 2, 3)]

    @pytest.mark.parametrize("kind", ["own modes", "shared modes"])
    def test_has_a_step_alone_where_a_block_has_too_many_ends(self, kind):
        b = programs.Builder(0, lowered=True)
        x = b.activation(4, "int16", 2.0**-12, name="x")
        y = b.diagonal_step(x, 2, "int8") if kind == "own modes" else b.requantize(b.modal_step(x), "int8", 2.0**-7)
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
        with pytest.raises(NotImplementedError, match=r"banks of modes does not know another limit than 2\*\*30"):
            to_tflite(bank(limit=2**29), dss="custom")


class TestFolder:
    @needs_compiler
    @pytest.mark.parametrize("kind", ["own modes", "shared modes"])
    def test_application_registers_the_operator_and_passes_its_check(self, tmp_path, kind):
        program = programs.model(lowered=True) if kind == "own modes" else block_of_modes(3, 2**30, 2)
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
        program = block_of_modes()
        converted = Converted(program, to_tflite(program), 60)
        files = converted.c_source("model")
        folder = converted.save(tmp_path, "custom")
        shared = {path.name for path in (folder / "tflm_custom").iterdir()} & set(files)
        assert shared >= {"keras_s4_arithmetic.h", "keras_s4_rows.h", "keras_s4_dense.c", "keras_s4_modal.c"}
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
