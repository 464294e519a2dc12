import dataclasses
import json

import keras
import numpy as np
import pytest
from runs import SETTINGS, TASK, results
from tasks import CLASSES, sines

from keras_s4 import extras, reduce, training
from keras_s4.job import pipeline, report
from keras_s4.layers import DiagonalSSM, S4Block
from keras_s4.tflite import runtimes

pytestmark = pytest.mark.usefixtures("eager_training")


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


def test_without_the_compiler_of_pages_the_report_says_so(copied, monkeypatch):
    folder, _ = copied
    monkeypatch.setattr(extras, "_is_installed", lambda name: name != "ziglang")
    (folder / "report.html").unlink()
    pipeline.run(TASK, folder, SETTINGS)
    for name in ("report.html", "device.html"):
        page = (folder / name).read_text()
        assert "pip install &#39;keras-s4[web]&#39;" in page.replace("&#x27;", "&#39;")
        assert "<iframe" not in page and "delete device.html and run again" in page


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
    places = {"train": 3, "verify": 1}
    seen = {stage: {} for stage in places}
    for stage, place in places.items():
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(TASK, tmp_path, SETTINGS, interrupt_at(stage, place, seen[stage]))
        assert not (tmp_path / pipeline.STAGES[stage].results[-1]).exists()
    # Two epochs of 2 whole batches; interrupted in the second, the training goes on at its beginning.
    assert seen["train"] == {"train": [0, 0, *range(1, 4)]}
    assert seen["verify"]["train"] == [0, 0, *range(3, 5), 1]
    again = pipeline.run(TASK, tmp_path, SETTINGS)
    for name in ("table", "details", "tradeoff", "ranks"):
        assert again[name] == summary[name]
    assert again["manifest"]["sha256"] == summary["manifest"]["sha256"]
    for name in ("trained.keras", "retrained.keras", "aware.keras"):
        for once, continued in zip(weights(folder / name), weights(tmp_path / name), strict=True):
            np.testing.assert_array_equal(once, continued)


def test_states_are_reduced_by_the_methods_of_least_error_on_training_windows(finished):
    folder, _ = finished
    spectra = json.loads((folder / "spectrum.json").read_text())
    for part in spectra.values():
        assert part["errors"][part["method"]] == min(part["errors"].values())
    trained = keras.saving.load_model(folder / "trained.keras", compile=False)
    x, _ = TASK.windows("train")
    ranks, methods = ({name: part[key] for name, part in spectra.items()} for key in ("rank", "method"))
    for once, again in zip(weights(folder / "reduced.keras"), reduce(trained, ranks, methods, x).weights, strict=True):
        np.testing.assert_allclose(once, again, rtol=0, atol=1e-5 * np.abs(once).max())


def test_computing_a_stage_again_renews_those_after_it(copied):
    folder, _ = copied
    before = results(folder)
    (folder / "sizes.json").unlink()
    pipeline.run(TASK, folder, SETTINGS)
    renewed = {path.name for path, time in results(folder).items() if before[path] != time}
    assert {"model.tflite", "sizes.json", "verification.json", "tradeoff.json", "summary.json"} <= renewed
    assert not {"trained.keras", "reduced.keras", "spectrum.json", "retrained.keras"} & renewed


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


def test_blocks_with_shared_modes_go_from_recordings_to_firmware(tmp_path):
    summary = pipeline.run(TASK, tmp_path, dataclasses.replace(SETTINGS, shared_modes=True, states=8))
    assert summary["comparison"]["bit_exact"] and summary["settings"]["shared_modes"] is True
    for name, states in (("trained.keras", 8), ("retrained.keras", 2)):
        model = keras.saving.load_model(tmp_path / name, compile=False)
        blocks = [layer for layer in model.layers if isinstance(layer, S4Block)]
        assert [(type(block.dss), block.dss.state_size) for block in blocks] == [(DiagonalSSM, states)]
    rows = {row["row"]: row for row in summary["table"]}
    assert rows["TFLM"]["states"] == rows["C99"]["states"] == 2
    assert "s4_modal" in (tmp_path / "firmware" / "c99" / "model.c").read_text()
    assert summary["tradeoff"]["truncated"]
    with pytest.raises(ValueError, match="a run with shared_modes=True, but shared_modes=False was asked for"):
        pipeline.run(TASK, tmp_path, dataclasses.replace(SETTINGS, states=8))
