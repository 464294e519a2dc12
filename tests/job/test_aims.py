"""What tasks ask of their models: one tiny task for each head, from recordings to firmware."""

import base64
import dataclasses
import json
import re

import jinja2
import keras
import numpy as np
import pytest
from tasks import make_recordings, sines

from keras_s4 import training
from keras_s4.datasets import Live, Recordings, Splits
from keras_s4.datasets.padding import PADDING
from keras_s4.job import pipeline
from keras_s4.job.aims import aim_of
from keras_s4.job.aims.aim import outputs_of
from keras_s4.job.aims.per_class import confusion_of, figures_of_classes, figures_of_labels
from keras_s4.job.aims.scaling import Scaling
from keras_s4.job.settings import Settings
from keras_s4.layers import DiagonalSSM, S4Block
from keras_s4.recordings import UNLABELLED
from keras_s4.surgery.lengths import at_length

SETTINGS = Settings(channels=4, states=2, blocks=1, fraction=0.5, epochs=1, retrain_epochs=1, aware_epochs=1)
# Of the tasks below.
FRONTS = {"labels": 5}
pytestmark = pytest.mark.usefixtures("eager_training")


def with_labels(make):
    """Splits whose labels are made of those of the sines."""
    splits = [make_recordings(*part) for part in (([1, 2], 0), ([3], 1), ([4], 2))]
    return lambda: Splits(*(Recordings(part.signals, make(part), part.subjects) for part in splits))


def rows_of_bits(part):
    return np.stack([part.labels % 2, part.labels >= 4], axis=1)


def steps_of(part):
    """The class of each step; every third is not known."""
    return [
        np.where(np.arange(len(signal)) % 3, label, UNLABELLED)
        for signal, label in zip(part.signals, part.labels, strict=True)
    ]


def speeds_of(part):
    """Two quantities of very different units."""
    return np.stack([1000.0 + 300.0 * part.labels, 0.01 * part.labels], axis=1)


def shortened(read):
    """Recordings of lengths of their own, some of them below a window."""

    def read_parts():
        for part in read():
            lengths = [30 + 23 * (index % 5) for index in range(len(part))]
            cut = [signal[:length] for signal, length in zip(part.signals, lengths, strict=True)]
            yield dataclasses.replace(part, signals=cut)

    return lambda: Splits(*read_parts())


def only_slow(part):
    return (part.labels > 3).astype(int)


LIVE = Live(pooling="recent", seconds=1.0, every=0.5, tolerance=0.5)
TASKS = {
    "labels": lambda: sines(classes=("odd", "fast"), multi_label=True, meanings={}, read=with_labels(rows_of_bits)),
    "steps": lambda: sines(every_step=True, read=with_labels(steps_of)),
    "quantities": lambda: sines(
        targets=("speed", "slope"), meanings={}, mixed_lengths=True, read=shortened(with_labels(speeds_of))
    ),
    "forecast": lambda: sines(classes=(), horizon=3, meanings={}),
    "live": lambda: sines(live=LIVE, augmentation={"gain": 1.2}, balance=True),
    "sliding": lambda: sines(live=dataclasses.replace(LIVE, pooling="sliding")),
    "anomaly": lambda: sines(classes=(), horizon=1, anomaly=True, meanings={}, read=with_labels(only_slow)),
}


@pytest.fixture(scope="module", params=TASKS)
def finished(request, tmp_path_factory, eager_training):
    """A task, the folder of its run, and its summary."""
    task, settings = TASKS[request.param](), dataclasses.replace(SETTINGS, front=FRONTS.get(request.param, 0))
    folder = tmp_path_factory.mktemp("runs") / request.param
    return task, folder, pipeline.run(task, folder, settings)


