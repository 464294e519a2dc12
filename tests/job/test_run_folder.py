"""What a run wrote is known, also after it was killed at any moment."""

import itertools
import os
import shutil
import signal
import sys

import pytest

from keras_s4.job.run_folder import RunFolder

SETTINGS = {"task": "waves", "seed": 0}
NAMES = ("numbers.json", "firmware/model.c", "last.json")


def write_all(path):
    """Two stages: a file; files of a folder, and a last one."""
    run = RunFolder(path, SETTINGS, NAMES)
    for results in (NAMES[:1], NAMES[1:]):
        if run.is_whole(results):
            continue
        run.discard(results)
        if results == NAMES[:1]:
            run.write_json(NAMES[0], {"a": 1})
            continue
        made = run.work / "firmware"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name in ("model.c", "more.c"):
            (made / name).write_text(name)
        run.take_folder(made, "firmware")
        run.write_json(NAMES[2], {"b": 2})
    run.tidy()


def content(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No waiting for the disk, whose content is not lost when a program is killed."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def killed_at(event, work):
    """Whether a process that does the work was killed before its `event`-th change of a file."""
    child = os.fork()
    if child == 0:
        seen = itertools.count()

        def hook(name, arguments):
            if name in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "open") and next(seen) == event:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_run_that_was_killed_goes_on_to_the_same_end(tmp_path):
    write_all(tmp_path / "once")
    expected = content(tmp_path / "once")
    assert {*NAMES, "firmware/more.c", "settings.json"} == set(expected)
    for event in itertools.count():
        path = tmp_path / f"killed-{event}"
        killed = killed_at(event, lambda path=path: write_all(path))
        write_all(path)
        assert content(path) == expected
        if not killed:
            break
    assert event > 20


def test_two_runs_in_one_folder_are_refused(tmp_path):
    first, second = (RunFolder(tmp_path, SETTINGS, NAMES) for _ in range(2))
    with first.alone(), pytest.raises(ValueError, match=r"Another program is at work in .*--out"), second.alone():
        pytest.fail("both ran")
    with second.alone():
        pass


def test_results_of_a_users_own_are_not_taken_for_the_runs(tmp_path):
    RunFolder(tmp_path, SETTINGS, NAMES)
    (tmp_path / "last.json").write_text("mine")
    with pytest.raises(ValueError, match=r"holds last\.json, which this program did not write"):
        RunFolder(tmp_path, SETTINGS, NAMES)
    assert (tmp_path / "last.json").read_text() == "mine"
