"""Penalties that make a model compressible while it trains: what decays fast can be cut off afterwards."""

from keras_s4.regularizers.penalties import HankelNorm, NuclearNorm, WeightedRegularizer

__all__ = ["HankelNorm", "NuclearNorm", "WeightedRegularizer"]
