"""Modal truncation of a system whose modes are shared: keeps the modes that matter most, as they are."""

from __future__ import annotations

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.modal import ROUNDING
from keras_s4.reduction.result import ModalReduction
from keras_s4.reduction.shared_modes.realization import check_rank_of_modes, chosen_modes


def modal_truncation_of_modes(system: ModalSystem, rank: int = 8) -> ModalReduction:
    """Keep the modes with the largest scores (:func:`scores_of_modes`) and drop the others.

    Poles and matrices stay as they are, and so does the feedthrough. By the triangle inequality the error obeys
    ``||G - G_reduced||_Hinf <=`` the sum of the scores dropped.

    Args:
        system: the system to reduce, of N entries.
        rank: entries (complex modes) kept, from 1 to N.

    Returns:
        A :class:`ModalReduction`; its system has `rank` entries, in the order they had, and its spectrum [N] holds the
        scores, non-increasing.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N.

    References:
        Gwak, Moon, Ko and Park, Layer-adaptive state pruning for deep state space models, NeurIPS 2024
        (arXiv 2411.02824), whose scores of systems with several inputs and outputs are these for complex modes alone.
    """
    rank = check_rank_of_modes(rank, system)
    scores = scores_of_modes(system)
    best_first = np.argsort(-scores, kind="stable")
    reduced = chosen_modes(system, np.sort(best_first[:rank]))
    dropped = (1.0 + ROUNDING) * float(scores[best_first[rank:]].sum())
    return ModalReduction("modal", system, reduced, scores[best_first], dropped)


def scores_of_modes(system: ModalSystem) -> np.ndarray:
    """Return the Hinf norm [N] of what every mode contributes, a pair together with its conjugate; padding has 0."""
    modes = zip(system.poles, system.inputs, system.outputs.T, system.is_padding, strict=True)
    return np.array([0.0 if padding else _single_mode(*mode).hinf_norm() for *mode, padding in modes])


def _single_mode(pole: complex, inputs: np.ndarray, outputs: np.ndarray) -> ModalSystem:
    """A mode alone, with its inputs and outputs turned into two at most, which changes no gain."""
    written, read = (
        np.linalg.qr(np.stack([v.real, v.imag], axis=1), mode="r") @ [1.0, 1.0j] for v in (inputs, outputs)
    )
    return ModalSystem([pole], written[None], read[:, None], np.zeros((len(read), len(written))))
