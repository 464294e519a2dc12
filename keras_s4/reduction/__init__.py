"""Model reduction of diagonal systems, in numpy and scipy alone."""

from keras_s4.reduction.balanced import balanced_truncation, hankel_singular_values
from keras_s4.reduction.finite_horizon import finite_horizon_truncation
from keras_s4.reduction.h2 import h2_optimal
from keras_s4.reduction.input_weighted import input_weighted_truncation
from keras_s4.reduction.methods import METHODS, METHODS_OF_MODES, options_of, reduce
from keras_s4.reduction.modal import modal_scores, modal_truncation
from keras_s4.reduction.result import ModalReduction, Reduction
from keras_s4.reduction.shared_modes import (
    balanced_truncation_of_modes,
    finite_horizon_truncation_of_modes,
    h2_optimal_of_modes,
    input_weighted_truncation_of_modes,
    modal_truncation_of_modes,
    scores_of_modes,
    singular_perturbation_of_modes,
    singular_values_of_modes,
)
from keras_s4.reduction.singular_perturbation import singular_perturbation

__all__ = [
    "METHODS",
    "METHODS_OF_MODES",
    "ModalReduction",
    "Reduction",
    "balanced_truncation",
    "balanced_truncation_of_modes",
    "finite_horizon_truncation",
    "finite_horizon_truncation_of_modes",
    "h2_optimal",
    "h2_optimal_of_modes",
    "hankel_singular_values",
    "input_weighted_truncation",
    "input_weighted_truncation_of_modes",
    "modal_scores",
    "modal_truncation",
    "modal_truncation_of_modes",
    "options_of",
    "reduce",
    "scores_of_modes",
    "singular_perturbation",
    "singular_perturbation_of_modes",
    "singular_values_of_modes",
]
