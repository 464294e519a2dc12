"""The job on every fold of a task, and how much its figures vary from fold to fold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from keras_s4.datasets import Task
from keras_s4.files import write_json
from keras_s4.job import pipeline
from keras_s4.job.settings import Settings

FOLDS = "folds.json"


def run_folds(
    make: Callable[[int], Task],
    out: Path,
    settings: Callable[[Task], Settings],
    progress: Callable[[int], pipeline.Progress],
    restart: bool = False,
) -> dict[str, Any]:
    """Does the job on each fold in a folder of its own, `OUT/fold-0` and so on, or what is left of it.

    Args:
        make: the task of a fold; that of fold 0 says how many there are.
        out: folder of the folders, and of folds.json.
        settings: of a task.
        progress: of a fold; see `keras_s4.job.pipeline.run`.
        restart: remove what earlier runs wrote there.

    Returns:
        What folds.json holds: see `summarize_folds`.

    Raises:
        ValueError: the task has one split alone; see also `keras_s4.job.pipeline.run`.
    """
    first = make(0)
    if first.folds < 2:
        raise ValueError(f"Task {first.name!r} has one split and no folds; leave --folds out.")
    out = Path(out)
    summaries = []
    for fold in range(first.folds):
        task = first if fold == 0 else make(fold)
        summaries.append(pipeline.run(task, out / f"fold-{fold}", settings(task), progress(fold), restart))
    found = summarize_folds(summaries)
    write_json(out / FOLDS, found)
    return found


def summarize_folds(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs side by side, JSON-ready.

    Args:
        summaries: what `keras_s4.job.pipeline.run` returned for each fold.

    Returns:
        The "metric"; and "rows", for each row of the runs' tables, and for the decisions of the device in streams, the
        "values" of the score in each fold, their "mean" and their standard deviation, "deviation".
    """
    summaries = list(summaries)
    score, likeness = summaries[0]["metric"]["score"], summaries[0]["metric"]["likeness"]
    rows = [
        _spread(row["row"], key, [each["table"][index][key] for each in summaries])
        for key in (score, likeness)
        for index, row in enumerate(summaries[0]["table"])
    ]
    if all((each["streams"] or {}).get("decided") for each in summaries):
        for name in ("accuracy", "settled_accuracy"):
            values = [each["streams"]["decided"]["device"][name] for each in summaries]
            rows.append(_spread("device in streams", name, values))
    return {"metric": summaries[0]["metric"], "folds": len(summaries), "rows": rows}


def _spread(row: str, key: str, values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return {
        "row": row,
        "figure": key,
        "values": values,
        "mean": mean,
        "deviation": statistics.stdev(known) if len(known) > 1 else None,
    }
