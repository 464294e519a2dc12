"""Making a trained model smaller: parts with spectra, ranks over them, and the reduced model.

Searches with keras-tuner are in `keras_s4.compression.search`, which takes time to import.
"""

from keras_s4.compression import ranks
from keras_s4.compression.callbacks import GrowingWeight, HardLowRank
from keras_s4.compression.error_bound import ErrorBound, error_bound
from keras_s4.compression.method_choice import MethodChoice, choose_methods
from keras_s4.compression.metrics import accuracy_on, error_on, metric_on, score_on
from keras_s4.compression.parts import Cost, MatrixPart, Part, SharedStatesPart, StatesPart, parts_of
from keras_s4.compression.rank_tuning import RankTuning, rank_tuning
from keras_s4.compression.reduce import reduce
from keras_s4.compression.spectrum import Spectrum, spectrum
from keras_s4.compression.state_truncation import TruncateStates, with_own_poles

__all__ = [
    "Cost",
    "ErrorBound",
    "GrowingWeight",
    "HardLowRank",
    "MatrixPart",
    "MethodChoice",
    "Part",
    "RankTuning",
    "SharedStatesPart",
    "Spectrum",
    "StatesPart",
    "TruncateStates",
    "accuracy_on",
    "choose_methods",
    "error_bound",
    "error_on",
    "metric_on",
    "parts_of",
    "rank_tuning",
    "ranks",
    "reduce",
    "score_on",
    "spectrum",
    "with_own_poles",
]
