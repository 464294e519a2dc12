"""Before export: can a model work in the integers of its program?"""

from keras_s4.tflite.analysis.analyse import Analysis, LayerAnalysis, analyse
from keras_s4.tflite.analysis.formats import Formats, compare_formats

__all__ = ["Analysis", "Formats", "LayerAnalysis", "analyse", "compare_formats"]
