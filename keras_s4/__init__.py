"""S4 models with diagonal state space layers in Keras: train, reduce, retrain, and export to microcontrollers."""

from keras_s4 import augmentation, datasets, initializers, layers, models, streaming
from keras_s4.compression import ranks, reduce, spectrum

__all__ = ["augmentation", "datasets", "initializers", "layers", "models", "ranks", "reduce", "spectrum", "streaming"]
