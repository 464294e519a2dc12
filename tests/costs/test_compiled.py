"""The cost model beside the compiler that it was fitted to, on programs that it was not fitted to."""

import keras
import numpy as np
import pytest

from keras_s4.architectures import Architecture, build
from keras_s4.costs import features, model
from keras_s4.costs.architectures import architecture_program
from keras_s4.costs.kernels import DSP, HELIUM, PLAIN, kernel_work, read_layers
from keras_s4.costs.untrained import own_weights, program_of
from keras_s4.layers import DiagonalSSM
from keras_s4.testing import programs
from keras_s4.testing.program_builder import Builder
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.program.operations import ModalStep

targets = pytest.importorskip("keras_s4.testing.targets")
counted = pytest.importorskip("keras_s4.costs.counted")

# Each with something that the others have not; sizes are no multiples of what kernels take at once.
NETWORKS = {
    "dss": Architecture("dss", width=11, blocks=2, states=5, rank=6, downsample=2, pooling="max"),
    "dss, a gate a channel, strided": Architecture("dss", width=14, blocks=1, states=6, gate="channel", front=(6, 3)),
    "shared modes": Architecture("dss", width=13, blocks=2, states=10, shared_modes=True, pooling="last"),
    "shared modes, a gate a channel, slower": Architecture(
        "dss", 18, 2, 23, shared_modes=True, feedthrough="diagonal", gate="channel", rank=5, front=(4, 2), downsample=2
    ),
    "gru": Architecture("gru", width=18, blocks=1, front=(7, 2), pooling="last"),
    "lstm": Architecture("lstm", width=10, blocks=1),
    "rnn of low rank": Architecture("rnn", width=22, blocks=1, rank=5, pooling="average"),
    "cnn": Architecture(
        "cnn", width=13, blocks=2, kernel=5, downsample=2, pooling="sliding", pooling_arguments={"window": 8, "hop": 4}
    ),
    "tcn": Architecture("tcn", width=9, blocks=3, kernel=3, front=(4, 2)),
}


def image_of(program, core, compiler):
    try:
        return targets.build(program, targets.CORES[core], compiler)
    except RuntimeError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("name", NETWORKS)
def test_within_5_percent_of_what_gcc_makes_of_a_network_for_a_cortex_m4(name):
    program = architecture_program(NETWORKS[name], (96, 5), 6)
    image_of(program, "m4", "gcc")
    found, true = model.predict(program, "m4"), counted.measure_on_cortex_m(program, "m4", "gcc")
    assert "gcc" in found.compiler and found.samples == true.samples
    assert found.instructions == pytest.approx(true.instructions, rel=0.05)
    assert found.likely_cycles == pytest.approx(true.likely_cycles, rel=0.05)
    assert found.flash_bytes == pytest.approx(true.flash_bytes, rel=0.05)
    assert found.constant_bytes == true.constant_bytes
    assert found.ram_bytes == true.ram_bytes


@pytest.mark.parametrize("core", ["m0", "m33"])
def test_within_5_percent_on_other_cores(core):
    program = architecture_program(NETWORKS["gru"], (96, 5), 6)
    image_of(program, core, "gcc")
    found, true = model.predict(program, core), counted.measure_on_cortex_m(program, core, "gcc")
    assert found.instructions == pytest.approx(true.instructions, rel=0.05)
    assert found.flash_bytes == pytest.approx(true.flash_bytes, rel=0.05)


def shared_modes(width, modes, feedthrough):
    """A block around a bank of modes, of which some are fed back."""
    with own_weights():
        inputs = keras.Input((64, 5))
        hidden = keras.layers.Dense(width)(inputs)
        mixed = keras.layers.Activation("gelu")(DiagonalSSM(width, modes, feedthrough)(hidden))
        pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Add()([hidden, mixed]))
        model = keras.Model(inputs, keras.layers.Dense(6, activation="softmax")(pooled))
    program = program_of(model)
    (step,) = (operation for operation in program.operations if isinstance(operation, ModalStep))
    assert 0 < step.feedback < modes
    return program


def four_bits(**sizes):
    """S4 blocks whose gates have weights of 4 bits."""
    with own_weights():
        model = build(Architecture("dss", **sizes), (96, 5), 6)
    return program_of(model, weights="int4")


OTHERS = {
    "shared modes": lambda: shared_modes(20, 13, "full"),
    "more shared modes": lambda: shared_modes(9, 37, None),
    "4 bits": lambda: four_bits(width=20, blocks=2, states=3),
    "4 bits, rows of no whole words": lambda: four_bits(width=14, blocks=1, states=4, front=(6, 3)),
}


@pytest.mark.parametrize("core", ["m4", "m0", "m33"])
@pytest.mark.parametrize("name", OTHERS)
def test_within_5_percent_with_shared_modes_and_with_4_bits(name, core):
    program = OTHERS[name]()
    image_of(program, core, "gcc")
    found, true = model.predict(program, core), counted.measure_on_cortex_m(program, core, "gcc")
    worst = max(0.05, model.coefficients()["cores"][core]["errors"]["networks of six kinds"][1])
    assert found.instructions == pytest.approx(true.instructions, rel=0.05)
    assert found.likely_cycles == pytest.approx(true.likely_cycles, rel=0.05 if core == "m4" else worst)
    assert found.flash_bytes == pytest.approx(true.flash_bytes, rel=0.05)
    assert found.constant_bytes == true.constant_bytes
    assert found.ram_bytes == true.ram_bytes


