"""Files that are made to do harm, or are damaged, are refused in one message, and nothing in them is run."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_s4.importers import readers
from keras_s4.importers.checkpoint import CheckpointError, flatten

CHECKPOINTS = Path(__file__).parent / "checkpoints"
SOUND = CHECKPOINTS / "s4d.pt"


def members(path=SOUND):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def with_pickle(path, content):
    sound = members()
    name = next(name for name in sound if name.endswith("data.pkl"))
    return write(path, sound | {name: content})


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_calls_a_program_is_refused_and_not_run(tmp_path):
    for protocol in (2, 4, 5):
        path = with_pickle(tmp_path / "harm.pt", pickle.dumps({"weight": Harm(tmp_path / "done")}, protocol))
        with pytest.raises(CheckpointError, match=r"(posix|nt)\.system"):
            readers.read(path)
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"c__builtin__\ngetattr\n.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nload\ntR.",
        b"(ibuiltins\neval\n.",  # INST
        b"\x80\x02c" + b"os\nsystem\n" + b"\x81.",
        b"\x80\x04\x82\x01.",  # a registered extension
        b"}(X\x01\x00\x00\x00a" * 3,
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",  # bytes of the length 2^63
        b"\x80\x02]q\x00(K\x01h\x05e.",
        b".",
        b"",
        b"]N\x85R.",
    ],
)
def test_pickles_of_other_instructions_are_refused(tmp_path, content):
    with pytest.raises(CheckpointError):
        readers.read(with_pickle(tmp_path / "odd.pt", content))


def test_numbers_of_numpy_beside_the_weights_do_no_harm(tmp_path):
    """As a best accuracy is stored; also with the weights of another storage around."""
    for protocol in (2, 4):
        content = pickle.dumps({"best": np.float64(0.9), "curve": np.arange(3.0)}, protocol)
        with pytest.raises(CheckpointError, match="holds no arrays"):
            readers.read(with_pickle(tmp_path / "a.pt", content))


def test_a_pickled_model_is_refused_with_the_way_out():
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        readers.read(CHECKPOINTS / "whole_object.pt")


def tensor_pickle(size, stride, offset=0, count=12, key="3", kind="FloatStorage"):
    """A state dictionary of one array, by hand."""

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(size) + numbers(stride)
    return b"\x80\x02}" + text("weight") + tensor + b"\x89}tRs."


def test_an_array_by_hand_is_read(tmp_path):
    """The sound one of those below: a part of a storage, by columns."""
    stored = np.frombuffer(members()["s4d/data/3"], "<f4")
    assert len(stored) == 12
    path = with_pickle(tmp_path / "a.pt", tensor_pickle((3, 2), (1, 3), 2, key="3"))
    weight = readers.read(path).arrays["weight"]
    np.testing.assert_array_equal(weight, np.stack([stored[2:5], stored[5:8]], axis=1))


@pytest.mark.parametrize(
    "described",
    [
        {"size": (13,), "stride": (1,)},
        {"size": (3, 4), "stride": (4, 4)},
        {"size": (2,), "stride": (1,), "offset": 11},
        {"size": (2,), "stride": (1,), "offset": -1},
        {"size": (-2,), "stride": (1,)},
        {"size": (2, 2), "stride": (-1, 1), "offset": 4},
        {"size": (2**31, 2**31), "stride": (0, 0)},
        {"size": (2**25,), "stride": (0,)},
        {"size": (2,), "stride": (1, 1)},
        {"size": (2,), "stride": (2**62,)},
        {"size": (2,), "stride": (1,), "count": 2**40},
        {"size": (2,), "stride": (1,), "count": -12},
        {"size": (2,), "stride": (1,), "key": "../../etc/passwd"},
        {"size": (2,), "stride": (1,), "key": "99"},
        {"size": (2,), "stride": (1,), "kind": "UntypedStorage"},
    ],
)
def test_arrays_that_reach_out_of_their_storage_are_refused(tmp_path, described):
    with pytest.raises(CheckpointError):
        readers.read(with_pickle(tmp_path / "a.pt", tensor_pickle(**described)))


def test_archives_that_are_bombs_or_have_paths_out_are_refused(tmp_path):
    sound = members()
    bomb = write(tmp_path / "bomb.pt", sound | {"s4d/data/0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError):
        readers.read(bomb)
    with pytest.raises(CheckpointError, match="out of the archive"):
        readers.read(write(tmp_path / "path.pt", sound | {"../../outside": b"x"}))
    with pytest.raises(CheckpointError, match="TorchScript"):
        readers.read(write(tmp_path / "script.pt", sound | {"s4d/constants.pkl": b"."}))
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "twice.pt", "w") as archive:
        for name in (*sound, next(iter(sound))):
            archive.writestr(name, sound[name])
    with pytest.raises(CheckpointError, match="two members"):
        readers.read(tmp_path / "twice.pt")


def test_a_file_that_ends_anywhere_is_refused(tmp_path):
    content = SOUND.read_bytes()
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            readers.read(tmp_path / "cut.pt")


@pytest.mark.parametrize("name", ["s4d.pt", "s4d_model_pre.ckpt", "dss_clip.safetensors", "annotated_s4d", "bare.npz"])
def test_flipped_bytes_are_refused_or_read(tmp_path, name):
    """No other error comes out, and nothing hangs."""
    if name == "bare.npz":
        np.savez(tmp_path / "sound.npz", poles=np.full((2, 3), 0.5), residues=np.ones((2, 3)))
        content = bytearray((tmp_path / "sound.npz").read_bytes())
    else:
        content = bytearray((CHECKPOINTS / name).read_bytes())
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), random.integers(1, 5)):
            damaged[place] = random.integers(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            readers.read(tmp_path / name)
        except CheckpointError:
            continue


def safetensors(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"{", b""),
        (b"[" * 100_000, b""),
        (b'{"a": 1, "a": 2}', b""),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, bytes(8)),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, bytes(8)),
        ({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, bytes(8)),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, bytes(8)),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, bytes(8)),
        ({"a": {"dtype": "O", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(8)),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}} | {"b": 3}, bytes(8)),
        ({}, b""),
    ],
)
def test_safetensors_with_wrong_headers_are_refused(tmp_path, header, body):
    with pytest.raises(CheckpointError):
        readers.read(safetensors(tmp_path / "a.safetensors", header, body))


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CheckpointError, match="header"):
        readers.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"\xdf\xff\xff\xff\xff",  # four billion entries
        b"\xdd\xff\xff\xff\xff\x01",
        b"\x91" * 200_000,
        b"\x81\xa1a\xc7\x0a\x01" + bytes(10),
        b"\x81\xa1a\xd4\x63\x00",  # an extension that nobody knows
        b"\x81\xa1a\x01",
        b"\x81\xa1\xff\x01",
        b"\xc1",
        b"\x80\x80",
    ],
)
def test_message_packs_with_wrong_lengths_are_refused(tmp_path, content):
    (tmp_path / "checkpoint_0").write_bytes(content)
    with pytest.raises(CheckpointError):
        readers.read(tmp_path / "checkpoint_0")


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", poles=np.array([Harm(tmp_path / "done")], dtype=object))
    with pytest.raises(CheckpointError, match="objects"):
        readers.read(tmp_path / "a.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (2**40,), "fortran_order": False, "descr": "<f8"})
    write(tmp_path / "b.npz", {"poles.npy": header.getvalue()})
    with pytest.raises(CheckpointError):
        readers.read(tmp_path / "b.npz")
    assert not (tmp_path / "done").exists()


def test_dictionaries_that_multiply_are_refused():
    """Ten entries a level, all the same dictionary: 10^20 leaves, or none at all."""
    for last in ({}, np.zeros(1)):
        tree = last
        for _ in range(20):
            tree = {str(number): tree for number in range(10)}
        with pytest.raises(CheckpointError):
            flatten(tree, "it")
    round_and_round = {}
    round_and_round["again"] = round_and_round
    with pytest.raises(CheckpointError):
        flatten(round_and_round, "it")


def test_numbers_that_are_none_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", poles=np.array([[np.nan]]))
    with pytest.raises(CheckpointError, match="NaN"):
        readers.read(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["none.pt", "text.pt", "old.pt", "empty"])
def test_what_is_no_checkpoint_is_refused(tmp_path, name):
    contents = {"text.pt": b"hello", "old.pt": pickle.dumps({"a": 1}), "empty": b""}
    if name in contents:
        (tmp_path / name).write_bytes(contents[name])
    with pytest.raises(CheckpointError, match=r"no checkpoint|damaged|bare pickle|empty"):
        readers.read(tmp_path / name)


def test_folders_that_are_no_checkpoint_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no Orbax"):
        readers.read(tmp_path)


def test_a_folder_of_several_steps_asks_for_one(tmp_path):
    for step in ("9", "10"):
        (tmp_path / step).mkdir()
    with pytest.raises(CheckpointError, match=r"steps 9, 10\. Give one: .*10"):
        readers.read(tmp_path)


def test_orbax_folders_with_paths_out_are_refused(tmp_path):
    pytest.importorskip("tensorstore")
    entry = {"key_metadata": [{"key": "../../etc"}], "value_metadata": {}}
    (tmp_path / "_METADATA").write_text(json.dumps({"tree_metadata": {"a": entry}}))
    with pytest.raises(CheckpointError, match="out of its folder"):
        readers.read(tmp_path)
    (tmp_path / "_METADATA").write_text("[")
    with pytest.raises(CheckpointError, match="damaged"):
        readers.read(tmp_path)


def test_orbax_folders_of_older_versions_are_read(tmp_path):
    """Arrays in folders beside a file of their names."""
    tensorstore = pytest.importorskip("tensorstore")
    kernel = np.arange(6.0, dtype="float32").reshape(2, 3)
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{tmp_path}/params.dense.kernel/"}}
    tensorstore.open(spec, create=True, dtype="float32", shape=kernel.shape).result().write(kernel).result()
    text = b"PLACEHOLDER://params.dense.kernel"
    packed = b"\x81\xa6params\x81\xa5dense\x81\xa6kernel\xd9" + bytes([len(text)]) + text
    (tmp_path / "checkpoint").write_bytes(packed)
    np.testing.assert_array_equal(readers.read(tmp_path).arrays["dense.kernel"], kernel)
