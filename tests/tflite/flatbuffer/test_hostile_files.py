"""Damaged and malicious files of every kind, each in a process of its own, and files that are not ours."""

import dataclasses

import flatbuffers
import numpy as np
import pytest
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4.testing.file_mutations import change_number, mend_checksum, places_of, put, records_of, take
from keras_s4.testing.hostile_files import COMPUTED, REFUSED, mutate_file, outcome_of, try_mutations
from keras_s4.testing.programs import model, single
from keras_s4.tflite import runtimes
from keras_s4.tflite.flatbuffer import check_tflite, to_tflite
from keras_s4.tflite.flatbuffer.tables import root_of
from keras_s4.tflite.flatbuffer.writer import DESCRIPTION, Quantization, SubgraphRecord, TensorRecord, serialize
from keras_s4.tflite.runtimes import TflmRunner

MUTATIONS = 60


@pytest.fixture(scope="module")
def sound():
    """A file of each kind."""
    program = model(channels=4, modes=2, lowered=True)
    kinds = ["normalize", "embed", "interpolate", "window_int16", "squash", "concatenate", "state_int16"]
    files = {kind: to_tflite(single(kind, lowered=True)) for kind in kinds}
    files |= {"inputs": to_tflite(program), "variables": to_tflite(program, "variables")}
    bank = single("modal_step_fed_back", lowered=True)
    customs = {"custom": program, "custom, shared modes": bank}
    return files | {name: to_tflite(each, "inputs", "custom") for name, each in customs.items()}


def test_sound_files_are_computed(sound):
    assert {name: outcome_of(data) for name, data in sound.items()} == {
        name: REFUSED if name.startswith("custom") else COMPUTED for name in sound
    }


def test_mutations_are_refused_or_computed(sound):
    """Many more of them: `scripts/soak/files.py`."""
    found = try_mutations(sound, list(range(MUTATIONS)))
    assert [row for row in found if row[-1] not in (REFUSED, COMPUTED)] == []
    assert sum(row[-1] == REFUSED for row in found) > MUTATIONS // 4


def test_unchecked_some_of_them_end_the_process(sound, monkeypatch):
    """Which shows what the check is for, and that such an end would be seen."""
    outcome, seeds = "", iter(range(200))
    while outcome not in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE"):
        seed = next(seeds, None)
        assert seed is not None, "no mutation ends the process"
        name, _, data = mutate_file(sound, seed)
        if name.startswith("custom"):
            continue
        summary = check_tflite(sound[name])
        monkeypatch.setattr(runtimes, "check_tflite", lambda data, summary=summary: summary)
        outcome = outcome_of(data, patience=2)


def test_mutations_are_the_same_each_time(sound):
    assert mutate_file(sound, 7) == mutate_file(sound, 7)


class TestOutcome:
    """What must not happen would be seen."""

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (lambda data: __import__("os").abort(), "SIGABRT"),
            (lambda data: __import__("ctypes").string_at(0), "SIGSEGV"),
            (lambda data: __import__("time").sleep(60), "hangs"),
            (lambda data: __import__("os")._exit(3), "ended with status 3"),
            (lambda data: [][0], "IndexError: list index out of range"),
            (lambda data: bytes(2**40), "MemoryError: "),
        ],
    )
    def test_is_told(self, monkeypatch, body, expected):
        monkeypatch.setattr("keras_s4.tflite.runtimes.TflmRunner", body)
        assert outcome_of(b"", patience=1) == expected


def test_every_number_of_the_structure_may_be_anything(sound):
    """Offsets, lengths, indices, shapes, types and options, one after the other, each to several values."""
    random = np.random.default_rng(0)
    data = sound["window_int16"]
    refused = 0
    for kind, places in places_of(data).items():
        for place, size in places:
            altered = mend_checksum(put(data, place, size, change_number(take(data, place, size), random)))
            try:
                check_tflite(altered)
            except ValueError as error:
                refused += 1
                assert "damaged .tflite: " in str(error), kind
    assert refused > 200


@pytest.mark.parametrize("name", ["variables", "custom"])
def test_no_table_may_lack_fields_that_runtimes_read(sound, name):
    """Any field of any table, or all from it on, as if they had never been written: refused, or computed without."""
    data, refused, found = sound[name], 0, []
    for place, _ in sorted(set(places_of(data)["layout"])):
        for size in (0, 4, 6):
            altered = mend_checksum(put(data, place, 2, size))
            try:
                check_tflite(altered)
                found.append(outcome_of(altered))
            except ValueError:
                refused += 1
    assert found and set(found) <= {REFUSED, COMPUTED}
    assert refused > len(found)


