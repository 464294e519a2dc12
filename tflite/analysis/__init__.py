"""Can a model work in the integers of its program, before export? And what does each layer lose?"""

from keras_s4.tflite.analysis.analyse import Analysis, LayerAnalysis, analyse
from keras_s4.tflite.analysis.formats import Formats, compare_formats
from keras_s4.tflite.analysis.layers import layer_ratios

__all__ = ["Analysis", "Formats", "LayerAnalysis", "analyse", "compare_formats", "layer_ratios"]
