"""The C of a page, in WebAssembly: the integers of the emulator and of the decisions, for whatever it is given."""

import dataclasses
import functools

import numpy as np
import pytest
from node_runs import needs_node, run_in_node
from test_application_firmware import classifier, classifier_of_blocks, sequence_of_blocks, several, tokens
from web_models import ACCELERATION, DECISION, wearable

from keras_s4.decisions import Decision
from keras_s4.testing import programs
from keras_s4.tflite.application.decisions import decision_of
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.projects import Export
from keras_s4.tflite.application.sensors import sensor_inputs
from keras_s4.tflite.application.web import Words
from keras_s4.tflite.application.web.compiling import compile_wasm
from keras_s4.tflite.application.web.golden import integers_of_decisions
from keras_s4.tflite.application.web.page import facts_of_page, sources_of_page
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.program import limits

pytest.importorskip("ziglang")
pytestmark = needs_node

CHECK = """
import { decodeArray } from "./bytes.js";
import { Device } from "./device.js";
import { checkDevice } from "./selfcheck.js";
// run
const read = (part) => part && Object.fromEntries(Object.entries(part).map(
  ([key, value]) => [key, value?.data === undefined ? value : decodeArray(value)]));
const { model, application, decisions } = data.facts.golden;
const golden = { model: read(model), application: read(application), decisions: read(decisions) };
const device = await Device.load(data.facts.wasm, data.facts.sizes);
const first = checkDevice(device, golden);
golden[data.part][data.array][data.place] ^= 1;
return [first, checkDevice(device, golden)];
"""
STREAM = """
import { Device } from "./device.js";
// run
const device = await Device.load(data.facts.wasm, data.facts.sizes);
return data.streams.map((samples) => {
  device.start();
  const found = { at: [], results: [], decided: [], refused: 0 };
  samples.forEach((sample, i) => {
    device.sample.set(sample);
    if (!device.put()) return;
    found.at.push(i + 1);
    found.results.push([...device.results]);
    found.decided.push([...device.decided]);
  });
  found.refused = device.countRefused();
  return found;
});
"""


def export_of(program, length=None, decision=None, sensors=None):
    made = None if decision is None else decision_of(program, length, decision)
    known = None if sensors is None else sensor_inputs(program, sensors)
    return Export(program, {"window_length": length}, golden_vectors(program), "model", made, known)


def labelled():
    """Several inputs of different types, and labels from one of two outputs."""
    return several(), Decision(
        kind="labels", every=3, threshold=2.0, release=-1.0, output="activation_16", refractory=6
    )


def events():
    """Wake words, from blocks of three samples."""
    decision = Decision(kind="wake word", every=6, threshold=0.26, background=0, smoothing=2.0, settling=2)
    return sequence_of_blocks(), decision


CASES = {
    "windows": (lambda: (classifier(), None), 60),
    "windows of blocks": (lambda: (classifier_of_blocks(), None), 60),
    "labels": (labelled, None),
    "wake words": (events, None),
    "tokens": (lambda: (tokens(), None), None),
    "gates": (lambda: (programs.single("interpolate"), None), None),
}


@functools.cache
def exported(case):
    """The program of a case, its decision, and what its page holds; compiled once."""
    (program, decision), length = CASES[case][0](), CASES[case][1]
    export = export_of(program, length, decision)
    return export, decision, length, facts_of_page(export, Words())


@pytest.mark.parametrize("case", CASES)
def test_a_page_finds_its_golden_vectors_and_each_integer_that_is_changed(tmp_path, case):
    export, decision, _, facts = exported(case)
    states = "states" if export.program.states else "outputs"
    part, array = ("decisions", "decided") if decision else ("model", states)
    data = {"facts": facts, "part": part, "array": array, "place": 0}
    first, changed = run_in_node(tmp_path, CHECK, data)
    golden = export.golden
    counted = sum(array.size for array in golden.outputs) + sum(array[:, -1].size for array in golden.states)
    assert first["differing"] == 0 and first["integers"] > counted
    assert changed["differing"] == 1 and "instead of" in changed["first"]


