"""Before export: can a model work in the integers of its program?"""

from keras_s4.tflite.analysis.analyse import Analysis, LayerAnalysis, analyse

__all__ = ["Analysis", "LayerAnalysis", "analyse"]
