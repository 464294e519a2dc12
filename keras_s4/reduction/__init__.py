"""Model reduction of diagonal systems, in numpy and scipy alone."""

from keras_s4.reduction.balanced import balanced_truncation, hankel_singular_values
from keras_s4.reduction.finite_horizon import finite_horizon_truncation
from keras_s4.reduction.h2 import h2_optimal
from keras_s4.reduction.input_weighted import input_weighted_truncation
from keras_s4.reduction.methods import METHODS, options_of, reduce
from keras_s4.reduction.modal import modal_scores, modal_truncation
from keras_s4.reduction.result import ModalReduction, Reduction
from keras_s4.reduction.shared_modes import balanced_truncation_of_modes, singular_values_of_modes
from keras_s4.reduction.singular_perturbation import singular_perturbation

__all__ = [
    "METHODS",
    "ModalReduction",
    "Reduction",
    "balanced_truncation",
    "balanced_truncation_of_modes",
    "finite_horizon_truncation",
    "h2_optimal",
    "hankel_singular_values",
    "input_weighted_truncation",
    "modal_scores",
    "modal_truncation",
    "options_of",
    "reduce",
    "singular_perturbation",
    "singular_values_of_modes",
]
