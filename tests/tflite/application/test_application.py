"""The saved C++ application, compiled for this computer against a stand-in for TensorFlow Lite Micro."""

import dataclasses
import functools
import io
import json
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tflm_stand_in
from cpp_compiler import COMPILER, FLAGS, needs_compiler

from keras_s4 import models
from keras_s4.decisions import Decision
from keras_s4.testing import programs
from keras_s4.tflite import convert
from keras_s4.tflite.application import decisions, firmware, tflm
from keras_s4.tflite.application.folder import folder_contents
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99.names import camel_case, identifiers, printable
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.operations import Embed
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


def classifier():
    return dataclasses.replace(programs.model(lowered=True), output_activations=("softmax",))


def blocks():
    """Takes three steps at once, and gives as many classes."""
    b = programs.Builder(1, lowered=True)
    x = b.activation(3, "int16", 2.0**-13, name="x")
    program = b.program(x, b.fully_connected(b.diagonal_step(b.affine(x), 2), 4))
    return in_blocks(dataclasses.replace(program, output_activations=("softmax",)), 3)


def several():
    """Three inputs, outputs and two states, with names that are no identifiers of C++."""
    b = programs.Builder(3, lowered=True)
    fast = Tensor("class", (3,), "int16", 2.0**-12)
    slow = Tensor('7 */ "Grad" \\\n°C', (4,), "int8", 0.05, -17)
    y = b.diagonal_step(b.fully_connected(fast, 6), 2, "int16")
    pooled = b.requantize(b.accumulate(slow), "int16", 0.3)
    words = Tensor("words", (1,), "int32")
    table = b.constant(b.random.integers(-128, 128, (5, 4)), "int8", 0.1)
    row = b.add(Embed(words, table, b.activation(4, "int8", 0.1)))
    outputs = y, pooled, b.requantize(row, "int8", 0.2)
    return Program('many "inputs" */ \\\n', (fast, slow, words), outputs, tuple(b.states), tuple(b.operations))


def stateless():
    return programs.single("add")


@dataclasses.dataclass(frozen=True)
class Saved:
    converted: Converted
    folder: Path
    tree: Path
    check: Path

    def run(self, steps: np.ndarray) -> subprocess.CompletedProcess:
        """The check on an interpreter that computes these steps."""
        path = self.tree / "steps"
        path.write_bytes(steps.tobytes())
        environment = {**os.environ, "RECORDED_STEPS": str(path)}
        return subprocess.run([self.check], env=environment, capture_output=True, text=True, check=False)

    def compile(self, name: str, text: str, *options: str) -> Path:
        """Compiles a source of the test together with the saved ones."""
        (self.tree / f"{name}.cc").write_text(text)
        return compile_sources(self, [self.tree / f"{name}.cc"], self.tree / name, *options)


