"""Kernels of state-spaces/s4: the minimal `s4d.py`, and `models/s4` of versions 2 to 4, diagonal and not.

Sources: Gu et al. 2022 (S4, arXiv 2111.00396; S4D, arXiv 2206.11893).
"""

from __future__ import annotations

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank, ContinuousBank, diagonalized, stable, upper
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.kernels import (
    SOFTMAX_NOTE,
    TRANSFORMS,
    feedthrough_of,
    is_bidirectional,
    made_diagonal,
    positive,
    softmax_weights,
)
from keras_s4.importers.modules.module import Scope

V4 = "models/s4"


def minimal(scope: Scope, feedthrough: np.ndarray | None, answers: Answers) -> Bank:
    """The kernel of `s4d.py`."""
    log_decay = scope.take("log_A_real", None, None)
    channels, size = log_decay.shape
    poles = -np.exp(log_decay) + 1j * scope.take("A_imag", channels, size)
    weights = 2.0 * scope.pairs("C", channels, size)
    time_steps = np.exp(scope.take("log_dt", channels))
    poles = stable(poles, scope.path, answers.option("unstable", "refuse", ("refuse", "clip")), answers.notes)
    return ContinuousBank(*_ordered(poles, time_steps, weights), feedthrough_of(feedthrough, channels, channels))


def full(scope: Scope, feedthrough: np.ndarray | None, answers: Answers) -> Bank:
    """The kernel of `models/s4`, of version 4, or of those before it, whose parameters have other names."""
    scope = _as_version_4(scope)
    inv_dt = scope.take("inv_dt", None, None)
    real = scope.take("A_real", None, None)
    size, channels = real.shape[1], inv_dt.shape[0]
    if channels % real.shape[0]:
        raise CheckpointError(f"{scope.whole('A_real')!r} has {real.shape[0]} rows, which do not divide {channels}.")
    tiles = channels // real.shape[0]
    if inv_dt.shape[1] not in (1, size):
        raise CheckpointError(f"{scope.whole('inv_dt')!r} has {inv_dt.shape[1]} columns; expected 1 or {size}.")
    choose = answers.default
    A = -positive(real, choose("real_transform", "exp", V4, TRANSFORMS)).astype(np.complex128)
    is_real = not scope.has("A_imag")
    if not is_real:
        imaginary = scope.take("A_imag", *real.shape)
        A -= 1j * positive(imaginary, choose("imag_transform", "none", V4, TRANSFORMS))
    read = scope.take if is_real else scope.pairs
    B, C = read("B", 1, *real.shape)[0], read("C", None, channels, size)
    if choose("dt_fast", False, V4, (False, True)):
        inv_dt = np.sinh(inv_dt)
    time_steps = positive(inv_dt, choose("dt_transform", "exp", V4, TRANSFORMS))
    A, B = np.tile(A, (tiles, 1)), np.tile(B, (tiles, 1))
    limit = choose("bandlimit", None, V4)
    if limit is not None:
        C = C * (time_steps * np.abs(A.imag) / (2.0 * np.pi) < 0.5 * limit)
    if scope.has("P"):
        return _low_rank(scope, A, B, C, time_steps, tiles, feedthrough, answers)
    return _diagonal(scope, A, B * C, time_steps, feedthrough, answers)


def _diagonal(scope, A, weights, time_steps, feedthrough, answers) -> Bank:
    """Heads of a diagonal system: `weights` is `[heads, H, N]`."""
    heads, channels, size = weights.shape
    method = answers.default("disc", "zoh", V4, ("zoh", "bilinear", "dss"))
    A = stable(A, scope.path, answers.option("unstable", "refuse", ("refuse", "clip")), answers.notes)
    if method == "dss":
        length = answers.ask("training_length", f"steps of the training, for the softmax of {scope.path}", ())
        answers.note(SOFTMAX_NOTE.format(length))
        weights = softmax_weights(weights, A, A * time_steps, length)
    else:
        weights = 2.0 * weights
    if time_steps.shape[1] > 1:  # a time step for each mode goes into its pole
        A, weights, time_steps = A * time_steps, weights * time_steps, np.ones((channels, 1))
    poles, steps = np.tile(A, (heads, 1)), np.tile(time_steps[:, 0], heads)
    given = feedthrough_of(feedthrough, channels, heads * channels)
    return ContinuousBank(
        *_ordered(poles, steps, weights.reshape(-1, size)),
        given,
        "bilinear" if method == "bilinear" else "zoh",
        is_bidirectional(feedthrough, heads),
    )


