"""What a run refuses, before work is lost: damaged and foreign files, other tasks, recordings and settings."""

import json
import shutil

import pytest
from runs import SETTINGS, TASK, results
from tasks import make_recordings, sines

from keras_s4 import training
from keras_s4.datasets import BUILT_IN, Live, Sensor
from keras_s4.job import pipeline
from keras_s4.job.find_task import settings_of
from keras_s4.job.run_folder import SECONDS, RunFolder
from keras_s4.job.settings import Settings
from keras_s4.job.summary import read_seconds

RAW = tuple(Sensor(name, tuple("abc"), unit, lsb=1 / 4096) for name, unit in (("height", "m"), ("speed", "m/s")))
pytestmark = pytest.mark.usefixtures("eager_training")


def test_interrupted_training_that_is_damaged_names_the_folder(tmp_path):
    (tmp_path / ".keras-s4" / "trained").mkdir(parents=True)
    (tmp_path / ".keras-s4" / "trained" / "latest.weights.h5").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"trained cannot be continued .*Delete that folder"):
        pipeline.run(TASK, tmp_path, SETTINGS)


@pytest.mark.parametrize("name", ["firmware/model.tflite", "firmware/c99/model.c", "report.html", "summary.json"])
def test_a_finished_run_whose_result_was_changed_is_no_success(copied, name):
    folder, _ = copied
    content = (folder / name).read_bytes()
    for other in (content[:-1] + b"?", content[: len(content) // 2], b""):
        (folder / name).write_bytes(other)
        before = results(folder)
        with pytest.raises(
            ValueError, match=rf"{name} is damaged \(it is not what the run wrote; .*Delete it and start"
        ):
            pipeline.run(TASK, folder, SETTINGS)
        assert results(folder) == before


def test_a_finished_run_whose_firmware_was_partly_deleted_writes_it_again(copied):
    folder, summary = copied
    whole = {path: path.read_bytes() for path in (folder / "firmware").rglob("*") if path.is_file()}
    (folder / "firmware" / "mine.c").write_text("mine")
    (folder / "firmware" / "golden.npz").unlink()
    shutil.rmtree(folder / "firmware" / "c99")
    again = pipeline.run(TASK, folder, SETTINGS)
    assert {path: path.read_bytes() for path in whole} == whole
    assert (folder / "firmware" / "mine.c").read_text() == "mine"
    assert again["table"] == summary["table"]


def test_a_result_that_is_damaged_while_the_run_goes_on_is_not_read(copied):
    folder, _ = copied
    (folder / "tradeoff.json").unlink()

    def damage(stage, done, total, note):
        if stage == "measure":
            (folder / "sizes.json").write_text("{}")

    with pytest.raises(ValueError, match=r"sizes\.json is damaged"):
        pipeline.run(TASK, folder, SETTINGS, damage)


def test_a_program_killed_before_a_result_was_in_its_place_goes_on(copied):
    folder, summary = copied
    record = json.loads((folder / "settings.json").read_text())
    record["hashes"]["tradeoff.json"] = "0" * 64
    (folder / "settings.json").write_text(json.dumps(record))
    (folder / "tradeoff.json").unlink()
    assert pipeline.run(TASK, folder, SETTINGS)["tradeoff"] == json.loads(json.dumps(summary["tradeoff"]))


def test_a_run_of_an_earlier_version_is_refused_and_can_be_removed(copied):
    """It noted no task, and an even earlier one no hashes."""
    folder, _ = copied
    record = json.loads((folder / "settings.json").read_text())
    earlier = {"settings": {"fold": 0, **SETTINGS.figures()}, "files": record["files"]}
    (folder / "settings.json").write_text(json.dumps(earlier))
    before = results(folder)
    with pytest.raises(ValueError, match=r"of an earlier version, .*says nothing of task, .*--restart"):
        pipeline.run(TASK, folder, SETTINGS)
    assert results(folder) == before

    def at_once(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(TASK, folder, SETTINGS, at_once, restart=True)
    assert not (folder / "trained.keras").exists()


def test_a_run_of_another_task_or_split_is_refused(copied):
    folder, _ = copied
    for change, message in (
        ({"name": "waves"}, r"holds a run with task='sines', but task='waves' was asked for"),
        ({"choices": {"fold": 3}}, r"holds a run with fold=0, but fold=3 was asked for"),
        ({"length": 40}, r"length=60, but length=40"),
        ({"decision": {"confirmations": 2}}, r"not asked for what is now: it says nothing of decision\."),
        ({"sensors": RAW}, r"not asked for what is now: it says nothing of sensors\."),
    ):
        with pytest.raises(ValueError, match=message):
            pipeline.run(sines(**change), folder, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "front", "message"),
    [
        ({}, 7, "front=7 and windows of 60 steps; expected a front that divides them"),
        ({"live": Live()}, 5, "front=5 and has live decisions, which have no front yet; leave it out"),
        ({"mixed_lengths": True}, 5, "front=5 and has mixed lengths"),
        ({"every_step": True}, 5, "front=5 and asks for an output at every step"),
        ({"classes": (), "horizon": 2, "meanings": {}}, 5, "front=5 and asks for an output at every step"),
    ],
)
def test_fronts_that_a_task_cannot_have_are_refused(tmp_path, changes, front, message):
    with pytest.raises(ValueError, match=message):
        pipeline.run(sines(**changes), tmp_path / "run", Settings(front=front))
    with pytest.raises(ValueError, match=message):
        pipeline.run(sines(**changes, settings={"front": front}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_choice_of_a_task_with_a_name_is_refused(name, monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail(f"{self} is read"))
    task = BUILT_IN[name]()
    known = pipeline.all_settings(task, settings_of(task, {}))
    assert task.choices.items() <= known.items() and known["seed"] == 0


def test_a_choice_that_a_setting_is_named_after_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has the choices seed, which are settings of every job"):
        pipeline.run(sines(choices={"seed": 1}), tmp_path / "run", SETTINGS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", [None, "tradeoff.json"])
def test_a_run_is_not_that_of_other_recordings(copied, missing):
    """Neither one that is finished nor one that is to go on."""
    folder, _ = copied
    if missing:
        (folder / missing).unlink()
    changed = sines(read=lambda: (make_recordings([1, 2], 0), make_recordings([3], 1), make_recordings([4], 9)))
    before = results(folder)
    with pytest.raises(ValueError, match=r"that began with other recordings for test\. .*--restart"):
        pipeline.run(changed, folder, SETTINGS)
    assert {path for path, time in results(folder).items() if before[path] != time} <= {folder / "settings.json"}


def test_recordings_that_do_not_fit_are_refused_before_the_training(tmp_path):
    with pytest.raises(ValueError, match=r"got classes from 0 to 6; the model knows 3"):
        pipeline.run(sines(classes=("A", "B", "C")), tmp_path, SETTINGS)
    assert not (tmp_path / "trained.keras").exists()


@pytest.mark.parametrize("noted", ["[]", "{", '{"done": 3}', '{"done": {"train": NaN, "reduce": "2"}}', "null"])
def test_seconds_of_another_form_are_forgotten(tmp_path, noted):
    run = RunFolder(tmp_path, SETTINGS.figures(), [SECONDS])
    run.write_note(SECONDS, {"done": {"train": 2.0}, "interrupted": {}})
    assert read_seconds(run)["done"] == {"train": 2.0}
    (tmp_path / SECONDS).write_text(noted)
    assert read_seconds(run) == {"done": {}, "interrupted": {}}


def test_a_run_goes_on_without_its_seconds(copied):
    folder, _ = copied
    (folder / SECONDS).write_text("{")
    (folder / "summary.json").unlink()
    assert set(pipeline.run(TASK, folder, SETTINGS)["seconds"]) <= {"report"}


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    run = RunFolder(tmp_path / "run", SETTINGS.figures(), ["a.json"])
    (tmp_path / "run" / "firmware").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"holds firmware/model\.c, which this program did not write"):
        run.claim(["firmware/model.c"])


def test_restart_removes_what_the_run_wrote_and_nothing_else(copied):
    folder, _ = copied
    (folder / "notes.txt").write_text("mine")
    (folder / "firmware" / "mine.c").write_text("mine")

    def at_once(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(TASK, folder, Settings(**{**SETTINGS.figures(), "seed": 1}), at_once, restart=True)
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "firmware/mine.c", "settings.json", "seconds.json", "recordings.json"}


def test_other_settings_are_refused_and_nothing_is_touched(copied):
    folder, _ = copied
    before = results(folder)
    with pytest.raises(ValueError, match=r"holds a run with seed=0, but seed=1 was asked for. .*--out.*--restart"):
        pipeline.run(TASK, folder, Settings(**{**SETTINGS.figures(), "seed": 1}))
    assert results(folder) == before


def test_foreign_files_are_neither_overwritten_nor_removed(tmp_path):
    (tmp_path / "trained.keras").write_text("mine")
    with pytest.raises(ValueError, match=r"holds trained\.keras, which this program did not write"):
        pipeline.run(TASK, tmp_path, SETTINGS)
    assert (tmp_path / "trained.keras").read_text() == "mine"


def test_folder_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit_windows", lambda *_: pytest.fail("trained before the folder was tried"))
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="Cannot write"):
        pipeline.run(TASK, tmp_path / "taken" / "run", SETTINGS)


@pytest.mark.parametrize(
    ("damaged", "missing"),
    [
        ("trained.keras", "reduced.keras"),
        ("sizes.json", "tradeoff.json"),
        ("stream.npz", "report.html"),
    ],
)
def test_damaged_file_is_named(copied, damaged, missing):
    folder, _ = copied
    (folder / missing).unlink()
    content = (folder / damaged).read_bytes()
    (folder / damaged).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{damaged} is damaged .*Delete it and start again"):
        pipeline.run(TASK, folder, SETTINGS)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "null",
        '{"settings": {}}',
        '{"settings": {}, "files": ["../mine"]}',
        '{"settings": {}, "files": [1]}',
        '{"settings": {}, "files": "report.html"}',
        '{"settings": {}, "files": [], "hashes": {"../mine": "0"}}',
        '{"settings": {}, "files": [], "hashes": {"report.html": null}}',
        '{"settings": [], "files": []}',
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_damaged_settings_are_refused_and_nothing_is_touched(tmp_path, content, restart):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / "settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"settings.json is damaged.*--out, or delete"):
        pipeline.run(TASK, tmp_path / "run", SETTINGS, restart=restart)
    assert (tmp_path / "mine").exists()
    assert (tmp_path / "run" / "settings.json").read_text() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0; expected a whole number of at least 1"),
        ({"fraction": 0.0}, "fraction=0.0"),
        ({"fraction": float("nan")}, "fraction=nan"),
        ({"fraction": "0.5"}, "fraction='0.5'; expected a number"),
        ({"fraction": True}, "fraction=True"),
        ({"epochs": "3"}, "epochs='3'; expected a whole number"),
        ({"epochs": True}, "epochs=True"),
        ({"seed": -1}, "seed=-1"),
        ({"aware_epochs": -1}, "aware_epochs=-1"),
        ({"aware_rate": 0.0}, "aware_rate=0.0"),
        ({"normalize": 1}, "normalize=1; expected True or False"),
        ({"shared_modes": "yes"}, "shared_modes='yes'; expected True or False"),
        ({"front": True}, "front=True"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)
