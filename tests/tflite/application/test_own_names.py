"""Several models in one firmware: names of their own for all that C would have twice, and the kernels once."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
import tflm_stand_in
from cpp_compiler import COMPILER, FLAGS, needs_compiler

from keras_s4.decisions import Decision
from keras_s4.testing.programs import Builder, model
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.own_names import class_name, own_name
from keras_s4.tflite.c99.files import kernel_files
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import custom_operator, to_tflite
from keras_s4.tflite.program.tensors import Tensor

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
NAMES = "wake_word", "Gait"
# Of a C file that is compiled: functions and objects that others see.
DEFINED = re.compile(r"^[0-9a-f]+ [A-TV-Z] (\w+)$", re.MULTILINE)


def wake_word():
    """Decides, and takes int16 at the start and int8 behind it."""
    return dataclasses.replace(model(1, lowered=True), output_activations=("softmax",))


def gait():
    """Other kernels: a gate, and nothing in int8."""
    b = Builder(4, lowered=True)
    x = Tensor("sensor_gap", (3,), "int16", 2.0**-13)
    scores = b.fully_connected(b.diagonal_step(b.affine(x, "int16"), 3, "int16"), 5)
    return b.program(x, b.squash("sigmoid", b.requantize(scores, "int16", 2.0**-12)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Both models, saved; each has an application for C and one for TensorFlow Lite Micro that decides."""
    folder = tmp_path_factory.mktemp("models")
    for name, program in zip(NAMES, (wake_word(), gait()), strict=True):
        converted = Converted(program, to_tflite(program), None)
        kind = "class" if program.output_activations else "labels"
        sensors = {feature: {"lsb": 1 / 4096} for feature in range(program.inputs[0].shape[-1])}
        converted.save(folder / name, "custom", Decision(kind=kind, every=4, smoothing=2.0), sensors, name=name)
    return [folder / name for name in NAMES]


def run(*command, folder=None):
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_folders_have_the_kernels_and_nothing_else_in_common(folders):
    first, second = map(files_of, folders)
    same = {name for name in first.keys() & second.keys() if first[name] == second[name]}
    kernels = {f"c99/{name}" for name in kernel_files()}
    assert kernels <= same
    common = {Path(name).name for name in first.keys() & second.keys() - kernels} - set(kernel_files())
    general = {"main.c", "main.cc", "Makefile", "README.md", "manifest.json", "files.json", "golden.npz"}
    assert common <= general | {"keras_s4_block_op.cc", "keras_s4_block_op.h"}
    assert {"wake_word.tflite", "wake_word_model.cc", "c99/wake_word.c", "firmware/wake_word_board.h"} <= set(first)
    assert {"Gait.tflite", "Gait_decisions.cc", "c99/Gait.h", "firmware/Gait_application.c"} <= set(second)


# Plays the golden samples of one model, as its board_host.c does, and returns instead of leaving.
BOARD = """
#include <string.h>
#include "{name}_board.h"
#include "{name}_golden.h"
unsigned {name}_used, {name}_wrong;
int {name}_play(void);
void {name}_board_start(void) {{}}
void {name}_board_wait(void) {{}}
void {name}_board_overrun(uint32_t lost) {{ {name}_wrong += lost; }}
void {name}_board_use(const {name}_results *results, const {name}_decision_result *decided)
{{
    {name}_wrong += memcmp(results, &{name}_golden_results[{name}_used], sizeof *results) != 0;
    {name}_wrong += memcmp(decided, &{name}_golden_decided[{name}_used], sizeof *decided) != 0;
    ++{name}_used;
}}
int {name}_play(void)
{{
    static uint32_t recording, played;
    if (recording == {NAME}_GOLDEN_RECORDINGS) {{
        return 0;
    }}
    {name}_sensor_sample_ready(
        &{name}_golden_samples[({name}_golden_first[recording] + played) % {NAME}_GOLDEN_SAMPLES]);
    if (++played == {NAME}_GOLDEN_LENGTH) {{
        played = 0;
        ++recording;
        {name}_sensor_gap();
    }}
    return 1;
}}
"""
MAIN = """
#include <stdio.h>
#include "wake_word_application.h"
#include "Gait_application.h"
extern unsigned wake_word_used, wake_word_wrong, Gait_used, Gait_wrong;
int wake_word_play(void);
int Gait_play(void);
int main(void)
{
    wake_word_application_start();
    Gait_application_start();
    while (wake_word_play() + Gait_play() > 0) {
        (void)wake_word_application_poll();
        (void)Gait_application_poll();
    }
    printf("%u %u %u %u\\n", wake_word_used, wake_word_wrong, Gait_used, Gait_wrong);
    return 0;
}
"""


