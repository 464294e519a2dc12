"""Real training data that installed packages bring along. Always split by subject, never by window."""

from keras_s4.datasets.images import FASHION_MNIST_CLASSES, fashion_mnist
from keras_s4.datasets.recordings import (
    FOLDS,
    SMARTWATCH_CLASSES,
    SMARTWATCH_RATE,
    Labelled,
    Recordings,
    smartwatch,
    smartwatch_recordings,
    smartwatch_split,
)
from keras_s4.datasets.speech import KEYWORD_RATE, KEYWORDS, keywords

__all__ = [
    "FASHION_MNIST_CLASSES",
    "FOLDS",
    "KEYWORDS",
    "KEYWORD_RATE",
    "SMARTWATCH_CLASSES",
    "SMARTWATCH_RATE",
    "Labelled",
    "Recordings",
    "fashion_mnist",
    "keywords",
    "smartwatch",
    "smartwatch_recordings",
    "smartwatch_split",
]
