"""Ready-made projects around a model in C: for each ecosystem a library that it accepts as it is, and its kernels."""

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.registry import KINDS, check_project, project_files

__all__ = ["KINDS", "Export", "check_project", "project_files"]
