"""Reduction of systems whose modes are shared by several inputs and outputs, each as a whole."""

from keras_s4.reduction.shared_modes.balanced import (
    balanced_truncation_of_modes,
    modal_realization,
    singular_values_of_modes,
)
from keras_s4.reduction.shared_modes.finite_horizon import finite_horizon_truncation_of_modes, response_energy
from keras_s4.reduction.shared_modes.h2 import h2_optimal_of_modes
from keras_s4.reduction.shared_modes.input_weighted import (
    correlation_of,
    input_weighted_realization,
    input_weighted_truncation_of_modes,
    response_power,
)
from keras_s4.reduction.shared_modes.modal import modal_truncation_of_modes, scores_of_modes
from keras_s4.reduction.shared_modes.realization import ModalRealization
from keras_s4.reduction.shared_modes.singular_perturbation import singular_perturbation_of_modes

__all__ = [
    "ModalRealization",
    "balanced_truncation_of_modes",
    "correlation_of",
    "finite_horizon_truncation_of_modes",
    "h2_optimal_of_modes",
    "input_weighted_realization",
    "input_weighted_truncation_of_modes",
    "modal_realization",
    "modal_truncation_of_modes",
    "response_energy",
    "response_power",
    "scores_of_modes",
    "singular_perturbation_of_modes",
    "singular_values_of_modes",
]
