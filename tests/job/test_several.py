"""The job by two processes: the chief has what one process alone has, and the other writes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from distributed import ON_JAX, run_all

TESTS = Path(__file__).parents[1]
JOB = """
import json
import keras
from pathlib import Path
import numpy as np
import tasks
from keras_s4 import distribution
from keras_s4.job import pipeline, several
from keras_s4.job.settings import Settings

settings = Settings(epochs=2, channels=2, states=2, blocks=1, batch_size=6)
def weights_in(folder):
    model = keras.saving.load_model(f"{folder}/trained.keras", compile=False)
    return [np.asarray(weight).tolist() for weight in model.get_weights()]
def show(**found):
    print("found", json.dumps(found))
"""
ALONE = """
pipeline.train(tasks.sines(), "alone", settings)
show(weights=weights_in("alone"))
"""
TOGETHER = """
distribution.join()
task = tasks.sines()
try:
    if several.is_chief():
        pipeline.train(task, "other", Settings(epochs=3))
    else:
        pipeline.follow(task, Settings(epochs=2))
except ValueError as error:
    refused = str(error)
if several.is_chief():
    for _ in range(2):  # the second time all is done before
        pipeline.train(task, "together", settings)
    show(refused=refused, weights=weights_in("together"))
else:
    show(refused=refused, counts=[pipeline.follow(task, settings) for _ in range(2)])
"""


def found_by(ended):
    code, out, errors = ended
    assert code == 0, errors[-3000:]
    return json.loads(next(line for line in out.splitlines() if line.startswith("found "))[6:])


def test_two_processes_do_what_one_does(tmp_path):
    pytest.importorskip("jax")
    paths = {"PYTHONPATH": str(TESTS)}
    first, second = map(found_by, run_all([ON_JAX + JOB + TOGETHER] * 2, tmp_path, paths))
    alone = found_by(run_all([ON_JAX + JOB + ALONE], tmp_path, paths)[0])
    assert first["refused"] == second["refused"]
    assert "The settings of process 1 are not those of process 0" in first["refused"]
    assert second["counts"] == [1, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "together"]
    for weight, expected in zip(first["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-2, atol=1e-4)
