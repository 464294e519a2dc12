"""The task that a name stands for: a built-in one, or one that a TOML file describes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_s4.datasets import BUILT_IN, Task
from keras_s4.datasets.task_file import read_task
from keras_s4.job.places import is_file_name
from keras_s4.job.settings import Settings


def find_task(name: str | Path, fold: int | None = None) -> Task:
    """The task of a name or file.

    Args:
        name: of a built-in task, a key of `keras_s4.datasets.BUILT_IN`; or a TOML file.
        fold: which groups are kept for the test; None for the first, or what the file says.

    Raises:
        ValueError: there is none of this name, or it has no such fold; see also `read_task`.
    """
    if is_file_name(str(name)):
        return read_task(name, fold)
    if name not in BUILT_IN:
        raise ValueError(
            f"There is no built-in task {name!r}; expected one of {', '.join(BUILT_IN)}, or a file NAME.toml."
        )
    make = BUILT_IN[name]
    if fold is None:
        return make()
    if "fold" not in inspect.signature(make).parameters:
        raise ValueError(f"Task {name!r} has one split and no folds; leave --fold out.")
    return make(fold=fold)


def settings_of(task: Task, given: Mapping[str, Any]) -> Settings:
    """What the task asks for, and what was asked for in its place.

    Raises:
        ValueError: a setting that there is not, or out of range.
    """
    asked = {**task.settings, **given}
    unknown = sorted(asked.keys() - Settings().figures().keys())
    if unknown:
        raise ValueError(
            f"Task {task.name!r} has the settings {', '.join(unknown)}; expected some of "
            f"{', '.join(Settings().figures())}."
        )
    return Settings(**asked)


def check_front(task: Task, settings: Settings) -> None:
    """Refuses a convolution in front of a model whose task has no use for it.

    Raises:
        ValueError: says why.
    """
    front = settings.front
    if not front:
        return
    who = f"Task {task.name!r} got front={front} and"
    if task.every_step or task.horizon:
        raise ValueError(f"{who} asks for an output at every step; behind the front there is one at every {front}.")
    if task.live is not None or task.mixed_lengths:
        what = "live decisions" if task.live is not None else "mixed lengths"
        raise ValueError(f"{who} has {what}, which have no front yet; leave it out (front = 0).")
    if task.length % front:
        raise ValueError(f"{who} windows of {task.length} steps; expected a front that divides them.")