def test_two_applications_run_in_one_image_with_the_kernels_once(folders, tmp_path):
    """Sample by sample in turn: results and decisions of both are those of the emulator."""
    for name in NAMES:
        (tmp_path / f"{name}_board.c").write_text(BOARD.format(name=name, NAME=name.upper()))
    (tmp_path / "main.c").write_text(MAIN)
    sources = [path for path in sorted((folders[0] / "c99").glob("*.c")) if path.name in kernel_files()]
    for folder, name in zip(folders, NAMES, strict=True):
        own = sorted((folder / "firmware").glob(f"{name}_*.c"))
        sources += [folder / "c99" / f"{name}.c", *(path for path in own if not path.name.endswith("board_host.c"))]
    rooms = [folder / room for folder in folders for room in ("firmware", "c99")]
    includes = [word for room in rooms for word in ("-I", room)]
    run(*compiler(), *STRICT, *includes, *sources, *sorted(tmp_path.glob("*.c")), "-o", tmp_path / "both")
    assert run(tmp_path / "both").split() == ["24", "0", "24", "0"]


@pytest.mark.parametrize("name", NAMES)
def test_each_of_them_runs_its_own_check(folders, tmp_path, name):
    folder = folders[NAMES.index(name)]
    run("make", "-C", folder / "firmware", f"CC={' '.join(compiler())}", f"BUILD={tmp_path}")
    assert run(tmp_path / "firmware").count(", 0 of them differ.") == 2


def test_no_symbol_is_defined_twice(folders, tmp_path):
    """Whatever has external linkage, besides the kernels and main, begins with the name of its model."""
    for folder, name in zip(folders, NAMES, strict=True):
        for path in (*(folder / "firmware").glob("*.c"), folder / "c99" / f"{name}.c"):
            includes = ["-I", folder / "c99", "-I", folder / "firmware"]
            run(*compiler(), *includes, "-c", path, "-o", tmp_path / "object.o")
            for symbol in DEFINED.findall(run("nm", tmp_path / "object.o")):
                assert symbol.startswith(f"{name}_") or symbol == "main", (path.name, symbol)


def test_headers_of_both_are_one_source(folders, tmp_path):
    headers = [path.name for folder in folders for path in sorted((folder / "firmware").glob("*.h"))]
    headers += ["wake_word.h", "Gait.h"]
    (tmp_path / "all.c").write_text("\n".join(f'#include "{name}"' for name in headers) + "\nint x;\n")
    includes = [word for folder in folders for room in ("c99", "firmware") for word in ("-I", folder / room)]
    run(*compiler(), *STRICT, *includes, "-fsyntax-only", tmp_path / "all.c")


