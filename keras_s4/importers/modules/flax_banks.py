"""Banks of annotated-s4, S5 and the LRU, all in Flax.

annotated-s4 stacks the parameters of its channels on the second axis. Sources: srush/annotated-s4; Smith et al. 2022
(S5, arXiv 2208.04933); Orvieto et al. 2023 (LRU, arXiv 2303.06349).
"""

from __future__ import annotations

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank, ContinuousBank, SharedBank, diagonalized, stable, upper
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.kernels import SOFTMAX_NOTE, made_diagonal, reciprocal
from keras_s4.importers.modules.module import Scope

LARGEST_REAL_PART = -1e-4


def annotated_dss(scope: Scope, answers: Answers) -> Bank:
    """`DSSLayer`: a softmax over the training's steps."""
    real = scope.take("Lambda_re", None, None)
    size, channels = real.shape
    poles = (real + 1j * scope.take("Lambda_im", size, channels)).T
    weights = _pairs_of_channels(scope, "W", scope.take("W"), size, channels)
    time_steps = np.exp(scope.take("log_step", 1, channels)[0])
    unstable = answers.option("unstable", "refuse", ("refuse", "clip"))
    why = " The softmax kernel divides them by their sum, which no recurrence can."
    poles = stable(poles, scope.path, unstable, answers.notes, why)
    length = answers.ask("training_length", f"steps of the training, l_max of {scope.path}", ())
    answers.note(SOFTMAX_NOTE.format(length))
    exponents = poles * time_steps[:, None]
    total = np.expm1(exponents * length) / np.expm1(exponents)
    poles, weights = upper(poles, weights * reciprocal(total) / np.expm1(exponents))
    return ContinuousBank(poles, time_steps, weights, scope.take("D", 1, channels)[0])


def annotated_s4d(scope: Scope) -> Bank:
    """`S4DLayer`, whose B is not used."""
    real = scope.take("A_re", None, None)
    size, channels = real.shape
    poles = (np.minimum(real, LARGEST_REAL_PART) + 1j * scope.take("A_im", size, channels)).T
    weights = _pairs_of_channels(scope, "C", scope.take("C"), size, channels)
    for name in ("B_re", "B_im"):
        scope.take(name, size, channels)
    time_steps = np.exp(scope.take("log_step", 1, channels)[0])
    poles, weights = upper(poles, weights)
    return ContinuousBank(poles, time_steps, weights, scope.take("D", 1, channels)[0])


def annotated_s4(scope: Scope, answers: Answers) -> Bank:
    """`S4Layer`: diagonal but for a matrix of rank 1, made diagonal."""
    real = scope.take("Lambda_re", None, None)
    size, channels = real.shape
    diagonal = (np.minimum(real, LARGEST_REAL_PART) + 1j * scope.take("Lambda_im", size, channels)).T
    P, B = (_complex(scope, name, size, channels).T for name in ("P", "B"))
    C = _pairs_of_channels(scope, "C", scope.take("C"), size, channels)
    half = 0.5 * np.exp(scope.take("log_step", 1, channels)[0])
    length = answers.ask("training_length", f"steps of the training, l_max of {scope.path}", ())
    matrices = diagonal[:, :, None] * np.eye(size) - P[:, :, None] * P.conj()[:, None, :]
    inverse = np.linalg.inv(np.eye(size) - half[:, None, None] * matrices)
    discrete = inverse @ (np.eye(size) + half[:, None, None] * matrices)
    inputs = (inverse @ (2.0 * half[:, None] * B)[:, :, None])[:, :, 0]
    rest = np.eye(size) - np.linalg.matrix_power(discrete, length)
    # What is stored is conj(C) (1 - A^L).
    outputs = np.einsum("hn,hnm->hm", C.conj(), np.linalg.pinv(rest))
    system = diagonalized(discrete, inputs, outputs, scope.take("D", 1, channels)[0], scope.path)
    return made_diagonal(system, 2.0 * half, False, scope.path, answers)


