import functools
import json
import shutil

import numpy as np
import pytest

from keras_s4 import datasets, pipeline, stages, training
from keras_s4.datasets import Recordings
from keras_s4.settings import Settings

LENGTH, CLASSES = 60, 7
SETTINGS = Settings(channels=4, states=4, blocks=1, epochs=2, retrain_epochs=1, batch_size=8)


def small_recordings(subjects, seed):
    """One recording a class and subject: sines whose frequency is the class."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), len(subjects))
    times = np.arange(200)[:, None]
    signals = [
        np.sin(times * (0.05 + 0.1 * label) + random.uniform(0, 6, 6)) + 0.1 * random.normal(size=(200, 6))
        for label in labels
    ]
    return Recordings([signal.astype(np.float32) for signal in signals], labels, np.tile(subjects, CLASSES))


@pytest.fixture(scope="module", autouse=True)
def small_job():
    """Short windows of small recordings, and no XLA, which would compile longer than such a training lasts."""
    with pytest.MonkeyPatch.context() as patch:
        parts = tuple(small_recordings(subjects, seed) for seed, subjects in enumerate(([1, 2], [3], [4])))
        patch.setattr(datasets, "smartwatch_split", lambda fold: parts)
        patch.setattr(stages, "LENGTH", LENGTH)
        patch.setattr(training, "fit_windows", functools.partial(training.fit_windows, jit_compile=False))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return folder, pipeline.run(folder, SETTINGS)


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run that a test may damage, and its summary."""
    return shutil.copytree(finished[0], tmp_path / "copy"), finished[1]


def results(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_result_is_there(finished):
    folder, summary = finished
    for stage in pipeline.STAGES.values():
        assert all((folder / name).is_file() for name in stage.results)
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert not (folder / ".keras-s4").exists()


def test_table_holds_what_was_measured(finished):
    folder, summary = finished
    rows = {row["row"]: row for row in summary["table"]}
    assert list(rows) == ["Keras trained", "Keras reduced", "Keras retrained", "Keras streamed", "emulator", "TFLM"]
    assert rows["TFLM"]["tflite_bytes"] == (folder / "firmware" / "model.tflite").stat().st_size
    assert rows["TFLM"]["accuracy"] == rows["emulator"]["accuracy"]
    assert rows["Keras trained"]["states"] == 4 * rows["Keras retrained"]["states"] == 16
    assert summary["comparison"]["bit_exact"]
    assert sum(map(sum, summary["confusion"])) == summary["test_windows"]
    correct = sum(summary["confusion"][index][index] for index in range(CLASSES))
    assert correct / summary["test_windows"] == pytest.approx(rows["TFLM"]["accuracy"])
    assert summary["settings"] == SETTINGS.figures()
    assert not set(summary["subjects"]["train"]) & set(summary["subjects"]["test"])
    assert {"python", "keras", "tensorflow", "tflite-micro", "keras-s4"} <= set(summary["versions"])


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
    assert pipeline.run(folder, SETTINGS) == json.loads(json.dumps(summary))
    after = results(folder)
    assert {path for path in before if before[path] != after[path]} <= {folder / "settings.json"}


def interrupt_at(stage, done):
    def progress(name, finished, total, note):
        if name == stage and finished >= done:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("stage", "done"), [("train", 9), ("retrain", 2), ("convert", 1), ("verify", 1), ("report", 1)]
)
def test_interrupted_run_continues_to_the_same_result(copied, stage, done):
    folder, summary = copied
    names = list(pipeline.STAGES)
    for later in names[names.index(stage) :]:
        for name in pipeline.STAGES[later].results:
            (folder / name).unlink()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(folder, SETTINGS, interrupt_at(stage, done))
    assert not (folder / "summary.json").exists()
    begun = []
    again = pipeline.run(folder, SETTINGS, lambda name, done, total, note: begun.append((name, note)))
    assert [name for name in names if (name, "done before") in begun] == names[: names.index(stage)]
    assert again["table"] == summary["table"]
    assert again["manifest"]["sha256"] == summary["manifest"]["sha256"]


def test_other_settings_are_refused_and_nothing_is_touched(copied):
    folder, _ = copied
    before = results(folder)
    with pytest.raises(ValueError, match=r"holds a run with seed=0, but seed=1 was asked for. .*--out.*--restart"):
        pipeline.run(folder, Settings(**{**SETTINGS.figures(), "seed": 1}))
    assert results(folder) == before


def test_foreign_files_are_neither_overwritten_nor_removed(tmp_path):
    (tmp_path / "trained.keras").write_text("mine")
    with pytest.raises(ValueError, match=r"holds trained\.keras, which this program did not write"):
        pipeline.run(tmp_path, SETTINGS)
    assert (tmp_path / "trained.keras").read_text() == "mine"


def test_folder_that_cannot_be_written_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit_windows", lambda *_: pytest.fail("trained before the folder was tried"))
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="Cannot write"):
        pipeline.run(tmp_path / "taken" / "run", SETTINGS)


def test_damaged_model_is_named(copied):
    folder, _ = copied
    (folder / "reduced.keras").unlink()
    content = (folder / "trained.keras").read_bytes()
    (folder / "trained.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"trained.keras is damaged .*Delete it and start again"):
        pipeline.run(folder, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0; expected a whole number of at least 1"),
        ({"fold": 5}, "fold=5"),
        ({"fraction": 0.0}, "fraction=0.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)
