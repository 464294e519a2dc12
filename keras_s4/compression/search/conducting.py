"""A search in its folder, whatever is tried: begun or continued, alone or as the chief or a worker of several."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_s4.compression.search import distribution
from keras_s4.compression.search.engine import keras_tuner
from keras_s4.compression.search.trials import TrialFolder
from keras_s4.compression.search.tuner import Experimenter, SearchStoppedError, TrialTuner

TRIALS = "trials"
OWN = ".keras-tuner"


def begin(folder: Path, trials: TrialFolder, settings: Mapping[str, Any], results: Sequence[str], role: str) -> None:
    """Notes in a folder what is searched; a chief, or who is alone, sets aside what is damaged.

    Args:
        folder: of the search.
        trials: its trials.
        settings: what is searched, JSON-ready.
        results: the names of the files that the search will write there.
        role: what this process is; see `distribution.role`.

    Raises:
        ValueError: a folder with another search, or with files of such names that none wrote.
        OSError: the folder cannot be written.
    """
    if role != "worker":
        _refuse_foreign(folder, trials, results)
    trials.open(settings)
    if role != "worker":
        trials.set_aside_damaged()
    if role == "alone":
        shutil.rmtree(folder / OWN, ignore_errors=True)  # what killed processes left


def conduct(
    folder: Path,
    oracle: keras_tuner.Oracle,
    experiment: Experimenter,
    direction: str,
    deadline: float,
    results: Sequence[str],
    on_trial: Callable[[Any], Any] | None = None,
) -> None:
    """Runs trials until the oracle has no more, or time is over; a chief leads the workers that do.

    Args:
        folder: of the search.
        oracle: proposes trials.
        experiment: runs them.
        direction: "min" or "max", of the metric.
        deadline: a time of `time.monotonic`.
        results: the names of the files that the search will write; older ones are removed.
        on_trial: called with each trial that was run or found here.

    Raises:
        OSError, ConnectionError: nothing can be written, or a worker's chief does not answer.
        Exception: what went wrong in a trial, when several in a row failed.
    """
    role = distribution.role()
    if role != "worker":
        for name in results:
            (folder / name).unlink(missing_ok=True)
    oracle.deadline = deadline
    # One for each process: they share nothing there, and a late one cannot delete what another one needs.
    own = folder / OWN / distribution.tuner_id()
    try:
        runner = TrialTuner(oracle, experiment, direction, own, on_trial)
        distribution.lead(runner, deadline) if role == "chief" else runner.search()
    except SearchStoppedError as stopped:
        gone = isinstance(stopped.__cause__, ConnectionError)
        if not (gone and (folder / results[0]).exists()):  # it went because all is done
            raise stopped.__cause__ from None
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _refuse_foreign(folder: Path, trials: TrialFolder, results: Sequence[str]) -> None:
    """Refuse to replace files that no search has written, as there are where none was begun.

    Raises:
        ValueError: names them.
    """
    foreign = [] if trials.is_begun else [name for name in results if os.path.lexists(folder / name)]
    if foreign:
        raise ValueError(
            f"{folder} holds {', '.join(foreign)}, which no search has written there. Choose another folder, or move "
            "these away."
        )
