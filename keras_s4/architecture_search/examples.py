"""What networks learn from, and what they are compared on: arrays, or a task."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_s4.augmentation.shuffled_windows import ShuffledArrays
from keras_s4.checks import choice
from keras_s4.compression.fingerprints import digest
from keras_s4.datasets import Task
from keras_s4.samples import check_examples, real_array
from keras_s4.scoring.heads import BINARY, CLASSES, MULTI_LABEL, REGRESSION, TASKS, Head, are_whole

WHO = "search_architectures"
# Those that a model of the recipe can be judged by; the first is the usual one.
METRICS = {
    CLASSES: ("accuracy", "loss"),
    BINARY: ("accuracy", "loss"),
    MULTI_LABEL: ("accuracy", "exact", "loss"),
    REGRESSION: ("rmse", "mae", "loss"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Training and validation data of a search.

    Args:
        head: "classes", "binary", "multi_label" or "regression".
        outputs: classes, labels or quantities.
        input_shape: `(L, features)`.
        batches: a function from a batch size and a seed to what is trained on, whose `epoch` chooses its order.
        units: what normalisation adapts to: recordings, or windows `[W, L, F]`.
        targets: of these; None where the recordings have them.
        x: validation windows `[W, L, F]`.
        y: what outputs for them should be, as `Head.targets` gives it.
        rate: input samples a second, or None.
        identity: what tells these data from others, JSON-ready.
        normalize: whether networks begin with features of mean 0 and deviation 1.
    """

    head: str
    outputs: int
    input_shape: tuple[int, int]
    batches: Callable[[int, int], keras.utils.PyDataset]
    units: Any
    targets: Any
    x: np.ndarray
    y: np.ndarray
    rate: float | None
    identity: dict[str, Any]
    normalize: bool


def examples_of(
    x: Any, y: Any, validation_data: Any, head: str | None, rate: float | None, normalize: bool | None
) -> Examples:
    """The data of a search.

    Args:
        x: windows `[W, L, F]`, or a `Task`, which has all of the others.
        y: their targets.
        validation_data: the same of others.
        head: what the targets are; by default told by their form.
        rate: input samples a second.
        normalize: whether networks normalise; by default as the task says, and with arrays they do.

    Raises:
        TypeError, ValueError: data that no network learns from, or that do not fit together.
        NotImplementedError: a task whose networks are not searched for.
    """
    if head is not None:
        choice(head, f"{WHO} got head=", TASKS)
    if not isinstance(x, Task):
        return _of_arrays(x, y, validation_data, head, rate, normalize)
    if y is not None or validation_data is not None or head is not None:
        raise ValueError(f"{WHO} got a Task, and y, validation_data or head besides; the task has them.")
    return _of_task(x, rate, normalize)


def _of_arrays(x: Any, y: Any, validation_data: Any, head: str | None, rate, normalize) -> Examples:
    if not isinstance(validation_data, tuple) or len(validation_data) != 2 or y is None:
        raise ValueError(f"{WHO} needs y and validation_data=(inputs, targets), or a Task in place of x.")
    sides = []
    for (inputs, targets), who in (((x, y), WHO), (validation_data, f"{WHO}, validation_data,")):
        inputs = real_array(inputs, f"{who} got x")
        check_examples(inputs, targets, who)
        if inputs.ndim != 3:
            raise ValueError(f"{who} got x of shape {list(inputs.shape)}; expected windows [W, steps, features].")
        sides.append((inputs.astype(np.float32), np.asarray(targets)))
    (x, y), (x_validation, y_validation) = sides
    if x.shape[1:] != x_validation.shape[1:]:
        raise ValueError(
            f"{WHO} got training windows {list(x.shape[1:])} and validation windows {list(x_validation.shape[1:])}; "
            "expected one length and the same features."
        )
    if y.ndim != y_validation.ndim or y.shape[1:] != y_validation.shape[1:]:
        raise ValueError(
            f"{WHO} got targets {list(y.shape)} for training and {list(y_validation.shape)} for validation."
        )
    head = head or _head_of(y, y_validation)
    outputs = _outputs_of(y, y_validation, head)
    y, y_validation = (
        Head(head).targets(targets, (len(targets), outputs), who)
        for targets, who in ((y, WHO), (y_validation, f"{WHO}, validation_data,"))
    )
    y = y.astype(np.float32 if head == REGRESSION else np.int64)
    return Examples(
        head=head,
        outputs=outputs,
        input_shape=x.shape[1:],
        batches=lambda batch_size, seed: ShuffledArrays(x, y, batch_size, seed),
        units=x,
        targets=y if head == REGRESSION else None,
        x=x_validation,
        y=y_validation,
        rate=rate,
        identity={"data": digest(x, y, x_validation, y_validation), "head": head},
        normalize=True if normalize is None else normalize,
    )


