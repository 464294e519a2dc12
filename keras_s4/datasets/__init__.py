"""Tasks: one's own recordings, described in a TOML file, and real data that installed packages bring along."""

from keras_s4.datasets.appliances import APPLIANCE_RATE, APPLIANCES, appliances, appliances_task
from keras_s4.datasets.built_in import BUILT_IN
from keras_s4.datasets.described_task import task_of_arrays
from keras_s4.datasets.digits import DIGITS, mnist, mnist_task
from keras_s4.datasets.drums import DRUMS, drum_recordings, drums, drums_task
from keras_s4.datasets.images import FASHION_MNIST_CLASSES, fashion_mnist, fashion_mnist_task
from keras_s4.datasets.live import Live
from keras_s4.datasets.modulations import MODULATIONS, modulations, modulations_task
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
from keras_s4.datasets.speech_commands import speech_commands, speech_commands_task
from keras_s4.datasets.task import Metric, Sensor, Task
from keras_s4.datasets.task_file import read_task
from keras_s4.recordings import Labelled, Recordings, Splits

__all__ = [
    "APPLIANCES",
    "APPLIANCE_RATE",
    "BUILT_IN",
    "DIGITS",
    "DRUMS",
    "FASHION_MNIST_CLASSES",
    "FOLDS",
    "KEYWORDS",
    "KEYWORD_RATE",
    "MODULATIONS",
    "SMARTWATCH_CLASSES",
    "SMARTWATCH_RATE",
    "Labelled",
    "Live",
    "Metric",
    "Recordings",
    "Sensor",
    "Splits",
    "Task",
    "appliances",
    "appliances_task",
    "drum_recordings",
    "drums",
    "drums_task",
    "fashion_mnist",
    "fashion_mnist_task",
    "keywords",
    "keywords_task",
    "mnist",
    "mnist_task",
    "modulations",
    "modulations_task",
    "read_task",
    "smartwatch",
    "smartwatch_recordings",
    "smartwatch_split",
    "smartwatch_task",
    "speech_commands",
    "speech_commands_task",
    "task_of_arrays",
]
