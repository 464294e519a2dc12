"""Real training data that installed packages bring along, as arrays and as Tasks; split by subject, never by window."""

from keras_s4.datasets.built_in import BUILT_IN
from keras_s4.datasets.images import FASHION_MNIST_CLASSES, fashion_mnist, fashion_mnist_task
from keras_s4.datasets.live import Live
from keras_s4.datasets.shoulder_exercises import (
    FOLDS,
    SMARTWATCH_CLASSES,
    SMARTWATCH_RATE,
    smartwatch,
    smartwatch_recordings,
    smartwatch_split,
    smartwatch_task,
)
from keras_s4.datasets.speech import KEYWORD_RATE, KEYWORDS, keywords, keywords_task
from keras_s4.datasets.task import Metric, Sensor, Task
from keras_s4.recordings import Labelled, Recordings, Splits

__all__ = [
    "BUILT_IN",
    "FASHION_MNIST_CLASSES",
    "FOLDS",
    "KEYWORDS",
    "KEYWORD_RATE",
    "SMARTWATCH_CLASSES",
    "SMARTWATCH_RATE",
    "Labelled",
    "Live",
    "Metric",
    "Recordings",
    "Sensor",
    "Splits",
    "Task",
    "fashion_mnist",
    "fashion_mnist_task",
    "keywords",
    "keywords_task",
    "smartwatch",
    "smartwatch_recordings",
    "smartwatch_split",
    "smartwatch_task",
]