def hostile_streams(program, steps=240):
    """Raw integers of all features: ends of their range in turn, noise, and what no integer of the program is."""
    random = np.random.default_rng(0)
    columns = []
    for tensor in program.inputs:
        low, high = (limit - tensor.zero_point for limit in limits(program, tensor))
        size = int(np.prod(tensor.shape)) // program.steps
        ends = np.resize([low] * 5 + [high] * 5 + [low, high] * 5, steps)[:, None].repeat(size, axis=1)
        noise = random.integers(low, high, (steps, size), endpoint=True)
        beyond = noise if tensor.type == "int32" else random.integers(-(2**31), 2**31, (steps, size))
        columns.append([ends, noise, beyond])
    return [np.concatenate(each, axis=1) for each in zip(*columns, strict=True)]


def results_of(program, raw, window):
    """What the emulator makes of a stream of raw integers, `[invokes, outputs]`; of windows after each reset."""
    inputs, start = [], 0
    steps = window or len(raw)
    for tensor in program.inputs:
        size = int(np.prod(tensor.shape)) // program.steps
        low, high = limits(program, tensor)
        values = np.clip(raw[:, start : start + size].astype(np.int64) + tensor.zero_point, low, high)
        streams = values.astype(tensor.type).reshape(-1, steps // program.steps, *tensor.shape)
        inputs.append(streams)
        start += size
    outputs = Emulator(program).trace(inputs, record=[]).outputs
    outputs = [array[:, -1:] if window else array for array in outputs]
    return [array.reshape(-1, *tensor.shape) for array, tensor in zip(outputs, program.outputs, strict=True)]


@pytest.mark.parametrize("case", [case for case in CASES if case != "gates"])
def test_hostile_samples_give_the_integers_of_the_emulator(tmp_path, case):
    export, decision, length, facts = exported(case)
    program = export.program
    streams = hostile_streams(program)
    found = run_in_node(tmp_path, STREAM, {"facts": facts, "streams": [each.tolist() for each in streams]})
    for raw, page in zip(streams, found, strict=True):
        outputs = results_of(program, raw, length)
        every = (decision.every if decision else program.steps) // program.steps
        used = [array[every - 1 :: every] for array in outputs]
        expected = np.concatenate([array.reshape(len(array), -1) for array in used], axis=1)
        np.testing.assert_array_equal(page["results"], expected)
        assert page["at"] == [(i + 1) * (length or every * program.steps) for i in range(len(expected))]
        if decision:
            made = export.decision
            decided = made.decider.run(made.scores_of(used[made.place]))
            np.testing.assert_array_equal(page["decided"], integers_of_decisions(decided))


def test_a_refused_token_starts_the_stream_afresh(tmp_path):
    facts = exported("tokens")[-1]
    words = np.random.default_rng(0).integers(0, 6, (20, 1))
    raw = np.concatenate([words[:7], [[6]], words[7:]])
    (found,) = run_in_node(tmp_path, STREAM, {"facts": facts, "streams": [raw.tolist()]})
    assert found["refused"] == 1
    expected = np.concatenate([results_of(tokens(), part, None)[0] for part in (words[:7], words[7:])])
    np.testing.assert_array_equal(found["results"], expected)


def test_integers_of_sensors_become_the_decisions_of_python(tmp_path):
    converted = wearable()
    program = converted.program
    made = decision_of(program, converted.length, DECISION)
    export = dataclasses.replace(export_of(program, None, None, ACCELERATION), decision=made)
    random = np.random.default_rng(3)
    raw = np.concatenate([random.integers(-(2**15), 2**15, (300, 3)), random.integers(-(2**31), 2**31, (60, 3))])
    facts = facts_of_page(export, Words())
    (found,) = run_in_node(tmp_path, STREAM, {"facts": facts, "streams": [raw.tolist()]})
    integers = converted.quantize_raw(raw[None], ACCELERATION)
    outputs = converted.decider(DECISION).every(Emulator(program).run(integers))[0]
    np.testing.assert_array_equal(found["results"], outputs)
    np.testing.assert_array_equal(found["decided"], integers_of_decisions(converted.decider(DECISION).run(outputs)))


def test_the_same_sources_give_the_same_module():
    sources = sources_of_page(export_of(tokens()))
    assert compile_wasm(sources) == compile_wasm(dict(reversed(sources.items())))
