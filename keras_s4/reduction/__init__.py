"""Model reduction of diagonal systems, in numpy and scipy alone."""

from keras_s4.reduction.balanced import Reduction, balanced_truncation, hankel_singular_values

__all__ = ["Reduction", "balanced_truncation", "hankel_singular_values"]