def _low_rank(scope, A, B, C, time_steps, tiles, feedthrough, answers) -> Bank:
    """A system that is diagonal but for a matrix of low rank, made diagonal."""
    heads, channels, size = C.shape
    P = np.tile(scope.pairs("P", None, A.shape[0] // tiles, size), (1, tiles, 1))
    Q = P.conj()
    if scope.has("Q"):
        Q = np.tile(scope.pairs("Q", None, A.shape[0] // tiles, size), (1, tiles, 1))
    length = _kernel_length(scope, answers)
    A, B, C, P, Q = (np.concatenate([part, part.conj()], axis=-1) for part in (A, B, C, P, Q))
    matrices = A[:, :, None] * np.eye(2 * size) - np.einsum("rhn,rhm->hnm", P, Q)
    half = 0.5 * np.broadcast_to(np.tile(time_steps, (1, 2 if time_steps.shape[1] > 1 else 2 * size)), A.shape)
    inverse = np.linalg.inv(np.eye(2 * size) - half[:, :, None] * matrices)
    discrete = inverse @ (np.eye(2 * size) + half[:, :, None] * matrices)
    inputs = (inverse @ (2.0 * half * B)[:, :, None])[:, :, 0]
    if length:  # what is stored is C (1 - A^L)
        rest = np.eye(2 * size) - np.linalg.matrix_power(discrete, length)
        C = np.einsum("chn,hnm->chm", C, np.linalg.inv(rest))
    given = feedthrough_of(feedthrough, channels, heads * channels)
    tiled = (np.tile(discrete, (heads, 1, 1)), np.tile(inputs, (heads, 1)), C.reshape(-1, 2 * size))
    system = diagonalized(*tiled, given, scope.path)
    steps = np.tile(time_steps.mean(axis=1), heads)
    return made_diagonal(system, steps, is_bidirectional(feedthrough, heads), scope.path, answers)


def _kernel_length(scope: Scope, answers: Answers) -> int:
    """Steps that the stored output matrix is meant for; 0 if it is as it is."""
    name = scope.first("l_kernel", "L")
    if name is None:
        return answers.ask("training_length", f"steps that the kernel of {scope.path} was trained for, l_max", ())
    length = scope.take(name)
    if length.size != 1 or not 0 <= length.item() == int(length.item()) <= 10**7:
        raise CheckpointError(f"{scope.whole(name)!r} is {length!r:.80}; expected a number of steps.")
    return int(length.item())


def _as_version_4(scope: Scope) -> Scope:
    """The kernel's arrays by the names of version 4."""
    if scope.has("inv_dt"):
        return scope
    channels = scope.take("log_dt").shape[0]
    renamed = {"inv_dt": scope.take("log_dt").reshape(channels, -1)}
    for name in ("B", "C", "P", "Q", "L"):
        if scope.has(name):
            renamed[name] = scope.take(name)
    if scope.has("w"):
        w = scope.pairs("w").reshape(-1, renamed["C"].shape[-2])
        renamed |= {"A_real": np.log(-w.real), "A_imag": -w.imag}
    else:
        real = scope.take(scope.first("inv_w_real", "log_w_real") or "inv_w_real")
        renamed["A_real"] = real.reshape(-1, real.shape[-1])
        renamed["A_imag"] = -scope.take("w_imag").reshape(renamed["A_real"].shape)
    size = renamed["A_real"].shape[1]
    renamed["B"] = renamed["B"].reshape(1, -1, size, 2)
    for name in ("P", "Q"):
        if name in renamed:
            renamed[name] = renamed[name].reshape(renamed[name].shape[0], -1, size, 2)
    if renamed["B"].shape[1] != renamed["A_real"].shape[0]:
        copies = max(renamed["B"].shape[1], renamed["A_real"].shape[0])
        for name, axis in (("B", 1), ("A_real", 0), ("A_imag", 0)):
            renamed[name] = np.repeat(renamed[name], copies // renamed[name].shape[axis], axis=axis)
    return Scope({scope.whole(name): array for name, array in renamed.items()}, scope.path)


def _ordered(poles: np.ndarray, time_steps: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    poles, weights = upper(poles, weights)
    return poles, time_steps, weights
