"""Model reduction of diagonal systems, in numpy and scipy alone."""

from keras_s4.reduction.balanced import balanced_truncation, hankel_singular_values
from keras_s4.reduction.result import Reduction

__all__ = ["Reduction", "balanced_truncation", "hankel_singular_values"]
