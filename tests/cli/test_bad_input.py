"""What commands are given that is no model, no data, or no place for a result: one message, before the work."""

import json
import pickle
import re
import zipfile

import keras
import numpy as np
import pytest

from keras_s4.cli.actions import convert, reduce, spectrum, tune


def refusal(result):
    """The message of a command that refused what it was given."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    (message,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return message


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path, parts):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.fixture(scope="module")
def content(model_file):
    return model_file.read_bytes()


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("m.keras", lambda content: content[: len(content) // 2], r"it is cut off after .* bytes"),
        ("m.keras", lambda content: b"", "it is empty"),
        ("m.keras", lambda content: bytes(500), "nothing but zeros"),
        ("m.keras", lambda content: pickle.dumps({"weights": 1}), "it is a Python pickle, which is not read"),
        ("m.pkl", lambda content: pickle.dumps({"weights": 1}), "it is a Python pickle, which is not read"),
        ("m.zip", lambda content: content, r"does not end in \.keras. Rename it"),
        ("m.keras", lambda content: b"\x1c\x00\x00\x00TFL3" + bytes(9), "which is converted already"),
        ("m.keras", lambda content: b"\x89HDF\r\n\x1a\n" + bytes(99), r"HDF5 file, .* Rename it to m\.h5"),
        ("m.keras", lambda content: b"print('hello')", "it is a text file"),
    ],
)
def test_files_that_are_no_model_are_called_what_they_are(call, tmp_path, content, name, make, message):
    (tmp_path / name).write_bytes(make(content))
    found = refusal(call("spectrum", tmp_path / name))
    assert re.search(message, found), found
    assert "unsafe" not in found
    assert "not found" not in found


@pytest.mark.parametrize(
    ("part", "replacement", "message"),
    [
        ("config.json", b"[]", "its config.json describes no model"),
        ("config.json", b"{", "its config.json describes no model"),
        ("config.json", b'{"module": "keras", "class_name": "Nope", "config": {}}', "keras.Nope"),
        ("model.weights.h5", b"", "m.keras"),
    ],
)
def test_models_with_damaged_parts(call, tmp_path, model_file, part, replacement, message):
    zipped(tmp_path / "m.keras", parts_of(model_file) | {part: replacement})
    assert message in refusal(call("spectrum", tmp_path / "m.keras"))


def test_a_flipped_byte_of_a_model_is_found(call, tmp_path, content):
    damaged = bytearray(content)
    damaged[content.index(b"model.weights.h5") + 3000] ^= 0xFF
    (tmp_path / "m.keras").write_bytes(damaged)
    assert "m.keras is damaged: Bad CRC-32" in refusal(call("spectrum", tmp_path / "m.keras"))


def test_a_layer_of_the_users_own_is_named(call, tmp_path):
    @keras.saving.register_keras_serializable("tests_cli")
    class Doubling(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    keras.Sequential([keras.Input((20, 3)), Doubling(), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    keras.saving.get_custom_objects().pop("tests_cli>Doubling")
    message = refusal(call("spectrum", tmp_path / "m.keras"))
    assert "'Doubling'" in message
    assert "@keras.saving.register_keras_serializable()" in message
    assert len(message) < 500


def test_a_lambda_is_refused_without_bad_advice(call, tmp_path):
    keras.Sequential([keras.Input((20, 3)), keras.layers.Lambda(lambda x: 2 * x)]).save(tmp_path / "m.keras")
    message = refusal(call("spectrum", tmp_path / "m.keras"))
    assert "Lambda layer" in message
    assert "unsafe" not in message
    assert "safe_mode" not in message


def test_a_loss_of_the_users_own_is_left_out_with_a_warning(call, tmp_path):
    @keras.saving.register_keras_serializable("tests_cli")
    def my_loss(wanted, found):
        return keras.ops.mean(wanted - found)

    model = keras.Sequential([keras.Input((20, 3)), keras.layers.Dense(2)])
    model.compile("adam", my_loss)
    model.save(tmp_path / "m.keras")
    keras.saving.get_custom_objects().pop("tests_cli>my_loss")
    result = call("spectrum", tmp_path / "m.keras", "--kind", "matrix")
    assert result.exit_code == 0, result.output
    assert "Warning: " in result.output
    assert "my_loss" in result.output


def test_weights_alone_are_no_model(call, tmp_path):
    keras.Sequential([keras.Input((20, 3)), keras.layers.Dense(2)]).save_weights(tmp_path / "m.weights.h5")
    assert "holds weights alone" in refusal(call("spectrum", tmp_path / "m.weights.h5"))


def test_a_folder_is_no_file(call, tmp_path, model_file):
    assert "is a folder; give a file" in refusal(call("spectrum", tmp_path))
    assert "is a folder; give a file" in refusal(call("spectrum", model_file, "--data", tmp_path))


WINDOWS = np.random.default_rng(0).normal(size=(12, 20, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.array([[1], [1, 2]], dtype=object)},
            "holds Python objects, .* Cut or pad the sequences to one length",
        ),
        ({"x": np.where(WINDOWS > 2, np.nan, WINDOWS)}, r"has nan in x at \[\d+, \d+, \d\]; expected finite numbers"),
        ({"x": WINDOWS / np.float32(0)}, "has -?inf in x"),
        ({"x": np.array(["a", "b"])}, "expected real numbers"),
        ({"x": 1j * WINDOWS}, "has complex64 in x; expected real numbers"),
        ({"x": WINDOWS[:0]}, r"has x of shape \[0, 20, 3\]; expected sequences"),
        ({"x": np.float32(3)}, r"has x of shape \[\]; expected sequences"),
        ({"X": WINDOWS}, "has no array x; it has X"),
        ({}, "no"),
    ],
)
def test_arrays_that_are_no_windows(call, tmp_path, model_file, arrays, message):
    with np.errstate(divide="ignore", invalid="ignore"):
        np.savez(tmp_path / "data.npz", **arrays)
    assert re.search(message, refusal(call("spectrum", model_file, "--data", tmp_path / "data.npz")))


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_data(call, tmp_path, model_file, compressed):
    path = tmp_path / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=WINDOWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "it is cut off after" in refusal(call("spectrum", model_file, "--data", path))
    flipped = bytearray(whole)
    flipped[300] ^= 0xFF
    path.write_bytes(flipped)
    assert "data.npz is damaged" in refusal(call("spectrum", model_file, "--data", path))


def test_one_array_alone_is_taken_for_the_windows(call, tmp_path, model_file, data_file):
    with np.load(data_file) as data:
        np.save(tmp_path / "x.npy", data["x"])
    alone = call("spectrum", model_file, "--data", tmp_path / "x.npy")
    assert alone.exit_code == 0, alone.output
    assert alone.output == call("spectrum", model_file, "--data", data_file).output
    found = refusal(call("tune", model_file, tmp_path / "x.npy", tmp_path / "out"))
    assert "single array; x_validation, y_validation are needed" in found


@pytest.mark.parametrize(("name", "text"), [("x.csv", "1,2,3\n"), ("x.txt", "1 2 3"), ("x.json", "[1, 2]")])
def test_text_is_told_how_to_become_data(call, tmp_path, model_file, name, text):
    (tmp_path / name).write_text(text)
    found = refusal(call("spectrum", model_file, "--data", tmp_path / name))
    assert "it is a text file. Write one with numpy.savez('NAME.npz', x=...)" in found


def test_labels_of_another_number_are_refused(call, tmp_path, model_file):
    np.savez(tmp_path / "data.npz", x=WINDOWS, y=np.zeros(3, int))
    found = refusal(call("convert", model_file, "--data", tmp_path / "data.npz", "--verify", tmp_path / "data.npz"))
    assert "12 sequences in x and 3 labels in y" in found


@pytest.fixture
def no_work(monkeypatch):
    """Fails where a model is loaded."""
    for action in (convert, reduce, spectrum, tune):
        monkeypatch.setattr(action, "load_model", lambda path: pytest.fail("the work began"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reduce", "MODEL", "MODEL", "--rank", 2), "the reduced model and the model are the same file"),
        (("reduce", "MODEL", "link.keras", "--rank", 2), "are the same file"),
        (("reduce", "MODEL", "s.keras", "--rank", 2, "--json", "s.keras"), "--json and the reduced model are the same"),
        (
            ("reduce", "MODEL", "s.keras", "--rank", 2, "--figure", "f.xyz"),
            "--figure is .*f.xyz; give a name that ends in",
        ),
        (("reduce", "MODEL", "s.h5", "--rank", 2), "ends in .keras"),
        (("reduce", "MODEL", "s.keras", "--rank", 2, "--json", "folder"), "--json is .*folder, which is a folder"),
        (("reduce", "MODEL", "file/s.keras", "--rank", 2), "cannot be written: .*file is a file"),
        (("reduce", "MODEL", "s.keras", "--fraction", "nan"), "--fraction is nan"),
        (("reduce", "MODEL", "s.keras", "--energy", "inf"), "--energy is inf"),
        (("spectrum", "MODEL", "--json", "MODEL"), "--json and the model are the same file"),
        (("spectrum", "MODEL", "--data", "DATA", "--json", "DATA"), "--json and --data are the same file"),
        (("spectrum", "MODEL", "--figure", "f.doc"), "f.doc; give a name that ends in"),
        (("spectrum", "MODEL", "--figure", "/proc/f.svg"), "--figure cannot be written: /proc: "),
        (("convert", "MODEL", "--data", "DATA", "--out", "file"), "--out is .*file, which is a file"),
        (("convert", "MODEL", "--data", "DATA", "--c", "file/c"), "--c cannot be written: .*file is a file"),
        (("convert", "MODEL", "--data", "DATA", "--out", "theirs"), "theirs holds Makefile, which no save has written"),
        (("convert", "MODEL", "--data", "DATA", "--c", "theirs"), "theirs holds model.c, which no save has written"),
        (("convert", "MODEL", "--data", "DATA", "--out", "fw", "--dss", "fused"), "dss='fused'"),
        (("tune", "MODEL", "DATA", "file"), "file is a file, where a folder should be"),
        (("tune", "MODEL", "DATA", "theirs"), "theirs holds model.keras, which no save has written"),
        (("tune", "MODEL", "DATA", "out", "--target", "nan"), "tune got nan"),
        (
            ("tune", "MODEL", "DATA", "out", "--by", "random", "--budget", "a=nan"),
            "expected NAME=NUMBER, a number above 0",
        ),
        (
            ("tune", "MODEL", "DATA", "out", "--by", "random", "--budget", "a=-1"),
            "expected NAME=NUMBER, a number above 0",
        ),
        (("tune", "MODEL", "DATA", "out", "--by", "grid", "--budget", "a=1", "--budget", "a=2"), "two budgets of a"),
        (("demo", "--out", "file"), "--out is .*file, which is a file"),
    ],
)
def test_places_and_numbers_are_refused_before_the_work(
    call, tmp_path, monkeypatch, no_work, model_file, data_file, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "theirs").mkdir()
    for name in ("Makefile", "model.c", "model.keras"):
        (tmp_path / "theirs" / name).write_bytes(b"mine")
    (tmp_path / "link.keras").symlink_to(model_file)
    before = {path: path.read_bytes() for path in (model_file, data_file, *(tmp_path / "theirs").iterdir())}
    names = {"MODEL": model_file, "DATA": data_file}
    found = refusal(call(*(names.get(argument, argument) for argument in arguments)))
    assert re.search(message, found), found
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file", "theirs", "link.keras"}


def test_the_tuned_model_does_not_replace_the_model(call, tmp_path, model_file, data_file, no_work):
    (tmp_path / "model.keras").write_bytes(model_file.read_bytes())
    found = refusal(call("tune", tmp_path / "model.keras", data_file, tmp_path))
    assert "are the same file" in found


def test_results_go_where_a_users_link_leads(call, tmp_path, model_file):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert call("spectrum", model_file, "--json", tmp_path / "link.json").exit_code == 0
    assert "block_1/dss" in json.loads((tmp_path / "real.json").read_text())
    assert (tmp_path / "link.json").is_symlink()