def test_kernels_of_another_version_are_refused(folders, tmp_path):
    for name, content in files_of(folders[0] / "c99").items():
        (tmp_path / name).write_bytes(content)
    header = tmp_path / "keras_s4_kernels.h"
    text = header.read_text()
    found = int(re.search(r"VERSION (\d+)", text)[1])
    header.write_text(text.replace(f"VERSION {found}", f"VERSION {found + 1}"))
    command = [*compiler(), "-fsyntax-only", "wake_word.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode and f"This model is for version {found} of the kernels" in done.stderr


BOTH = """
#include <stdio.h>
#include "Gait_decisions.h"
#include "Gait_golden.h"
#include "Gait_model.h"
#include "Gait_model_data.h"
#include "wake_word_decisions.h"
#include "wake_word_golden.h"
#include "wake_word_model.h"
#include "wake_word_model_data.h"
static wake_word::WakeWord first;
static Gait::GaitModel second;
int main() {
  wake_word::Outputs a;
  Gait::Outputs b;
  const bool ran = first.Step(wake_word::golden::kInputs[0][0], &a) || second.Step(Gait::golden::kInputs[0][0], &b);
  printf("%d, %s, %s\\n", ran, first.error(), second.error());
  return wake_word::kModelDataSize == Gait::kModelDataSize;
}
"""


@needs_compiler
@pytest.mark.parametrize("room", [".", "tflm_custom"])
def test_two_classes_of_tensorflow_lite_micro_make_one_program(folders, tmp_path, room):
    tflm_stand_in.write_tree(tmp_path / "tflm", (folders[0] / room / "wake_word.tflite").read_bytes())
    (tmp_path / "both.cc").write_text(BOTH)
    sources, includes = [tmp_path / "both.cc"], ["-I", tmp_path / "tflm"]
    for folder, name in zip(folders, NAMES, strict=True):
        sources += [folder / room / f"{name}_{part}.cc" for part in ("model", "model_data", "decisions")]
        includes += ["-I", folder / room]
    if room == "tflm_custom":
        sources.append(folders[0] / room / "keras_s4_block_op.cc")
        for kernel in custom_operator.KERNELS:
            run(*compiler(), "-std=c99", "-c", folders[0] / room / f"{kernel}.c", "-o", tmp_path / f"{kernel}.o")
            sources.append(tmp_path / f"{kernel}.o")
    run(*COMPILER, *FLAGS, *includes, *sources, "-o", tmp_path / "both", "-lm")
    assert run(tmp_path / "both") == (
        "0, WakeWord::Step before WakeWord::Init, GaitModel::Step before GaitModel::Init\n"
    )


RUN = """
#include <stdio.h>
#include <string.h>
#include "Gait_golden.h"
#include "wake_word_golden.h"
static wake_word::WakeWord first;
static Gait::GaitModel second;
int main() {
  if (!first.Init() || !second.Init()) return 2;
  int wrong = 0;
  for (int stream = 0; stream < wake_word::golden::kStreams; ++stream) {
    first.Reset();
    second.Reset();
    for (int step = 0; step < wake_word::golden::kSteps; ++step) {
      wake_word::Outputs a;
      Gait::Outputs b;
      if (!first.Step(wake_word::golden::kInputs[stream][step], &a)) return 3;
      if (!second.Step(Gait::golden::kInputs[stream][step], &b)) return 4;
      wrong += memcmp(&a, &wake_word::golden::kOutputs[stream][step], sizeof a) != 0;
      wrong += memcmp(&b, &Gait::golden::kOutputs[stream][step], sizeof b) != 0;
    }
    wrong += memcmp(&first.states(), &wake_word::golden::kStates[stream], sizeof first.states()) != 0;
    wrong += memcmp(&second.states(), &Gait::golden::kStates[stream], sizeof second.states()) != 0;
  }
  printf("%d differ\\n", wrong);
  return 0;
}
"""


@needs_compiler
def test_two_models_on_tensorflow_lite_micro_run_in_turn(folders, tmp_path, monkeypatch):
    """Step by step, each on a stand-in for the interpreter that knows the steps of its model alone."""
    objects, includes = [], []
    for folder, name, program in zip(folders, NAMES, (wake_word(), gait()), strict=True):
        tree = tmp_path / name
        tflm_stand_in.write_tree(tree, (folder / f"{name}.tflite").read_bytes())
        for header in tree.rglob("*.h"):
            header.write_text(header.read_text().replace("RECORDED_STEPS", f"STEPS_OF_{name}"))
        (tree / "steps").write_bytes(tflm_stand_in.recorded_steps(golden_vectors(program)).tobytes())
        monkeypatch.setenv(f"STEPS_OF_{name}", str(tree / "steps"))
        includes += ["-I", folder]
        for part in ("model", "model_data"):
            objects.append(tmp_path / f"{name}_{part}.o")
            # Two interpreters in one program, which a real one has not, need names of their own.
            flags = [f"-Dtflite=tflite_{name}", "-I", tree, "-I", folder]
            run(*COMPILER, *FLAGS, *flags, "-c", folder / f"{name}_{part}.cc", "-o", objects[-1])
    (tmp_path / "both.cc").write_text(RUN)
    run(*COMPILER, *FLAGS, *includes, tmp_path / "both.cc", *objects, "-o", tmp_path / "both", "-lm")
    assert run(tmp_path / "both") == "0 differ\n"


@pytest.fixture(scope="module")
def converted():
    program = gait()
    return Converted(program, to_tflite(program), None)


class TestNames:
    def test_of_files_identifiers_and_macros(self):
        text = (
            '#include "board.h"\n#define BOARD_H\nboard_x_scale; sensor_scale *golden_results; RING_EMPTY; my_board_h'
        )
        assert own_name(text, "a1") == (
            '#include "a1_board.h"\n#define A1_BOARD_H\na1_board_x_scale; a1_sensor_scale *a1_golden_results; '
            "A1_RING_EMPTY; my_board_h"
        )

    def test_of_namespace_and_class_differ(self):
        assert [class_name(name) for name in (None, "wake_word", "wake", "Wake", "W")] == [
            "Model", "WakeWord", "Wake", "WakeModel", "WModel",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "name", ["", "7th", "a b", "std", "Tflite", "inputs", "board", "decision", "sensors", "s4_x", "int", 3, "index"]
    )
    def test_that_are_taken_are_refused_before_anything_is_written(self, name, converted, tmp_path):
        for save in (converted.save, converted.save_c):
            with pytest.raises(ValueError, match=f"Received name={re.escape(repr(name))}"):
                save(tmp_path / "saved", name=name)
        assert not (tmp_path / "saved").exists()

    def test_of_functions_of_the_class_are_refused(self, converted, tmp_path):
        with pytest.raises(ValueError, match="the class of the model has already"):
            converted.save(tmp_path / "saved", name="quantize_sensor_gap")

    def test_model_is_the_usual_one(self, converted, tmp_path):
        assert files_of(converted.save(tmp_path / "a", name="model")) == files_of(converted.save(tmp_path / "b"))

    def test_that_change_replace_the_files_of_before(self, converted, tmp_path):
        converted.save(tmp_path / "saved", name="one")
        converted.save(tmp_path / "saved", name="two")
        assert not [name for name in files_of(tmp_path / "saved") if "one" in Path(name).name]