def test_bytes_are_those_of_clangs_image_but_for_structs_that_it_takes_apart():
    program = programs.model(lowered=True)
    image = image_of(program, "m4", "zig")
    found = model.predict(program, "m4")
    assert found.ram_bytes == image.state_bytes
    structs = features.count_parameters(features.source_of(program), "m4")
    assert 0 < structs < found.constant_bytes / 8
    assert found.constant_bytes - structs <= image.constant_bytes <= found.constant_bytes


def kernel_alone(kind, inputs, outputs):
    """A program of one call of a kernel."""
    b = Builder(inputs, lowered=True)
    if kind == "shared modes":
        x = b.activation(2 * inputs, "int16", 2.0**-6, 0, "x")
        return b.program(x, b.modal_step(x, limit=2**30, feedback=outputs % inputs))
    x = b.activation(inputs, "int8" if kind in ("int8", "int4") else "int16", 2.0**-6, 0, "x")
    if kind == "modes fed back":
        return b.program(x, b.diagonal_step(x, outputs // 3, feedback=True))
    return b.program(x, b.fully_connected(x, outputs, weights="int4" if kind == "int4" else "int8"))


@pytest.mark.parametrize("kind", ["int8", "int4", "int16", "modes fed back", "shared modes"])
def test_the_parts_of_a_kernel_explain_what_it_takes_whatever_the_size(kind):
    """Instructions of the kernel alone on a Cortex-M4, as a sum over its parts: fitted to some sizes, for others."""
    rows, values = [], []
    for inputs, outputs in ((4, 8), (9, 6), (14, 21), (23, 12), (32, 40), (7, 30), (19, 9), (27, 33)):
        program = kernel_alone(kind, inputs, outputs)
        parts = features.count_work(c_source(program, "model"), "m4")
        image = image_of(program, "m4", "gcc")
        functions = targets.run(image, targets.from_reset(program, 1, 2).inputs).functions
        (kernel,) = (name for name in functions if name.startswith(("s4_dense", "s4_diagonal", "s4_modal")))
        rows.append({part: count for part, count in parts.items() if part.startswith(f"{kernel}, ")})
        values.append(functions[kernel])
    fitted = model.fit(rows[:6], values[:6], lambda name: 5.0, trust=1e-9)
    for row, value in zip(rows[6:], values[6:], strict=True):
        assert sum(fitted[part] * count for part, count in row.items()) == pytest.approx(value, rel=0.02)


LAYER = "static const s4_dense a_layer = {\n    w, /* weights */\n    %dU, /* inputs */\n    %dU, /* outputs */\n};\n"


@pytest.mark.parametrize(
    ("inputs", "outputs", "form", "expected"),
    [
        (10, 9, PLAIN, {"calls": 1, "groups": 3, "groups x 1 inputs": 30}),
        (10, 9, DSP, {"calls": 1, "groups": 3, "groups x 4 inputs": 6, "groups x rest": 6}),
        (10, 9, HELIUM, {"calls": 1, "groups": 3, "groups x 8 inputs": 3, "groups x rest": 3}),
        (16, 4, HELIUM, {"calls": 1, "groups": 1, "groups x 8 inputs": 2}),
    ],
)
def test_rows_of_four_and_inputs_of_a_vector(inputs, outputs, form, expected):
    layers = read_layers(LAYER % (inputs, outputs))
    found = kernel_work("s4_dense_int16(&a_layer, x, y)", layers, form)
    assert found == {f"s4_dense_int16, {part}": count for part, count in expected.items()}


def test_modes_of_two_kinds_on_every_form():
    # Two channels of three modes: the last one of the first channel is fed back, one of the second has 17 bits.
    modes = ["-5, 1, 2, S4_LAST_PLAIN", "-5, 1, 2, 0", "-5, 1, 2, S4_LAST + S4_FED_BACK"]
    modes += ["-5, 1, 2, S4_LAST_PLAIN", "-40000, 1, 2, 0", "-5, 1, 2, S4_LAST"]
    rows = ",\n".join(f"    S4_MODE(7, 8, {mode})" for mode in modes)
    source = f"static const int32_t m[24] = {{\n{rows},\n}};\nstatic const s4_diagonal a = {{\n    m, /* constants */\n"
    source += "    2U, /* channels */\n    3U, /* modes */\n};\n"
    call = "s4_diagonal_step_fed_back(&a, state->s, x, sums)"
    found = {form: kernel_work(call, read_layers(source), form) for form in (PLAIN, DSP, HELIUM)}
    parts = {form: {name.split(", ")[1]: count for name, count in work.items()} for form, work in found.items()}
    assert parts[PLAIN] == {"calls": 1, "channels": 2, "modes": 6, "modes fed back": 1}
    assert parts[DSP] == {
        "calls": 1,
        "channels": 2,
        "modes": 3,
        "modes behind": 3,
        "modes with 17 bits": 1,
        "modes fed back": 1,
        "channels of two kinds": 2,
    }
    assert parts[HELIUM] == {"calls": 1, "channels": 2, "channels with a rest": 2, "modes": 6, "modes fed back": 1}


def test_work_is_counted_the_same_whatever_the_weights():
    rows = []
    for seed in (0, 1):
        program = programs.model(seed, lowered=True)
        rows.append(features.count_work(features.source_of(program), "m4"))
    kinds = [{name for name in row if "dense" in name} for row in rows]
    assert kinds[0] == kinds[1] and np.isclose(rows[0]["run"], rows[1]["run"])