@pytest.mark.parametrize("slot", range(4))
def test_lists_of_a_subgraph_are_there_though_empty(slot):
    empty = serialize([SubgraphRecord([], [], (), ())], [b""])
    assert check_tflite(empty).operators == ()
    (graph,) = root_of(empty, "model").tables(2, "subgraph")
    layout = graph.place - take(empty, graph.place, 4)
    data = mend_checksum(put(empty, layout + 4 + 2 * slot, 2, 0))
    assert f"a subgraph has no field {slot}" in refusal(data)
    assert outcome_of(data) == REFUSED


def refusal(data):
    with pytest.raises(ValueError) as caught:
        check_tflite(data)
    with pytest.raises(ValueError, match=r"not a|damaged"):
        TflmRunner(data)
    return str(caught.value)


class TestRefusals:
    """Sound flatbuffers, with the right checksum, that no runtime must see."""

    def file(self, program, change):
        """The file with a change of its records, and of its buffers."""
        summary = check_tflite(to_tflite(program))
        buffers = [b""]
        graph = records_of(summary, buffers)
        return serialize([change(graph, buffers) or graph], buffers)

    def tensors(self, change, kind="lookup"):
        """The file with other tensors."""

        def changed(graph, buffers):
            return dataclasses.replace(
                graph, tensors=[change(record, index) for index, record in enumerate(graph.tensors)]
            )

        return refusal(self.file(single(kind, lowered=True), changed))

    def test_unchanged_files_are_read(self):
        assert check_tflite(self.file(single("lookup"), lambda graph, buffers: None)).operators

    @pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
    def test_scales(self, scale):
        message = self.tensors(
            lambda r, _: dataclasses.replace(r, quantization=r.quantization and Quantization((scale,)))
        )
        assert f"has the scale {scale}" in message

    def test_zero_points(self):
        message = self.tensors(
            lambda r, _: dataclasses.replace(r, quantization=r.quantization and Quantization((1.0,), 128))
        )
        assert "int8, has the zero point 128" in message

    def test_several_scales_along_no_axis(self):
        message = self.tensors(
            lambda r, _: dataclasses.replace(r, quantization=r.quantization and Quantization((1.0, 1.0), 0, 7))
        )
        assert "field 2 of a quantization has 2 entries; expected 1 at most" in message

    @pytest.mark.parametrize("shape", [(0,), (-1,), (2**31 - 1,) * 6, (1, 2**30), (1,) * 7, (46341, 46341)])
    def test_shapes(self, shape):
        assert "damaged .tflite: " in self.tensors(lambda r, _: r if r.buffer else dataclasses.replace(r, shape=shape))

    def test_constants_of_another_size(self):
        message = self.tensors(lambda r, _: dataclasses.replace(r, shape=(3,)) if r.buffer else r)
        # Which one is the first depends on the operators.
        assert "of shape [3], has a constant of " in message

    def test_small_files_that_would_take_much_memory(self):
        """Thousands of tensors that share thousands of scales."""
        many = Quantization((1.0,) * 3000)
        graph = dataclasses.replace(
            records_of(check_tflite(to_tflite(single("lookup"))), [b""]),
            tensors=[TensorRecord((3000,), "int8", many, 0, "")] * 3000,
        )
        data = serialize([graph], [b""])
        assert len(data) < 200_000
        assert "more than 4194304 scales" in refusal(data)

    def test_resources_with_bytes(self):
        assert "resource" in self.tensors(lambda r, _: dataclasses.replace(r, type="resource") if r.buffer else r)

    @pytest.mark.parametrize("end", ["inputs", "outputs"])
    def test_constants_as_ends(self, end):
        def constant(graph, buffers):
            index = next(index for index, record in enumerate(graph.tensors) if record.buffer)
            return dataclasses.replace(graph, **{end: (*getattr(graph, end), index)})

        assert "is an input or output; expected" in refusal(self.file(single("lookup"), constant))

    def test_ends_twice(self):
        twice = lambda graph, buffers: dataclasses.replace(graph, outputs=graph.outputs * 2)  # noqa: E731
        assert "an input or output twice" in refusal(self.file(single("lookup"), twice))

    @pytest.mark.parametrize(
        ("word", "value", "message"),
        [
            (0, 1, "options of version 1"),
            (1, 9, "of 9 inputs, 1 states"),
            (2, -1, "of 1 inputs, -1 states"),
            (3, 16, "16 outputs"),
            (4, 4, "leaves a memory of 4 bytes"),
            (4, -1, "has -1 bytes of scratch memory"),
        ],
    )
    def test_options_of_the_custom_operator(self, sound, word, value, message):
        buffers = [b""]
        graph = records_of(check_tflite(sound["custom"]), buffers)
        index = next(i for i, operator in enumerate(graph.operators) if operator.custom_options)
        words = np.frombuffer(graph.operators[index].custom_options, np.int32).copy()
        words[word] = value
        graph.operators[index] = dataclasses.replace(graph.operators[index], custom_options=words.tobytes())
        assert message in refusal(serialize([graph], buffers))

    def test_constants_of_the_custom_operator(self, sound):
        buffers = [b""]
        graph = records_of(check_tflite(sound["custom"]), buffers)
        operator = next(operator for operator in graph.operators if operator.custom_options)
        code, constants = (graph.tensors[index].buffer for index in operator.inputs[-2:])
        for place, value, message in [
            (constants, b"\xff", "channels that end elsewhere"),
            (code, b"\xff", "unknown code -1"),
            (code, b"\x09\0\0\0", "has numbers that its kernel does not know"),
        ]:
            changed = list(buffers)
            changed[place] = value * (len(buffers[place]) // len(value))
            assert message in refusal(serialize([graph], changed))

    def test_options_of_another_operator(self, sound):
        data = sound["embed"]
        places = places_of(data)["options' type"]
        assert places
        for place, size in places:
            assert "has options of another operator" in refusal(mend_checksum(put(data, place, size, 99)))

    def test_indices_outside_their_table(self):
        """Computed ones: a runtime finds them at the step, and says so without an end of the process."""

        def further(graph, buffers):
            for record in graph.tensors:
                if record.type == "int32" and record.buffer:
                    buffers[record.buffer] = (10**6).to_bytes(4, "little") * (len(buffers[record.buffer]) // 4)
            return graph

        data = self.file(single("lookup"), further)
        assert outcome_of(data) == REFUSED
        runner = TflmRunner(data)
        with pytest.raises(ValueError, match=r"cannot compute this step .*; is a token number outside its table?"):
            runner.step(np.zeros(runner.summary.tensors[runner.summary.inputs[0]].shape[1:], np.int8))

    def test_fields_that_are_not_ours(self):
        """Metadata, which a runtime would read: in our table of the model, where there is no such field."""
        data = to_tflite(single("lookup"))
        theirs = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        theirs.metadata = [schema.MetadataT()]
        theirs.metadata[0].name, theirs.metadata[0].buffer = "OfflineMemoryAllocation", 0
        assert "a model has a field 6, which keras-s4 does not write" in refusal(mend_checksum(packed(theirs)))


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def foreign(type=schema.TensorType.FLOAT32) -> schema.ModelT:
    """A model of one operator, as other converters write."""
    theirs = schema.ModelT()
    theirs.version, theirs.description = 3, "MLIR Converted."
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    theirs.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors = []
    for name in "xy":
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 4], type, 0
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    theirs.subgraphs = [graph]
    theirs.buffers = [schema.BufferT()]
    return theirs


class TestForeignFiles:
    @pytest.mark.parametrize(
        "description", ["MLIR Converted.", "TOCO Converted.", None, "", "keras", "°" * 11, "x" * 23]
    )
    def test_sound_ones_are_named(self, description):
        theirs = foreign()
        theirs.description = description
        message = refusal(packed(theirs))
        assert message.startswith("not a .tflite of keras-s4: it is sound, but another converter wrote it (")
        assert "1 operators on tensors of float32" in message
        assert "keras_s4.tflite.convert" in message and "damaged" not in message

    def test_other_types_are_named(self):
        assert "tensors of int8)" in refusal(packed(foreign(schema.TensorType.INT8)))
        assert "tensors of type 5)" in refusal(packed(foreign(schema.TensorType.STRING)))

    def test_damaged_ones_are_damaged(self):
        data = packed(foreign())
        for length in range(8, len(data) - 4):
            message = refusal(data[:length])
            assert message.startswith(("damaged .tflite: ", "not a .tflite of keras-s4: "))
        assert sum(refusal(data[:length]).startswith("damaged") for length in range(0, len(data), 8)) > len(data) // 16

    def test_ours_with_a_damaged_description_is_not_foreign(self):
        data = to_tflite(single("lookup"))
        start = data.index(DESCRIPTION.encode())
        for place in range(start, start + len(DESCRIPTION)):
            altered = bytearray(data)
            altered[place] ^= 0x10
            assert refusal(bytes(altered)).startswith("damaged .tflite: ")

    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"PK\x03\x04" + bytes(60), "a zip archive, such as a .keras or .npz file"),
            (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file"),
            (b"\x93NUMPY\x01" + bytes(60), "a .npy file"),
            (b'{"name": "model"}', "a JSON file"),
        ],
    )
    def test_other_kinds_of_files(self, data, what):
        message = refusal(data)
        assert message.startswith("not a .tflite: ") and what in message

    @pytest.mark.parametrize("data", ["model.tflite", None, 3, [1, 2]])
    def test_what_is_no_file(self, data):
        with pytest.raises(TypeError, match=f"Received {type(data).__name__}; expected the bytes of a .tflite"):
            check_tflite(data)
