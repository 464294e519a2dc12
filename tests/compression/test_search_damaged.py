"""A search whose files were damaged or lost goes on: what cannot be read is run again, and nothing else."""

import warnings

import pytest
import search_worker


def trainings(folder):
    return len(search_worker.lines(folder / "trainings.log"))


def test_damaged_and_lost_files_are_recomputed(tmp_path):
    first = search_worker.run(tmp_path, "random", 6)
    trained = [trial for trial in first.trials if trial.metric is not None]
    records = {trial.name: tmp_path / "trials" / f"{trial.name}.json" for trial in trained}
    models = {name: path.with_suffix(".keras") for name, path in records.items()}
    assert len(trained) >= 4
    names = list(records)[:4]
    truncated, lost, cut, mixed = names
    records[truncated].write_bytes(records[truncated].read_bytes()[:-40])
    models[lost].unlink()
    models[cut].write_bytes(models[cut].read_bytes()[:-200])
    records[mixed].write_bytes(records[names[1]].read_bytes())
    left = [tmp_path / "trials" / f".{name}.{'0' * 32}.keras-s4" for name in ("x.json", "y.keras")]
    for path in left:
        path.write_bytes(b"half")
    (tmp_path / ".keras-tuner" / "dead").mkdir(parents=True)

    before = trainings(tmp_path)
    with pytest.warns(UserWarning, match=r"is set aside, and its trial is run again") as said:
        second = search_worker.run(tmp_path, "random", 6)
    assert sum("is set aside" in str(warning.message) for warning in said) == 4
    assert trainings(tmp_path) - before == 4
    assert {trial.name: trial.metric for trial in second.trials} == {trial.name: trial.metric for trial in first.trials}
    assert second.best.name == first.best.name
    second.best_model()
    assert all(models[name].exists() for name in names)
    assert not any(path.exists() for path in left)
    assert not (tmp_path / ".keras-tuner" / "dead").exists()

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is set aside.*")
        search_worker.run(tmp_path, "random", 6)
    assert trainings(tmp_path) - before == 4
