"""Two models with their applications in one image for a Cortex-M4: both compute what they must, kernels are paid once.

Skipped where Debian's cross compiler or QEMU are missing.
"""

import functools

import pytest

from keras_s4.testing.programs import model
from keras_s4.testing.targets import CORES, Image
from keras_s4.testing.targets.image import start_up
from keras_s4.testing.targets.qemu import boot, qemu
from keras_s4.testing.targets.toolchains import C, gcc
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.own_names import own_names
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.files import kernel_files
from keras_s4.tflite.c99.rendering import render

SEEDS = {"wake": 1, "Gait": 2}
# Of an application what is not a board's.
PARTS = ["application.c", "sample_ring.c", "sensor_scale.c"]
PARTS += ["application.h", "board.h", "sample_ring.h", "sensor_scale.h"]

# Plays the golden samples to an application; the loop of main polls all of them in turn.
BOARD = """
#include "firmware.h"
#include "NAME_board.h"
#include "NAME_golden.h"
int NAME_play(void);
uint32_t NAME_wrong(void);
static uint32_t recording, played, used, wrong;
SCALES
void NAME_board_start(void) {}
void NAME_board_overrun(uint32_t lost) { wrong += lost; }
void NAME_board_use(const NAME_results *results)
{
    wrong += differences(results, &NAME_golden_results[used], sizeof *results);
    ++used;
}
int NAME_play(void)
{
    if (recording == CAPITALS_GOLDEN_RECORDINGS) {
        return 0;
    }
    NAME_sensor_sample_ready(&NAME_golden_samples[(NAME_golden_first[recording] + played) % CAPITALS_GOLDEN_SAMPLES]);
    if (++played == CAPITALS_GOLDEN_LENGTH) {
        played = 0;
        ++recording;
        NAME_sensor_gap();
    }
    return 1;
}
uint32_t NAME_wrong(void) { return used == CAPITALS_GOLDEN_RESULTS ? wrong : 1000U; }
"""


@pytest.fixture(scope="module", autouse=True)
def tools():
    """Skips, with the reason, where a tool is missing."""
    try:
        gcc()
        qemu()
    except RuntimeError as error:
        pytest.skip(str(error))


def application_of(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Sources of a model with its application, and of a board that plays its golden samples."""
    program = model(SEEDS[name], blocks=SEEDS[name], lowered=True)
    files = render_firmware(program, {"window_length": None}, golden_vectors(program, 1, 24), name)
    names = {part: files[part] for part in (*PARTS, "golden.h", "board_host.c")}
    files = own_names(names, name)
    scales = files.pop(f"{name}_board_host.c")
    first = scales.index(f"const {name}_sensor_scale")
    board = BOARD.replace("SCALES", scales[first : scales.index("};", first) + 2])
    harness = {f"{name}_golden.h": files.pop(f"{name}_golden.h")}
    harness[f"harness_{name}.c"] = board.replace("NAME", name).replace("CAPITALS", name.upper())
    return files | c_source(program, name), harness


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """The image of models with these names, made once."""

    @functools.cache
    def linked(*names):
        sources, harness = {}, start_up(CORES["m4"])
        for name in names:
            own, around = application_of(name)
            sources |= own
            harness |= around
        declared = "".join(f"int {name}_play(void);\nuint32_t {name}_wrong(void);\n" for name in names)
        includes = "".join(f'#include "{name}_application.h"\n' for name in names)
        starts = "".join(f"    {name}_application_start();\n" for name in names)
        polls = "".join(f"        (void){name}_application_poll();\n" for name in names)
        play, wrong = (" + ".join(f"{name}_{what}()" for name in names) for what in ("play", "wrong"))
        reports = "".join(
            f'    report("{what}", {value});\n'
            for what, value in {"wrong": "wrong", "steps": "1", "ticks": "1", "calibration": "1", "stack": "0"}.items()
        )
        harness["harness_main.c"] = (
            f'#include "firmware.h"\n{includes}{declared}int main(void)\n{{\n{starts}'
            f"    while ({play} > 0) {{\n{polls}    }}\n    const uint32_t wrong = {wrong};\n{reports}"
            "    return wrong == 0U ? 0 : 1;\n}\n"
        )
        script = render(C / "link.ld.jinja", core=CORES["m4"], entry="start")
        folder = tmp_path_factory.mktemp("_".join(names))
        elf = gcc().link(sources, harness, script, CORES["m4"], folder).read_bytes()
        return Image(model(1, lowered=True), CORES["m4"], gcc().version, sources, elf)

    return linked


@pytest.mark.parametrize("names", [("wake",), ("Gait",), ("wake", "Gait")], ids="+".join)
def test_results_are_those_of_the_emulator(names, linked):
    report = boot(linked(*names))
    assert (report.status, report.wrong) == (0, 0)


def test_kernels_are_paid_once(linked, record_property):
    first, second, both = linked("wake"), linked("Gait"), linked("wake", "Gait")
    flash = [image.code_bytes + image.constant_bytes for image in (first, second, both)]
    shared = first.functions.keys() & second.functions.keys() & both.functions.keys()
    kernels = {name: both.functions[name].size for name in shared if name.startswith("s4_")}
    assert {"s4_dense_int8", "s4_diagonal_step"} <= kernels.keys()
    saved = flash[0] + flash[1] - flash[2]
    record_property(
        "firmware", f"m4 two models: flash {flash[0]} B and {flash[1]} B alone, {flash[2]} B together: {saved} B shared"
    )
    assert saved >= sum(kernels.values()) > 500


def test_no_kernel_is_there_twice(linked):
    table = linked("wake", "Gait").file.get_section_by_name(".symtab")
    names = [s.name for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC" and s.name.startswith("s4_")]
    assert len(names) == len(set(names)) > 1
    assert {f"keras_s4_{kernel}.c" for kernel in ("dense", "diagonal")} <= kernel_files().keys()