def _of_task(task: Task, rate: float | None, normalize: bool | None) -> Examples:
    asked = {
        "recordings of mixed lengths (mixed_lengths), whose padding no network here masks": task.mixed_lengths,
        "an output at every step (every_step)": task.every_step,
        "forecasts (horizon)": bool(task.horizon),
    }
    if refused := [words for words, value in asked.items() if value]:
        raise NotImplementedError(
            f"{WHO} got task {task.name!r} with {' and '.join(refused)}; it searches networks for windows of one "
            "length with a class, labels or quantities each. Give such a task, or arrays."
        )
    if task.live is not None:
        warnings.warn(
            f"Task {task.name!r} decides in live streams; networks are compared at the end of its windows instead.",
            stacklevel=4,
        )
        task = dataclasses.replace(task, live=None, decision={})
    x, y = task.windows("validation")
    trained = task.windows("train")
    return Examples(
        head=task.head.task,
        outputs=len(task.outputs),
        input_shape=task.input_shape,
        batches=task.batches,
        units=task.splits.train,
        targets=None,
        x=np.asarray(x, np.float32),
        y=np.asarray(y),
        rate=task.rate if rate is None else rate,
        identity={"data": digest(*map(np.asarray, (*trained, x, y))), "task": task.name, "head": task.head.task},
        normalize=bool(task.settings.get("normalize", True)) if normalize is None else normalize,
    )


def _head_of(*targets: np.ndarray) -> str:
    """What targets are by their form: numbers of classes `[W]`, rows of zeros and ones, or quantities."""
    whole = all(array.dtype.kind in "biu" for array in targets)
    if targets[0].ndim == 1 and whole:
        return CLASSES
    if targets[0].ndim == 2 and whole and all(np.isin(array, (0, 1)).all() for array in targets):
        return MULTI_LABEL
    if whole or not all(array.dtype.kind == "f" for array in targets) or targets[0].ndim > 2:
        forms = " and ".join(f"{list(array.shape)} of {array.dtype}" for array in targets)
        raise ValueError(
            f"{WHO} got targets {forms}; expected classes [W] or rows of zeros and ones [W, C] as whole numbers, or "
            "quantities [W] or [W, T] as float. Or say what they are: head=."
        )
    return REGRESSION


def _outputs_of(y: np.ndarray, y_validation: np.ndarray, head: str) -> int:
    if head == BINARY:
        return 1
    if head != CLASSES or y.ndim > 1:
        return y.shape[1] if y.ndim > 1 else 1
    if not (are_whole(y) and are_whole(y_validation)):
        return 2  # what is wrong with them is told where they are checked
    classes = int(y.max()) + 1
    if classes < 2:
        raise ValueError(f"{WHO} got one class alone in y; expected two or more, numbered from 0.")
    if missing := sorted(set(range(classes)) - set(np.unique(y).astype(int).tolist())):
        raise ValueError(
            f"{WHO} got y without the classes {', '.join(map(str, missing[:5]))} of {classes}; number those that there "
            "are from 0: np.unique(y, return_inverse=True)[1]."
        )
    return classes