def s5(scope: Scope, answers: Answers) -> Bank:
    """`S5SSM`: one system of all channels, or of one input and output."""
    real = scope.take("Lambda_re", None)
    size = len(real)
    B = scope.pairs("B", size, None)
    C, D = _outputs_of_s5(scope, B.shape[1], size), scope.take("D", B.shape[1])
    if answers.default("clip_eigs", False, "S5", (False, True)):
        real = np.minimum(real, LARGEST_REAL_PART)
    poles = real + 1j * scope.take("Lambda_im", size)
    poles = stable(poles, scope.path, answers.option("unstable", "refuse", ("refuse", "clip")), answers.notes)
    steps = np.exp(scope.take("log_step", size, 1)[:, 0])
    pairs = answers.default("conj_sym", True, "S5", (True, False))
    method = answers.default("discretization", "zoh", "S5", ("zoh", "bilinear"))
    return _of_channels(poles, steps, B, C if pairs else 0.5 * C, D, method)


def _outputs_of_s5(scope: Scope, channels: int, size: int) -> np.ndarray:
    """C `[H, N]`; of a bidirectional layer `[2 H, N]`, for the future below, stored in two matrices or side by side."""
    if scope.has("C1"):
        return np.concatenate([scope.pairs(name, channels, size) for name in ("C1", "C2")])
    stored = scope.arrays.get(scope.whole("C"))
    if stored is not None and stored.ndim > 1 and stored.shape[1] == 2 * size:
        return np.concatenate(np.split(scope.pairs("C", channels, 2 * size), 2, axis=1))
    return scope.pairs("C", channels, size)


def lru(scope: Scope) -> Bank:
    """`LRU`: one system of all channels, or of one input and output."""
    size = len(scope.take("nu_log", None))
    poles = -np.exp(scope.take("nu_log", size)) + 1j * np.exp(scope.take("theta_log", size))
    B = scope.take("B_re", size, None) + 1j * scope.take("B_im", size, None)
    channels = B.shape[1]
    C = scope.take("C_re", channels, size) + 1j * scope.take("C_im", channels, size)
    B = B * (np.exp(scope.take("gamma_log", size)) * poles / np.expm1(poles))[:, None]
    return _of_channels(poles, np.ones(size), B, 0.5 * C, scope.take("D", channels))


def _of_channels(
    poles: np.ndarray, steps: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, method: str = "zoh"
) -> Bank:
    """`x <- p x + g B u`, `y = 2 Re(C x) + D u`, with poles of the upper half plane; of one channel a DSS layer's.

    With twice as many rows of C as there are channels it is bidirectional, which a DSS layer is in another way: its
    systems of the future do not see the current input.
    """
    bidirectional = len(C) > len(D)
    if len(D) == 1 and not bidirectional:
        poles, weights = upper((poles * steps)[None], (2.0 * C[0] * B[:, 0] * steps)[None])
        return ContinuousBank(poles, np.ones(1), weights, D, method)
    lower = poles.imag < 0.0
    B, C = np.where(lower[:, None], B.conj(), B), np.where(lower, C.conj(), C)
    return SharedBank(np.where(lower, poles.conj(), poles), steps, B, C, D, method, bidirectional)


def _pairs_of_channels(scope: Scope, name: str, stored: np.ndarray, size: int, channels: int) -> np.ndarray:
    """`[H, N]` complex of pairs whose second axis is the channel's: of `[N, 2]` or `[1, N, 2]` in one layer."""
    shapes = {(size, channels, 2): (0, 1, 2), (1, channels, size, 2): None}
    if stored.shape not in shapes:
        expected = f"[{size}, {channels}, 2]"
        raise CheckpointError(f"{scope.whole(name)!r} has the shape {list(stored.shape)}; expected {expected}.")
    pairs = stored.transpose(1, 0, 2) if stored.ndim == 3 else stored[0]
    return pairs[..., 0] + 1j * pairs[..., 1]


def _complex(scope: Scope, name: str, *shape: int) -> np.ndarray:
    array = scope.arrays.get(scope.whole(name))
    if array is not None and array.ndim == len(shape):
        return scope.take(name, *shape).astype(np.complex128)
    return scope.pairs(name, *shape)
