"""Kernels of diagonal systems from their published parameters: arithmetic alone."""

from __future__ import annotations

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import DiscreteBank
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.systems import DiagonalSystem

# Of the published softmax and its twins: what bounds a reciprocal.
EPSILON = 1e-7
SOFTMAX_NOTE = "the softmax over {} training steps is folded into the residues; the layer has the exp kernel"


def reciprocal(x: np.ndarray) -> np.ndarray:
    """`1 / x`, bounded as published."""
    return x.conj() / (np.abs(x) ** 2 + EPSILON)


def clamped_reciprocal(x: np.ndarray) -> np.ndarray:
    """`1 / x`, bounded in another way as published."""
    return x.conj() / np.maximum(np.abs(x) ** 2, EPSILON)


def softmax_weights(weights: np.ndarray, poles: np.ndarray, exponents: np.ndarray, length: int) -> np.ndarray:
    """Weights of an `exp` kernel that gives what the softmax kernel of DSS does over so many steps.

    Args:
        weights: `[R, N]` of the softmax kernel.
        poles: continuous, `[R, N]`.
        exponents: poles times time steps.
        length: steps of the training.
    """
    return weights * poles * reciprocal(np.expm1(exponents * length) * poles)


def positive(values: np.ndarray, transform: str) -> np.ndarray:
    """A positive number from the parameter that stands for it."""
    if transform == "exp":
        return np.exp(values)
    if transform == "relu":
        return np.maximum(values, 0.0) + 1e-4
    if transform == "sigmoid":
        return 1.0 / (1.0 + np.exp(-values))
    if transform == "softplus":
        return np.logaddexp(0.0, values)
    return values


TRANSFORMS = ("exp", "none", "relu", "sigmoid", "softplus")


def feedthrough_of(given: np.ndarray | None, channels: int, rows: int) -> np.ndarray:
    """D of each row; those that look at the future have none.

    Args:
        given: `[H]` or `[heads, H]`.
        channels: H.
        rows: of the bank, in both directions.
    """
    flat = np.zeros(0) if given is None else given.reshape(-1)
    wide = given is not None and given.shape[-1] != channels
    if wide or len(flat) not in (0, rows, rows // 2):
        there = "" if given is None else list(given.shape)
        raise CheckpointError(f"D has the shape {there}; expected {channels} channels of {rows // channels} heads.")
    return np.concatenate([flat, np.zeros(rows - len(flat))])


def is_bidirectional(feedthrough: np.ndarray | None, heads: int) -> bool:
    """Kernels of both directions are twice as many as the rows of D."""
    return feedthrough is not None and heads == 2 * (feedthrough.shape[0] if feedthrough.ndim > 1 else 1)


def made_diagonal(
    system: DiagonalSystem, time_steps: np.ndarray, bidirectional: bool, name: str, answers: Answers
) -> DiscreteBank:
    """The bank of a system whose low-rank part was made diagonal, and what is to be said of it."""
    bank = DiscreteBank(system, time_steps, bidirectional)
    answers.note(f"{name}: the low-rank part was made diagonal, {system.state_size} modes")
    if bank.needs_double_precision:
        answers.note(
            f"{name}: residues of up to {np.abs(system.residues).max():.0f} cancel, so the layer computes in double "
            "precision; reduce the model before you convert it"
        )
    return bank