def test_every_head_goes_from_recordings_to_firmware(finished):
    task, folder, summary = finished
    assert summary["comparison"]["bit_exact"]
    rows = {row["row"]: row for row in summary["table"]}
    score, likeness = summary["metric"]["score"], summary["metric"]["likeness"]
    assert rows["TFLM"][score] == rows["emulator"][score] == rows["C99"][score] is not None
    assert rows["TFLM"][likeness] == rows["C99"][likeness]
    assert (folder / "firmware" / "c99" / "model.c").is_file()
    assert json.loads((folder / "summary.json").read_text())["details"]
    page = (folder / "report.html").read_text()
    assert task.title in page and ">None<" not in page
    assert jinja2.filters.do_forceescape((folder / "device.html").read_text()) in page


@pytest.mark.parametrize("name", TASKS)
def test_every_head_has_blocks_with_shared_modes_if_asked(name):
    settings = dataclasses.replace(SETTINGS, shared_modes=True, states=5, blocks=2)
    model = aim_of(TASKS[name]()).build(settings)
    blocks = [layer for layer in model.layers if isinstance(layer, S4Block)]
    assert [(type(block.dss), block.dss.state_size) for block in blocks] == [(DiagonalSSM, 5)] * 2


def test_the_device_in_a_browser_replays_test_recordings_with_their_labels(finished):
    task, folder, _ = finished
    page = (folder / "device.html").read_text()
    facts = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    assert facts["rate"] == task.rate
    assert [feature["name"] for feature in facts["features"]] == list(task.features)
    assert facts["outputs"][0]["horizon"] == (0 if task.anomaly else task.horizon)
    names = ["anomaly"] if task.anomaly else [] if task.horizon or task.targets else list(task.classes)
    assert facts["classes"] == names
    for recording in facts["recordings"]:
        size = np.dtype(recording["samples"]["type"]).itemsize
        count = len(base64.b64decode(recording["samples"]["data"])) // size // len(task.features)
        assert count >= min(task.length, min(map(len, task.splits.test.signals)))
        truth = recording["truth"]
        assert (truth is None) == bool(task.horizon and not task.anomaly)
        assert not (truth and "spans" in truth) or all(end <= count for _, end, _ in truth["spans"])


def test_a_front_gives_an_output_a_block_and_costs_are_those_of_a_step(finished):
    """Multiply-accumulates are fewer a step than an invoke."""
    _, folder, summary = finished
    front = summary["settings"]["front"] or 1
    with np.load(folder / "stream.npz") as stream:
        assert len(stream["outputs"]) * front == len(stream["signal"]) >= 120
    manifest = summary["manifest"]
    assert manifest["steps_per_invoke"] == front
    counted = summary["costs"]["multiply_accumulates_a_step"]
    assert counted == round(manifest["multiply_accumulates_per_step"] / front)
    assert {row["multiply_accumulates"] for row in summary["table"][-3:]} == {counted}
    if "instructions_a_step" in summary["costs"]:
        assert summary["costs"]["instructions_a_step"] > counted


def test_figures_are_those_of_the_saved_model(finished):
    """The table's row of the aware model, computed here from `aware.keras` by numpy."""
    task, folder, summary = finished
    model = keras.saving.load_model(folder / "aware.keras", compile=False)
    row = next(row for row in summary["table"] if row["row"] == "Keras aware")
    x, y = aim_of(task).examples("test")
    found = outputs_of(model, x)
    if task.anomaly:
        return
    if task.horizon or task.targets:
        errors = (found - y) / np.array(aim_of(task).scaling.deviation)
        assert row["rmse"] == pytest.approx(float(np.sqrt(np.mean(errors**2))), rel=1e-3)
        return
    right = (found > 0.5) == y if task.multi_label else (found.argmax(axis=-1) == y)[y != UNLABELLED]
    assert row["accuracy"] == pytest.approx(float(np.mean(right)))


