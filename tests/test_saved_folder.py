"""A folder of generated files is wholly the old one or the new one, and other people's files stay."""

import errno
import itertools
import os
import shutil
import signal
import sys

import pytest

from keras_s4 import saved_folder
from keras_s4.files.beside import STAGING
from keras_s4.saved_folder import check_before, save_folder, with_record

RECORD = "manifest.json"
OLD = with_record(
    {"model.tflite": b"old", "c99/model.c": b"old C", "c99/extra.c": b"goes", "gone/only.c": b"goes"}, RECORD, {}
)
NEW = with_record(
    {"model.tflite": b"new", "c99/model.c": b"new C", "README.md": b"comes", "firmware/main.c": b"m"}, RECORD, {}
)
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="two folders change places in one step on Linux")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No waiting for the disk, whose content is not lost when a program is killed."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def content(folder):
    """Every file, by name; hidden ones and links as well."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def killed_at(event, work):
    """Whether a process that does the work was killed before its `event`-th access to the file system."""
    child = os.fork()
    if child == 0:
        seen = itertools.count()

        def hook(name, arguments):
            if name.startswith(("os.", "open", "shutil.", "ctypes.")) and name != "os.kill" and next(seen) == event:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def states_after_kills(tmp_path, before, foreign):
    """The folder after a kill at each event in turn, and again after the save that follows."""
    for event in itertools.count():
        folder = tmp_path / "run" / "firmware"
        if before:
            save_folder(folder, before)
        for name, text in foreign.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text)
        killed = killed_at(event, lambda folder=folder: save_folder(folder, NEW))
        seen = content(folder) if folder.exists() else {}
        save_folder(folder, NEW)
        yield {name: text for name, text in seen.items() if not name.startswith(STAGING)}, content(folder)
        assert os.listdir(folder.parent) == ["firmware"]
        if not killed:
            assert event > 20
            return
        shutil.rmtree(tmp_path / "run")


@needs_linux
@pytest.mark.parametrize("before", [OLD, None])
def test_a_killed_save_leaves_the_old_folder_or_the_new_one(tmp_path, before):
    for seen, after in states_after_kills(tmp_path, before, {}):
        assert seen in (before or {}, NEW)
        assert after == NEW


def test_a_killed_save_among_foreign_files_is_known_to_be_unfinished_and_the_next_one_ends_it(tmp_path):
    foreign = {"notes.txt": b"mine", "firmware/board_mine.c": b"mine too"}
    unfinished = 0
    for seen, after in states_after_kills(tmp_path, OLD, foreign):
        assert seen in (OLD | foreign, NEW | foreign) or RECORD not in seen
        unfinished += RECORD not in seen
        assert after == NEW | foreign
    assert unfinished > 3


def test_an_unfinished_save_does_not_replace_what_changed_since(tmp_path, monkeypatch):
    save_folder(tmp_path, OLD)
    (tmp_path / "notes.txt").write_bytes(b"mine")
    replace, count = os.replace, itertools.count()

    def interrupted(source, target):
        if next(count) >= 2:  # the journal, one file
            raise SystemExit
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(SystemExit):
            save_folder(tmp_path, NEW)
    assert RECORD not in content(tmp_path)
    shutil.copytree(tmp_path, tmp_path.with_name("checked"))
    check_before(tmp_path.with_name("checked"), NEW, RECORD)
    assert content(tmp_path.with_name("checked")) == NEW | {"notes.txt": b"mine"}
    (tmp_path / "c99" / "model.c").write_bytes(b"edited")
    with pytest.raises(ValueError, match=r"was killed, and c99/model\.c changed since"):
        save_folder(tmp_path, NEW)
    (tmp_path / "c99" / "model.c").unlink()
    save_folder(tmp_path, NEW)
    assert content(tmp_path) == NEW | {"notes.txt": b"mine"}


@pytest.mark.parametrize("foreign", [None, "notes.txt"])
def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch, foreign):
    folder = save_folder(tmp_path / "firmware", OLD)
    if foreign:
        (folder / foreign).write_bytes(b"mine")
    before = content(folder)
    for full_at in range(5):
        count = itertools.count()

        def full(descriptor, count=count, full_at=full_at):
            if next(count) == full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(
                OSError, match=r"Cannot write .*firmware.*No space left.* bytes are needed, .* are free"
            ):
                save_folder(folder, NEW)
        assert content(folder) == before
        assert os.listdir(tmp_path) == ["firmware"]


@pytest.mark.parametrize("name", ["README.md", "firmware/main.c", RECORD])
def test_foreign_files_are_refused_and_nothing_is_touched(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"holds {name}, which no save has written there. Choose another folder"):
        save_folder(tmp_path, NEW)
    assert content(tmp_path) == {name: b"mine"}


def test_a_file_that_has_the_new_content_is_in_nobodys_way(tmp_path):
    (tmp_path / "README.md").write_bytes(NEW["README.md"])
    save_folder(tmp_path, NEW)
    assert content(tmp_path) == NEW


def test_what_was_changed_since_is_refused_and_what_is_missing_is_written(tmp_path):
    save_folder(tmp_path, OLD)
    (tmp_path / "model.tflite").unlink()
    (tmp_path / "c99" / "model.c").write_bytes(b"edited")
    with pytest.raises(ValueError, match=r"holds c99/model\.c, changed since they were saved"):
        save_folder(tmp_path, NEW)
    assert content(tmp_path)["c99/model.c"] == b"edited"
    (tmp_path / "c99" / "model.c").write_bytes(OLD["c99/model.c"])
    save_folder(tmp_path, NEW)
    assert content(tmp_path) == NEW


def test_what_the_new_one_has_not_is_removed_unless_it_was_changed(tmp_path):
    save_folder(tmp_path / "firmware", OLD)
    (tmp_path / "firmware" / "c99" / "extra.c").write_bytes(b"edited")
    save_folder(tmp_path / "firmware", NEW)
    assert content(tmp_path / "firmware") == NEW | {"c99/extra.c": b"edited"}
    assert not (tmp_path / "firmware" / "gone").exists()


@pytest.mark.parametrize("link", ["model.tflite", "c99"])
def test_links_are_not_followed_out_of_the_folder(tmp_path, link):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.tflite").write_bytes(b"theirs")
    folder = tmp_path / "firmware"
    folder.mkdir()
    (folder / link).symlink_to(elsewhere / link if link == "model.tflite" else elsewhere)
    with pytest.raises(ValueError, match=r"holds .*, which no save has written"):
        save_folder(folder, NEW)
    assert content(elsewhere) == {"model.tflite": b"theirs"}


def test_a_link_to_the_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    save_folder(tmp_path / "link", OLD)
    save_folder(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == NEW


def test_names_that_differ_in_capitals_alone_are_refused(tmp_path):
    (tmp_path / "readme.MD").write_bytes(b"mine")
    (tmp_path / "C99").mkdir()
    with pytest.raises(ValueError, match=r"holds C99, readme\.MD, which no save"):
        save_folder(tmp_path, NEW)


def test_the_current_folder_stays_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_folder(tmp_path, OLD)
    save_folder(tmp_path, NEW)
    (tmp_path / "relative").write_bytes(b"")
    assert os.path.exists("relative")
    assert content(tmp_path) == NEW | {"relative": b""}


@pytest.mark.parametrize(
    "record",
    [b"[]", b"{}", b'{"files": []}', b'{"files": {"../mine": {"sha256": "0"}}}', b'{"files": {"a": 1}}', b"\xff"],
)
def test_a_record_of_another_form_is_a_foreign_file(tmp_path, record):
    (tmp_path / RECORD).write_bytes(record)
    with pytest.raises(ValueError, match=r"holds manifest\.json, which no save"):
        save_folder(tmp_path, NEW)


def test_a_read_only_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    folder = save_folder(tmp_path / "firmware", OLD)
    monkeypatch.setattr(saved_folder.os, "access", lambda path, mode: path != folder)
    with pytest.raises(OSError, match=r"Cannot write .*firmware.*Permission denied"):
        save_folder(folder, NEW)
    assert content(folder) == OLD


def test_the_mode_of_the_folder_is_kept(tmp_path):
    folder = save_folder(tmp_path / "firmware", OLD)
    folder.chmod(0o750)
    save_folder(folder, NEW)
    assert folder.stat().st_mode & 0o777 == 0o750
