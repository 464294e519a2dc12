"""What `keras-s4 new` does: a look at a folder of recordings, and a task file about it."""

from keras_s4.datasets.surveying.survey import Survey, survey

__all__ = ["Survey", "survey"]