def test_quantities_keep_their_units():
    values = np.array([[1000.0, 0.1, 5.0], [3000.0, 0.3, 5.0]])
    scaling = Scaling.of([values])
    np.testing.assert_allclose(scaling.standardize(values), [[-1, -1, 0], [1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(scaling.in_units(scaling.standardize(values)), values, rtol=1e-6)
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    found = outputs_of(scaling.append_to(inner), x)
    np.testing.assert_allclose(found, scaling.in_units(outputs_of(inner, x)), rtol=1e-5)


MIXED = {
    "classes": {},
    "labels": {"classes": ("odd", "fast"), "multi_label": True, "meanings": {}},
    "quantities": {"targets": ("speed", "slope"), "meanings": {}},
}


@pytest.mark.parametrize("name", MIXED)
def test_padding_changes_no_output(name):
    """Of every aim with mixed lengths: windows of 60 steps, of which some are padding, against the real steps alone."""
    task = sines(mixed_lengths=True, **MIXED[name])
    keras.utils.set_random_seed(0)
    settings = dataclasses.replace(SETTINGS, front=3)
    core = aim_of(task).build(settings)
    training.normalize_to(core, np.random.default_rng(0).normal(1.0, 2.0, (9, 60, 6)))
    x = np.random.default_rng(1).normal(size=(2, 60, 6)).astype(np.float32)
    wanted = at_length(core, 33)(x[:, :33])
    x[:, 33:] = PADDING
    np.testing.assert_allclose(core(x), wanted, atol=1e-5)
    assert np.ptp(wanted) > 1e-3


def test_score_of_anomalies_is_how_far_each_step_is_from_its_forecast():
    """Against numpy: a step and what was forecast for it `horizon` steps before, in deviations."""
    task = sines(classes=(), horizon=2, anomaly=True, meanings={}, read=with_labels(only_slow))
    aim = aim_of(task)
    model = aim.build(SETTINGS)
    x, y = aim.examples("test")
    assert set(y) == {0, 1} and len(task.windows("test")[0]) < len(x)
    seen = aim.scaling.standardize(x)
    forecast = np.pad(outputs_of(model, x), [(0, 0), (2, 0), (0, 0)])[:, :-2]
    wanted = np.abs(seen - forecast).mean(axis=(1, 2))
    np.testing.assert_allclose(outputs_of(aim.exported(model), x)[:, 0], wanted, rtol=1e-4)


def test_figures_of_classes_are_those_of_scikit_learn():
    from sklearn.metrics import precision_recall_fscore_support

    random = np.random.default_rng(0)
    y, found = random.integers(0, 4, 200), random.integers(0, 3, 200)
    rows = figures_of_classes(confusion_of(y, found, 5), "abcde")
    wanted = precision_recall_fscore_support(y, found, labels=range(5), zero_division=0)
    for column, key in zip(wanted, ("precision", "recall", "f1", "support"), strict=True):
        np.testing.assert_allclose([row[key] or 0 for row in rows], column)
    assert rows[3]["precision"] is None and rows[4]["recall"] is None and rows[4]["support"] == 0
    labels, said = random.integers(0, 2, (50, 3)), random.integers(0, 2, (50, 3))
    rows = figures_of_labels(labels, said, "abc")
    wanted = precision_recall_fscore_support(labels, said)
    np.testing.assert_allclose([row["f1"] for row in rows], wanted[2])


def test_a_live_task_decides_in_streams(finished):
    """The threshold of validation streams is in the firmware, the report has the streams, and all engines are equal."""
    task, folder, summary = finished
    if task.live is None:
        assert summary["streams"] is None and "streams" not in summary["seconds"]
        return
    found = summary["streams"]
    assert found["engines"]["equal"] and found["engines"]["steps"] > 1000
    assert summary["decision"] == found["decision"] and found["decision"]["every"] == 10
    assert found["curve"] == json.loads((folder / "curve.json").read_text())["curve"] != []
    assert list((folder / "firmware").rglob("decisions.c"))
    assert "At any time, without a reset" in (folder / "report.html").read_text()
