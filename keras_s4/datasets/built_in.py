"""The tasks that have a name of their own, for `keras-s4 run NAME`."""

from __future__ import annotations

import functools
from collections.abc import Callable

from keras_s4.datasets.appliances import appliances_task
from keras_s4.datasets.digits import mnist_task
from keras_s4.datasets.drums import drums_task
from keras_s4.datasets.images import fashion_mnist_task
from keras_s4.datasets.modulations import modulations_task
from keras_s4.datasets.shoulder_exercises import smartwatch_task
from keras_s4.datasets.speech import keywords_task
from keras_s4.datasets.speech_commands import speech_commands_task
from keras_s4.datasets.task import Task

# What makes each task; it takes a `fold` if there are several splits. Nothing is read before the task's splits are.
BUILT_IN: dict[str, Callable[..., Task]] = {
    "smartwatch": smartwatch_task,
    "fashion-mnist-rows": functools.partial(fashion_mnist_task, "rows"),
    "fashion-mnist-pixels": functools.partial(fashion_mnist_task, "pixels"),
    "keywords": lambda fold=0: keywords_task(fold=fold),
    "appliances": appliances_task,
    "drums": drums_task,
    "mnist-pixels": functools.partial(mnist_task, "pixels"),
    "modulations": lambda: modulations_task(),
    "speech-commands": speech_commands_task,
}
