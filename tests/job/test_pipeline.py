import json
import shutil

import keras
import numpy as np
import pytest
from tasks import CLASSES, make_recordings, sines

from keras_s4 import training
from keras_s4.augmentation import RandomWindows
from keras_s4.job import pipeline, report
from keras_s4.job.run_folder import SECONDS, RunFolder
from keras_s4.job.settings import Settings
from keras_s4.job.summary import read_seconds
from keras_s4.tflite import runtimes

SETTINGS = Settings(channels=4, states=4, blocks=1, epochs=2, retrain_epochs=1, aware_epochs=1, batch_size=24)
TASK = sines(augment=RandomWindows)


@pytest.fixture(scope="module", autouse=True)
def eager_training():
    """A graph would take longer to trace than such a training lasts."""
    fit_windows = training.fit_windows

    def fit_eagerly(*arguments, compile_model):
        def compile_eagerly(model, *settings, jit_compile):
            assert jit_compile
            compile_model(model, *settings, jit_compile=False).run_eagerly = True

        return fit_windows(*arguments, compile_model=compile_eagerly)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit_windows", fit_eagerly)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return folder, pipeline.run(TASK, folder, SETTINGS)


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run that a test may damage, and its summary."""
    return shutil.copytree(finished[0], tmp_path / "copy"), finished[1]


def results(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_result_is_there(finished):
    folder, summary = finished
    for stage in pipeline.stages_of(TASK).values():
        assert all((folder / name).is_file() for name in stage.results)
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert not (folder / ".keras-s4").exists()


def test_table_holds_what_was_measured(finished):
    folder, summary = finished
    rows = {row["row"]: row for row in summary["table"]}
    assert list(rows) == [
        "Keras trained",
        "Keras reduced",
        "Keras retrained",
        "Keras aware",
        "Keras streamed",
        "emulator",
        "TFLM",
        "C99",
    ]
    assert rows["TFLM"]["tflite_bytes"] == (folder / "firmware" / "model.tflite").stat().st_size
    assert rows["TFLM"]["accuracy"] == rows["emulator"]["accuracy"]
    assert rows["Keras trained"]["states"] == 4 * rows["Keras aware"]["states"] == 16
    assert summary["comparison"]["bit_exact"]
    confusion = summary["details"]["confusion"]
    assert sum(map(sum, confusion)) == summary["test_windows"]
    correct = sum(confusion[index][index] for index in range(CLASSES))
    assert correct / summary["test_windows"] == pytest.approx(rows["TFLM"]["accuracy"])
    assert summary["settings"] == {"fold": 0, **SETTINGS.figures()}
    assert summary["groups"] == {"train": [1, 2], "validation": [3], "test": [4]}
    assert summary["task"]["classes"] == list(TASK.classes)
    assert {"python", "keras", "tensorflow", "tflite-micro", "keras-s4"} <= set(summary["versions"])


def test_without_tflm_the_job_runs_to_its_end(copied, monkeypatch):
    """From the trained models on, as on a computer without its wheel: emulator and C are compared."""

    def missing():
        raise ImportError("There is no wheel for this computer.")

    folder, summary = copied
    monkeypatch.setattr(runtimes, "load_tflm", missing)
    (folder / "sizes.json").unlink()
    again = pipeline.run(TASK, folder, SETTINGS)
    rows = {row["row"]: row for row in again["table"]}
    assert list(rows)[-2:] == ["emulator", "C99"]
    assert rows["C99"]["accuracy"] == rows["emulator"]["accuracy"]
    assert rows["Keras retrained"]["arena_bytes"] is None
    assert again["details"] == summary["details"]
    assert again["comparison"]["bit_exact"]
    assert "Emulator and C are equal" in report.state_verdict(again)
    assert "tflm (There is no wheel for this computer.)" in report.state_verdict(again)
    assert "C99" in (folder / "report.html").read_text()


def test_report_shows_the_table_and_four_figures(finished):
    page = (finished[0] / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "<script" not in page
    for row in finished[1]["table"]:
        assert row["row"] in page


def test_second_run_computes_nothing(finished, monkeypatch):
    folder, summary = finished
    monkeypatch.setattr(training, "fit_windows", lambda *_: pytest.fail("trained again"))
    before = results(folder)
    assert pipeline.run(TASK, folder, SETTINGS) == json.loads(json.dumps(summary))
    after = results(folder)
    assert {path for path in before if before[path] != after[path]} <= {folder / "settings.json"}


def interrupt_at(stage, place, seen):
    """A progress that interrupts a stage and notes how far each stage was, by name."""

    def progress(name, done, total, note):
        seen.setdefault(name, []).append(done)
        if name == stage and done >= place:
            raise KeyboardInterrupt

    return progress


def weights(path):
    return [np.asarray(weight) for weight in keras.saving.load_model(path, compile=False).weights]


def test_run_interrupted_in_two_stages_ends_with_the_same_result(finished, tmp_path):
    folder, summary = finished
    places = {"train": 5, "verify": 1}
    seen = {stage: {} for stage in places}
    for stage, place in places.items():
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(TASK, tmp_path, SETTINGS, interrupt_at(stage, place, seen[stage]))
        assert not (tmp_path / pipeline.STAGES[stage].results[-1]).exists()
    # Two epochs of 3 batches; interrupted in the second, the training goes on at its beginning.
    assert seen["train"] == {"train": [0, 0, *range(1, 6)]}
    assert seen["verify"]["train"] == [0, 0, *range(4, 7), 1]
    again = pipeline.run(TASK, tmp_path, SETTINGS)
    for name in ("table", "details", "tradeoff", "ranks"):
        assert again[name] == summary[name]
    assert again["manifest"]["sha256"] == summary["manifest"]["sha256"]
    for name in ("trained.keras", "retrained.keras", "aware.keras"):
        for once, continued in zip(weights(folder / name), weights(tmp_path / name), strict=True):
            np.testing.assert_array_equal(once, continued)


def test_interrupted_training_that_is_damaged_names_the_folder(tmp_path):
    (tmp_path / ".keras-s4" / "trained").mkdir(parents=True)
    (tmp_path / ".keras-s4" / "trained" / "latest.weights.h5").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"trained cannot be continued .*Delete that folder"):
        pipeline.run(TASK, tmp_path, SETTINGS)


def test_computing_a_stage_again_renews_those_after_it(copied):
    folder, _ = copied
    before = results(folder)
    (folder / "sizes.json").unlink()
    pipeline.run(TASK, folder, SETTINGS)
    renewed = {path.name for path, time in results(folder).items() if before[path] != time}
    assert {"model.tflite", "sizes.json", "verification.json", "tradeoff.json", "summary.json"} <= renewed
    assert not {"trained.keras", "reduced.keras", "spectrum.json", "retrained.keras"} & renewed


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
    ):
        with pytest.raises(ValueError, match=message):
            pipeline.run(sines(**change), folder, SETTINGS)


def test_a_choice_that_a_setting_is_named_after_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has the choices seed, which are settings of every job"):
        pipeline.run(sines(choices={"seed": 1}), tmp_path / "run", SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_other_recordings(copied):
    folder, _ = copied
    (folder / "tradeoff.json").unlink()
    changed = sines(read=lambda: (make_recordings([1, 2], 0), make_recordings([3], 1), make_recordings([4], 9)))
    before = results(folder)
    with pytest.raises(ValueError, match=r"that began with other recordings for test\. .*--restart"):
        pipeline.run(changed, folder, SETTINGS)
    assert {path for path, time in results(folder).items() if before[path] != time} <= {folder / "settings.json"}


def test_recordings_that_do_not_fit_are_refused_before_the_training(tmp_path):
    with pytest.raises(ValueError, match=r"got classes from 0 to 6; the model knows 3"):
        pipeline.run(sines(classes=("A", "B", "C")), tmp_path, SETTINGS)
    assert not (tmp_path / "trained.keras").exists()


def test_quantities_are_measured_from_recordings_to_firmware(tmp_path):
    task = sines(targets=("frequency",), meanings={}, rate=None, group=None)
    summary = pipeline.run(task, tmp_path, SETTINGS)
    rows = {row["row"]: row for row in summary["table"]}
    assert summary["comparison"]["bit_exact"] and "confusion" not in summary["details"]
    assert rows["TFLM"]["rmse"] == rows["emulator"]["rmse"] == rows["C99"]["rmse"]
    x, y = task.windows("test")
    model = keras.saving.load_model(tmp_path / "retrained.keras", compile=False)
    error = np.sqrt(np.mean((model.predict(x, verbose=0) - y) ** 2))
    assert rows["Keras retrained"]["rmse"] == pytest.approx(error, rel=1e-5)
    assert rows["TFLM"]["snr"] > 15.0
    points = [*summary["tradeoff"]["truncated"], summary["tradeoff"]["trained"]]
    assert all(0 < point["rmse"] < 2 for point in points)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "RMSE against size" in page and "windows of 60 steps" in page and "None" not in page


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
        ({"front": True}, "front=True"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)
