"""Kernels of ag1988/dss: Gupta, Gu and Berant 2022 (DSS, arXiv 2203.14343)."""

from __future__ import annotations

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank, ContinuousBank, stable, upper
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.kernels import (
    SOFTMAX_NOTE,
    clamped_reciprocal,
    feedthrough_of,
    is_bidirectional,
    softmax_weights,
)
from keras_s4.importers.modules.module import Scope

SCALED, PLAIN = ("exp", "clip"), ("exp-no-scale", "clip-no-scale")
# The largest real part of a pole of the clip kernels, which may be above zero.
LARGEST_REAL_PART = 1e-4


def kernel(scope: Scope, feedthrough: np.ndarray, answers: Answers) -> Bank:
    """The kernel of any version."""
    poles, version = _poles(scope, answers)
    size = len(poles)
    weights = scope.pairs("W", None, None, size)
    heads, channels, _ = weights.shape
    log_dt = scope.take("log_dt")
    if log_dt.shape not in ((channels,), (channels, 1), (channels, 2)):
        raise CheckpointError(
            f"{scope.whole('log_dt')!r} has the shape {list(log_dt.shape)}; expected [{channels}] or [{channels}, 2]."
        )
    time_steps = np.exp(log_dt.reshape(channels, -1))
    why = " The softmax kernel divides them by their sum, which no recurrence can." if version == "softmax" else ""
    unstable = answers.option("unstable", "refuse", ("refuse", "clip"))
    poles = stable(poles, scope.path, unstable, answers.notes, why)
    exponents = poles.real * time_steps[:, :1] + 1j * poles.imag * time_steps[:, -1:]
    poles = np.broadcast_to(poles, exponents.shape)
    if version == "softmax":
        length = answers.ask("training_length", f"steps of the training, for the softmax of {scope.path}", ())
        answers.note(SOFTMAX_NOTE.format(length))
        weights = softmax_weights(weights, poles, exponents, length)
    elif version in SCALED:
        weights = weights * poles * clamped_reciprocal(poles)
    else:
        weights = weights * poles / np.expm1(exponents)
    # The pole of one time step; with two time steps the weights are of another pole, with the same gain.
    steps = time_steps[:, 0]
    single = exponents / steps[:, None]
    weights = weights * single / poles
    rows = np.tile(single, (heads, 1)), weights.reshape(-1, size)
    single, weights = upper(*rows)
    D = feedthrough_of(feedthrough, channels, heads * channels)
    return ContinuousBank(single, np.tile(steps, heads), weights, D, "zoh", is_bidirectional(feedthrough, heads))


def _poles(scope: Scope, answers: Answers) -> tuple[np.ndarray, str]:
    """Continuous poles `[N]` and the version, which the names tell in part."""
    what = f"the version of DSSKernel in {scope.path}"
    if scope.has("Lambda"):
        version = answers.setting("version", what, ("softmax", *SCALED[1:], *PLAIN[1:]))
        poles = scope.pairs("Lambda", None)
        if version != "softmax":
            poles = np.minimum(poles.real, LARGEST_REAL_PART) + 1j * poles.imag
        return poles, version
    decay = np.exp(scope.take("Lambda_log_neg_re", None))
    if scope.has("Lambda_log_im"):
        return -decay + 1j * np.exp(scope.take("Lambda_log_im", *decay.shape)), "exp"
    version = answers.setting("version", what, (SCALED[0], PLAIN[0]))
    return -decay + 1j * scope.take("Lambda_im", *decay.shape), version