def compile_sources(saved: Saved, extra: list[Path], target: Path, *options: str) -> Path:
    files = [saved.folder / "keras_s4_model.cc", saved.folder / "model_data.cc", *extra]
    files += saved.folder.glob("decisions.cc")
    command = [*COMPILER, *FLAGS, "-I", saved.tree, "-I", saved.folder, *options, *files, "-o", target, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def saved_application(program: Program, folder: Path, states: str, decision: Decision | None = None) -> Saved:
    converted = Converted(program, to_tflite(program, states), 60)
    converted.save(folder / "firmware", decision=decision)
    tflm_stand_in.write_tree(folder / "tflm", converted.tflite)
    saved = Saved(converted, folder / "firmware", folder / "tflm", folder / "check")
    if COMPILER:
        compile_sources(saved, [saved.folder / "main.cc"], saved.check)
    return saved


@pytest.fixture(scope="module")
def applications(tmp_path_factory):
    """The saved application of a program, compiled when it is first asked for."""

    def application(program, states="inputs"):
        return saved_application(program(), tmp_path_factory.mktemp(program.__name__), states)

    return functools.cache(application)


@pytest.fixture(scope="module", params=[(classifier,), (several,), (stateless,), (several, "variables"), (blocks,)])
def saved(request, applications):
    return applications(*request.param)


@needs_compiler
def test_golden_vectors_come_out_of_the_application(saved):
    done = saved.run(tflm_stand_in.recorded_steps(golden_vectors(saved.converted.program)))
    assert done.returncode == 0, done.stdout
    program = saved.converted.program
    outputs = sum(int(np.prod(tensor.shape)) for tensor in program.outputs)
    explicit = saved.converted.manifest["states_kept_as"] == "inputs"
    states = sum(int(np.prod(state.before.shape)) for state in program.states) if explicit else 0
    compared = tflm.STREAMS * (tflm.STEPS * outputs + states)
    assert f"0 of {compared} integers differ; the largest difference is 0." in done.stdout


@needs_compiler
@pytest.mark.parametrize("kind", ["class", "wake word", "labels"])
def test_decisions_are_checked_beside_golden_vectors(kind, tmp_path):
    """And a wrong one fails the check."""
    saved = saved_application(classifier(), tmp_path, "inputs", Decision(kind=kind, every=60, smoothing=2.0))
    steps = tflm_stand_in.recorded_steps(golden_vectors(saved.converted.program))
    done = saved.run(steps)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^0 of \d+ decisions differ", done.stdout, re.MULTILINE)
    source = saved.folder / "decisions.cc"
    assert source.read_text().count("THRESHOLD(c) 536870912") == 1
    source.write_text(source.read_text().replace("THRESHOLD(c) 536870912", "THRESHOLD(c) 1073741823"))
    compile_sources(saved, [saved.folder / "main.cc"], saved.check)
    done = saved.run(steps)
    assert done.returncode == 1 and re.search(r"^[1-9]\d* of \d+ decisions differ", done.stdout, re.MULTILINE)
    facts = json.loads((saved.folder / "manifest.json").read_text())["decision"]
    assert Decision.from_dict(facts["settings"]) == Decision(kind=kind, every=60, smoothing=2.0)
    assert facts["integers"]["thresholds"] == [2**29] * 5


@needs_compiler
@pytest.mark.parametrize("step", [0, tflm.STEPS - 1])
def test_one_wrong_byte_of_an_output_fails_the_check(saved, step):
    golden = golden_vectors(saved.converted.program)
    output = golden.outputs[-1]
    output[tflm.STREAMS - 1, step].flat[-1] ^= 4
    done = saved.run(tflm_stand_in.recorded_steps(golden))
    assert done.returncode == 1
    assert f"of stream {tflm.STREAMS - 1} at step {step}" in done.stdout
    assert re.search(r"^1 of \d+ integers differ; the largest difference is 4\.", done.stdout, re.MULTILINE)


@needs_compiler
@pytest.mark.parametrize("program", [classifier, several])
def test_a_wrong_final_state_or_one_that_is_not_fed_back_fails_the_check(applications, program):
    saved = applications(program)
    golden = golden_vectors(saved.converted.program)
    golden.states[-1][0, tflm.STEPS - 1].flat[-1] ^= 64
    done = saved.run(tflm_stand_in.recorded_steps(golden))
    assert done.returncode == 1
    assert "the largest difference is 64." in done.stdout
    # The stand-in knows no step that starts from this state.
    golden.states[-1][0, 3].flat[-1] ^= 1
    steps = tflm_stand_in.recorded_steps(golden)
    steps[0, 4] = tflm_stand_in.recorded_steps(golden_vectors(saved.converted.program))[0, 4]
    done = saved.run(steps)
    assert done.returncode == 1
    assert "Stream 0, step 4: MicroInterpreter::Invoke failed." in done.stdout


@needs_compiler
def test_one_changed_golden_byte_fails_the_check(applications, tmp_path):
    saved = applications(several)
    text = (saved.folder / "golden.h").read_text()
    place = text.index("kOutputs[kStreams][kSteps] = {")
    number = re.compile(r"-?\d+").search(text, place)
    other = int(number[0]) + (1 if int(number[0]) <= 0 else -1)
    (tmp_path / "golden.h").write_text(text[: number.start()] + str(other) + text[number.end() :])
    shutil.copy(saved.folder / "main.cc", tmp_path)
    changed = dataclasses.replace(saved, check=compile_sources(saved, [tmp_path / "main.cc"], tmp_path / "check"))
    done = changed.run(tflm_stand_in.recorded_steps(golden_vectors(saved.converted.program)))
    assert done.returncode == 1
    assert "the largest difference is 1." in done.stdout


@needs_compiler
def test_variables_are_reset_and_belong_to_the_object_that_did_so(applications):
    saved = applications(several, "variables")
    binary = saved.compile("objects", TWO_OBJECTS)
    steps = saved.tree / "steps"
    steps.write_bytes(tflm_stand_in.recorded_steps(golden_vectors(saved.converted.program)).tobytes())
    environment = {**os.environ, "RECORDED_STEPS": str(steps)}
    done = subprocess.run([binary], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "early 0 Model::Step before Model::Init",
        "first 1 equal",
        "unreset 0 MicroInterpreter::Invoke",
        "stranger 0 Model::Step: another object has reset the states since",
        "again 1 equal",
    ]


TWO_OBJECTS = """
#include <stdio.h>
#include <string.h>
#include "golden.h"
using namespace keras_s4_model;
static Model one, two;
static void Run(const char* name, Model* model) {
  Outputs outputs;
  const bool done = model->Step(golden::kInputs[0][0], &outputs);
  const bool equal = done && memcmp(&outputs, &golden::kOutputs[0][0], sizeof(outputs)) == 0;
  printf("%s %d %s\\n", name, done, equal ? "equal" : done ? "different" : model->error());
}
int main() {
  one.Reset();
  Run("early", &one);
  if (!one.Init()) return 1;
  Run("first", &one);
  Run("unreset", &one);  // The stand-in knows no such step.
  if (!two.Init()) return 1;
  Run("stranger", &one);
  one.Reset();
  Run("again", &one);
}
"""


QUANTIZE = """
#include <stdio.h>
#include "keras_s4_model.h"
using namespace keras_s4_model;
int main() {
  float value;
  while (fread(&value, sizeof(value), 1, stdin) == 1) printf("%s\\n", QUANTIZED);
}
"""


@needs_compiler
def test_inputs_are_quantised_as_in_python(applications):
    saved = applications(several)
    tensors = [tensor for tensor in saved.converted.program.inputs if tensor.type != "int32"]
    fields = identifiers(tensor.name for tensor in tensors)
    calls = ", ".join(f"int{{Quantize{camel_case(field)}(value)}}" for field in fields)
    text = QUANTIZE.replace('"%s\\n", QUANTIZED', f'"%d %d\\n", {calls}')
    binary = saved.compile("quantize", text)
    random = np.random.default_rng(0)
    ties = (np.arange(-40, 40) + 0.5) * np.array([[tensor.scale] for tensor in tensors])
    values = [random.normal(0, 4, 2000), ties.ravel(), [0, 1e-30, 7.99, 8, -8, 1e9, -1e9, 3e38, np.inf, -np.inf]]
    values = np.concatenate(values).astype(np.float32)
    printed = subprocess.run([binary], input=values.tobytes(), capture_output=True, check=True).stdout
    received = np.array([line.split() for line in printed.splitlines()], int).T
    for tensor, integers in zip(tensors, received, strict=True):
        alone = Converted(dataclasses.replace(saved.converted.program, inputs=(tensor,)), b"", None)
        # Python refuses infinities; a sensor's are clipped.
        samples = np.repeat(np.clip(values, -3e38, 3e38)[None, :, None], tensor.shape[-1], axis=2)
        np.testing.assert_array_equal(integers, alone.quantize(samples)[0, :, 0])
    broken = subprocess.run([binary], input=np.float32(np.nan).tobytes(), capture_output=True, check=True).stdout
    assert [int(word) for word in broken.split()] == [tensor.zero_point for tensor in tensors]


@needs_compiler
def test_outputs_become_the_probabilities_of_python(applications):
    saved = applications(classifier)
    tensor = saved.converted.program.outputs[0]
    (field,) = identifiers([tensor.name])
    integers = np.random.default_rng(0).integers(-128, 128, (50, *tensor.shape)).astype(np.int8)
    text = f"""
#include <stdio.h>
#include "keras_s4_model.h"
using namespace keras_s4_model;
int main() {{
  Outputs outputs;
  float values[k{camel_case(field)}Size];
  while (fread(&outputs, sizeof(outputs), 1, stdin) == 1) {{
    Dequantize{camel_case(field)}(outputs, values);
    fwrite(values, sizeof(values), 1, stdout);
    Probabilities{camel_case(field)}(outputs, values);
    fwrite(values, sizeof(values), 1, stdout);
  }}
}}
"""
    binary = saved.compile("dequantize", text)
    printed = subprocess.run([binary], input=integers.tobytes(), capture_output=True, check=True).stdout
    received = np.frombuffer(printed, np.float32).reshape(len(integers), 2, -1)
    linear = Converted(dataclasses.replace(saved.converted.program, output_activations=()), b"", None)
    np.testing.assert_allclose(received[:, 0], linear.dequantize(integers), rtol=1e-6)
    np.testing.assert_allclose(received[:, 1], saved.converted.dequantize(integers), rtol=1e-4, atol=1e-6)


@needs_compiler
def test_an_arena_that_is_too_small_is_named(applications):
    saved = applications(several)
    check = compile_sources(saved, [saved.folder / "main.cc"], saved.tree / "small", "-DKERAS_S4_ARENA_BYTES=16")
    done = dataclasses.replace(saved, check=check).run(np.zeros(0, np.uint8))
    assert done.returncode == 1
    assert "MicroInterpreter::AllocateTensors: is the arena large enough? failed." in done.stdout


@needs_compiler
@pytest.mark.parametrize("states", ["inputs", "variables"])
def test_the_check_prints_the_least_arena_that_works(applications, states):
    saved = applications(several, states)
    steps = tflm_stand_in.recorded_steps(golden_vectors(saved.converted.program))

    def checked(bytes: int) -> subprocess.CompletedProcess:
        options = f"-DKERAS_S4_ARENA_BYTES={bytes}"
        check = compile_sources(saved, [saved.folder / "main.cc"], saved.tree / f"check_{bytes}", options)
        return dataclasses.replace(saved, check=check).run(steps)

    ample = 5 * tflm_stand_in.MOMENT
    printed = re.search(rf"^Arena: {ample} bytes; .* KERAS_S4_ARENA_BYTES=(\d+)$", checked(ample).stdout, re.MULTILINE)
    least = int(printed[1])
    assert checked(least).returncode == 0
    assert "AllocateTensors" in checked(least - 16).stdout


LEAST_AFTERWARDS = """
#include <stdio.h>
#include "keras_s4_model.h"
static keras_s4_model::Model model;
int main() {
  const bool before = keras_s4_model::LeastArenaBytes() > keras_s4_model::ArenaUsedBytes();
  const bool started = model.Init();
  printf("%d %d %d\\n", before, started, keras_s4_model::LeastArenaBytes() == 0);
}
"""


@needs_compiler
def test_the_arena_is_measured_before_it_is_used(applications):
    saved = applications(several)
    binary = saved.compile("measured", LEAST_AFTERWARDS, f"-DKERAS_S4_ARENA_BYTES={5 * tflm_stand_in.MOMENT}")
    assert subprocess.run([binary], capture_output=True, text=True, check=True).stdout == "1 1 1\n"


TOKENS = """
#include <stdio.h>
#include "golden.h"
static keras_s4_model::Model model;
int main() {
  keras_s4_model::Inputs inputs = keras_s4_model::golden::kInputs[0][0];
  keras_s4_model::Outputs outputs;
  if (!model.Init()) return 1;
  for (int token = -1; token < 7; ++token) {
    inputs.words[0] = token;
    model.Step(inputs, &outputs);
    printf("%s\\n", model.error() ? model.error() : "done");
  }
}
"""


@needs_compiler
def test_tokens_outside_the_table_never_reach_the_interpreter(applications):
    """The stand-in knows one token at the first step and fails at others; GATHER would read outside its table."""
    saved = applications(several)
    binary = saved.compile("tokens", TOKENS)
    (saved.tree / "steps").write_bytes(tflm_stand_in.recorded_steps(golden_vectors(several())).tobytes())
    environment = {**os.environ, "RECORDED_STEPS": str(saved.tree / "steps")}
    done = subprocess.run([binary], env=environment, capture_output=True, text=True, check=True)
    outside = "Model::Step: a token is outside 0 to 4"
    lines = done.stdout.splitlines()
    assert [lines[0], *lines[6:]] == [outside] * 3
    assert set(lines[1:6]) == {"done", "MicroInterpreter::Invoke"}


@needs_compiler
def test_the_example_of_the_readme_compiles(saved):
    readme = (saved.folder / "README.md").read_text()
    example = re.search(r"```cpp\n(.*?)```", readme, re.DOTALL)[1]
    types = ("int32_t*" if tensor.type == "int32" else "float*" for tensor in saved.converted.program.inputs)
    arguments = ", ".join(types)
    before = '#include "keras_s4_model.h"\nvoid SensorLoop();\nvoid Panic(const char*);\n'
    before += f"bool ReadSensor({arguments});\nvoid Use(const keras_s4_model::Outputs&);\n"
    (saved.tree / "example.cc").write_text(before + example)
    command = [*COMPILER, *FLAGS, "-fsyntax-only", "-I", saved.folder, saved.tree / "example.cc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_compiler
@pytest.mark.parametrize(
    ("program", "length", "every"),
    [(classifier, 60, 60), (classifier, None, 5), (classifier, None, 1), (blocks, None, 6)],
)
def test_the_example_of_the_readme_decides(program, length, every, tmp_path):
    program = program()
    converted = Converted(program, to_tflite(program), length)
    count = program.outputs[0].shape[-1]
    decision = Decision(every=every, classes=[f"class {index}" for index in range(count)], background=1)
    saved = converted.save(tmp_path / "saved", decision=decision)
    readme = (saved / "README.md").read_text()
    assert "| 1 | class 1 | `DECISION_CLASS_CLASS_1`: the background |" in readme
    before = '#include "decisions.h"\n#include "keras_s4_model.h"\nvoid SensorLoop();\nvoid Panic(const char*);\n'
    before += "bool ReadSensor(float*);\nvoid Use(const keras_s4_model::Outputs&, const decision_result&);\n"
    (tmp_path / "example.cc").write_text(before + re.search(r"```cpp\n(.*?)```", readme, re.DOTALL)[1])
    command = [*COMPILER, *FLAGS, "-fsyntax-only", "-I", saved, tmp_path / "example.cc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_compiler
@pytest.mark.skipif(not (shutil.which("make") and shutil.which("ar")), reason="needs make and ar")
def test_makefile_builds_and_runs_the_check(applications, tmp_path):
    saved = applications(several)
    make = ["make", "-C", str(saved.folder), "run", f"BUILD={tmp_path}"]
    missing = subprocess.run(make, capture_output=True, text=True, check=False)
    assert missing.returncode
    assert "make TFLM=/path/to/tflite-micro" in missing.stderr
    unbuilt = subprocess.run([*make, f"TFLM={saved.tree}"], capture_output=True, text=True, check=False)
    assert unbuilt.returncode
    assert "build libtensorflow-microlite.a there" in unbuilt.stderr
    library = saved.tree / "gen" / "host_default" / "lib" / "libtensorflow-microlite.a"
    library.parent.mkdir(parents=True)
    subprocess.run(["ar", "rcs", library], check=True)
    (saved.tree / "steps").write_bytes(tflm_stand_in.recorded_steps(golden_vectors(several())).tobytes())
    environment = {**os.environ, "RECORDED_STEPS": str(saved.tree / "steps")}
    command = [*make, f"TFLM={saved.tree}", "CXXFLAGS=-O0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of " in done.stdout
    other = saved.tree / "gen" / "cortex_m_generic_cortex-m4_default" / "lib" / library.name
    other.parent.mkdir(parents=True)
    shutil.copy(library, other)
    ambiguous = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ambiguous.returncode
    assert "several libraries" in ambiguous.stderr and str(other) in ambiguous.stderr
    named = subprocess.run(
        [*command, f"TFLM_LIB={library}"], env=environment, capture_output=True, text=True, check=False
    )
    assert named.returncode == 0, named.stderr


def test_resolver_registers_exactly_the_operators_of_the_file(saved):
    text = (saved.folder / "keras_s4_model.cc").read_text()
    summary = read_summary(saved.converted.tflite)
    operators = (*summary.operators, *(summary.initializer.operators if summary.initializer else ()))
    wanted = {OPERATORS[name].registration for name in operators}
    registered = re.findall(r"operators\.(\w+)\(\)", text)
    assert sorted(registered) == sorted(wanted)
    assert f"MicroMutableOpResolver<{len(wanted)}> Resolver;" in text


def test_array_is_the_file_twelve_bytes_a_line(saved):
    lines = re.findall(r"^ +0x.*$", (saved.folder / "model_data.cc").read_text(), re.MULTILINE)
    rows = [re.findall(r"0x([0-9a-f]{2})\b", line) for line in lines]
    assert bytes(int(byte, 16) for row in rows for byte in row) == (saved.folder / "model.tflite").read_bytes()
    assert {len(row) for row in rows[:-1]} == {12}


def test_firmware_has_no_heap_and_no_float_in_a_step(saved):
    text = (saved.folder / "keras_s4_model.cc").read_text()
    assert not re.search(r"\b(new|malloc|throw|std::vector|std::string|iostream)\b", text)
    step = text[text.index("bool Model::Step") : text.index("size_t ArenaBytes")]
    assert not re.search(r"\b(float|double)\b", step)


def test_two_saves_are_byte_identical_and_carry_no_time(saved, tmp_path):
    saved.converted.save(tmp_path)
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (saved.folder, tmp_path)
    )
    assert first == second
    assert {"model.tflite", "c99/model.c", "firmware/main.c"} < {path.as_posix() for path in first}
    archive = zipfile.ZipFile(io.BytesIO(first[Path("golden.npz")]))
    assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_two_builds_of_a_model_are_saved_byte_identically():
    data = np.random.default_rng(0).normal(size=(4, 20, 3))
    contents = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = models.classifier((20, 3), 2, channels=4, states=2, blocks=1)
        exported = convert(model, data)
        contents.append(folder_contents(exported.program, exported.tflite, exported.manifest))
    assert contents[0] == contents[1]


def test_a_program_that_c_leaves_out_is_refused_and_not_saved(tmp_path):
    program = programs.single("diagonal_step")
    with pytest.raises(NotImplementedError, match="readouts of imaginary parts"):
        Converted(program, to_tflite(program)).save(tmp_path / "firmware")
    assert not (tmp_path / "firmware").exists()


def test_identifiers_are_distinct_and_no_keywords():
    names = ["head", "Head", "he_ad", "a/b", "a_b", "class", "7th", "°", "", "linux", "x_2", "x", "x"]
    received = identifiers(names)
    assert received[0] == "head" and received[5] == "tensor_class" and received[6] == "tensor_7th"
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name) for name in received)
    assert len({camel_case(name).lower() for name in received}) == len(names)


def test_comments_cannot_be_left():
    assert printable('a */ "b" \\\n??/ °/c') == "a _/ _b_ ____/ _/c"


def test_templates_are_in_the_package():
    settings = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "keras_s4.tflite.application" in settings["packages"]
    patterns = settings["package-data"]["keras_s4.tflite.application"]
    packed = {path for pattern in patterns for path in tflm.TEMPLATES.parent.glob(pattern)}
    needed = {module.TEMPLATES / f"{name}.jinja" for module in (tflm, firmware, decisions) for name in module.FILES}
    needed |= {tflm.TEMPLATES / "tflm_custom.md.jinja"}
    needed |= {firmware.TEMPLATES / f"{name}.jinja" for name in firmware.SENSOR_FILES}
    assert packed == needed
