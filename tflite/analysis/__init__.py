"""Can a model work in the integers of its program, before export? And what does each layer lose?"""

from keras_s4.tflite.analysis.analyse import analyse
from keras_s4.tflite.analysis.layer_analysis import LayerAnalysis
from keras_s4.tflite.analysis.layers import layer_ratios
from keras_s4.tflite.analysis.result import Analysis

__all__ = ["Analysis", "LayerAnalysis", "analyse", "layer_ratios"]
