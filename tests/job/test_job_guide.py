"""The Python of the guide does what it says."""

import re
from pathlib import Path

import numpy as np

from keras_s4.job import pipeline
from keras_s4.job.settings import Settings

GUIDE = Path(__file__).parents[2] / "keras_s4" / "job" / "README.md"


def test_twelve_lines_of_python_go_from_arrays_to_firmware(tmp_path, monkeypatch, capsys, eager_training):
    """As they stand, but for the length of the trainings and the size of the model."""
    (code,) = [
        each for each in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "keras_s4.run" in each
    ]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    random = np.random.default_rng(0)
    y = np.tile(np.arange(3), 10)
    x = np.sin(np.arange(150)[:, None] * (0.1 + 0.2 * y[:, None, None]) + random.uniform(0, 6, (30, 1, 2)))
    np.savez(tmp_path / "pumps.npz", x=x.astype(np.float32), y=y, groups=np.repeat(np.arange(10), 3))
    monkeypatch.chdir(tmp_path)
    run = pipeline.run
    small = Settings(channels=2, states=2, blocks=1, fraction=0.5, epochs=1, retrain_epochs=1, aware_epochs=0)

    def run_small(task, out):
        assert task.settings == {"epochs": 20} and task.classes == ("off", "on", "worn")
        return run(task, out, small)

    monkeypatch.setattr(pipeline, "run", run_small)
    exec(compile(code, str(GUIDE), "exec"), {})
    assert capsys.readouterr().out.strip()
    assert (tmp_path / "runs/pumps/firmware/c99/model.c").is_file()
    assert (tmp_path / "runs/pumps/report.html").is_file()
