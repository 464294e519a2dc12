"""Banks of annotated-s4, S5 and the LRU, all in Flax.

annotated-s4 stacks the parameters of its channels on the second axis. Sources: srush/annotated-s4; Smith et al. 2022
(S5, arXiv 2208.04933); Orvieto et al. 2023 (LRU, arXiv 2303.06349).
"""

from __future__ import annotations

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank, ContinuousBank, diagonalized, stable, upper
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
    """`S5SSM` of one input and output."""
    if scope.has("C1") or scope.has("C2"):
        raise CheckpointError(f"{scope.path} is a bidirectional S5 layer, which cannot run step by step.")
    real = scope.take("Lambda_re", None)
    size = len(real)
    B, C, D = scope.pairs("B", size, None), scope.pairs("C", None, size), scope.take("D", None)
    _check_single(scope, "an S5", B.shape[1], C.shape[0], len(D))
    if answers.default("clip_eigs", False, "S5", (False, True)):
        real = np.minimum(real, LARGEST_REAL_PART)
    poles = real + 1j * scope.take("Lambda_im", size)
    poles = stable(poles, scope.path, answers.option("unstable", "refuse", ("refuse", "clip")), answers.notes)
    steps = np.exp(scope.take("log_step", size, 1)[:, 0])
    factor = 2.0 if answers.default("conj_sym", True, "S5", (True, False)) else 1.0
    method = answers.default("discretization", "zoh", "S5", ("zoh", "bilinear"))
    poles, weights = upper((poles * steps)[None], (factor * C[0] * B[:, 0] * steps)[None])
    return ContinuousBank(poles, np.ones(1), weights, D, method)


def lru(scope: Scope) -> Bank:
    """`LRU` of one input and output."""
    size = len(scope.take("nu_log", None))
    poles = -np.exp(scope.take("nu_log", size)) + 1j * np.exp(scope.take("theta_log", size))
    B = scope.take("B_re", size, None) + 1j * scope.take("B_im", size, None)
    C = scope.take("C_re", None, size) + 1j * scope.take("C_im", None, size)
    D = scope.take("D", None)
    _check_single(scope, "an LRU", B.shape[1], C.shape[0], len(D))
    gains = C[0] * B[:, 0] * np.exp(scope.take("gamma_log", size))
    poles, weights = upper(poles[None], (gains * poles / np.expm1(poles))[None])
    return ContinuousBank(poles, np.ones(1), weights, D)


def _check_single(scope: Scope, what: str, inputs: int, outputs: int, feedthrough: int) -> None:
    if not inputs == outputs == feedthrough == 1:
        raise CheckpointError(
            f"{scope.path or 'The checkpoint'} is {what} layer of {inputs} inputs and {outputs} outputs that share "
            "their states; only layers of one input and output become a DSS layer."
        )


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
