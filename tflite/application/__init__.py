"""The folder that a firmware project starts from: a model, the facts about it, and an application that runs it."""

from keras_s4.tflite.application.folder import save

__all__ = ["save"]
