"""Files are whole or not there."""

import errno
import json
import math
import os
import signal
import stat
import tempfile

import pytest

from keras_s4.files import (
    json_bytes,
    read_object,
    replace_file,
    temporary_folder,
    write_bytes,
    write_folder,
    write_json,
)


@pytest.fixture
def full_disk(monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)


def test_writes_into_new_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "model.tflite"
    assert write_bytes(path, b"content") == path
    assert path.read_bytes() == b"content"
    assert os.listdir(path.parent) == ["model.tflite"]


def test_replaces_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_others_may_read_it_if_the_umask_lets_them(tmp_path):
    previous = os.umask(0o022)
    try:
        path = write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_full_disk_leaves_the_old_file(tmp_path, full_disk):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=r"Cannot write .*file: No space left on device") as caught:
        write_bytes(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    def interrupt(source, target):
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "folder").write_bytes(b"in the way")
    with pytest.raises(OSError, match=r"Cannot write .*model\.tflite: .*Choose a folder that you can write to"):
        write_bytes(tmp_path / "folder" / "model.tflite", b"new")
    assert (tmp_path / "folder").read_bytes() == b"in the way"


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="Cannot write"):
        write_bytes(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_of_files(tmp_path):
    contents = {"model.tflite": b"1", "c/model.c": b"2"}
    assert write_folder(tmp_path / "firmware", contents) == tmp_path / "firmware"
    assert {name: (tmp_path / "firmware" / name).read_bytes() for name in contents} == contents


def test_a_failure_removes_the_new_files_and_keeps_what_was_there(tmp_path):
    (tmp_path / "notes").write_bytes(b"mine")
    (tmp_path / "blocked").write_bytes(b"a file")
    with pytest.raises(OSError, match="Cannot write"):
        write_folder(tmp_path, {"first": b"1", "new/folder/second": b"2", "blocked/third": b"3"})
    assert sorted(os.listdir(tmp_path)) == ["blocked", "notes"]


def test_a_failure_in_the_middle_of_several_files_keeps_all_old_ones(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": b"old", "b": b"old"})

    synced = []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path, {"a": b"new", "b": b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old", "b": b"old"}


def test_what_a_killed_program_left_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    left = [tmp_path / f".file.{'0' * 32}.keras-s4", tmp_path / f".model.keras.{'1' * 32}.keras-s4.keras"]
    others = [tmp_path / ".gitignore", tmp_path / f".file.{'0' * 32}"]
    for path in (*left, *others):
        path.write_bytes(b"half")
    with replace_file(tmp_path / "other") as being_written:
        write_bytes(tmp_path / "file", b"new")
        assert being_written.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [others[1].name, ".gitignore", "file", "other"]


def test_a_killed_writer_leaves_nothing_after_the_next_one(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    child = os.fork()
    if child == 0:
        os.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
        write_bytes(path, b"new")
    os.waitpid(child, 0)
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    write_bytes(path, b"newer")
    assert os.listdir(tmp_path) == ["file"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(tmp_path / "pipe", b"content")
    assert os.read(reader, 99) == b"content"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("theirs")
    write_bytes(tmp_path / "link", b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert (tmp_path / "link").read_bytes() == b"ours"


def test_json_has_null_where_numbers_are_not_finite():
    value = {"a": math.nan, "b": [1.5, math.inf, {"c": (-math.inf, 2, True, None, "NaN")}]}
    content = json_bytes(value)
    assert json.loads(content, parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, None, {"c": [None, 2, True, None, "NaN"]}],
    }
    assert content.endswith(b"}\n") and b"\n  " in content


def test_without_room_for_temporary_files_the_error_says_what_to_set(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="Set TMPDIR"), temporary_folder():
        full()
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    message = r"Cannot write temporary files.*No space left on device\. Set TMPDIR"
    with pytest.raises(OSError, match=message), temporary_folder():
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Expecting property name"),
        (b"[1]", "it holds a list where an object was expected"),
        (b"null", "it holds a NoneType"),
        (b'"\xff"', "codec can't decode|invalid start byte"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_holds_no_object_is_named_with_what_to_do(tmp_path, content, reason):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"settings\.json is damaged \(.*({reason}).*\)\. Delete it\."):
        read_object(path, "Delete it.")


def test_an_object_is_read_as_it_was_written(tmp_path):
    path = write_json(tmp_path / "new" / "a.json", {"a": [1, math.nan], "b": (2.5,)})
    assert read_object(path, "") == {"a": [1, None], "b": [2.5]}
