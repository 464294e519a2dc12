"""Bare layers as arrays by documented names, which anybody can write: see the README of this room."""

from __future__ import annotations

import numpy as np

from keras_s4.importers.answers import Answers
from keras_s4.importers.banks import Bank, ContinuousBank, DiscreteBank, stable, upper
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.module import Module, Scope
from keras_s4.systems import DiagonalSystem


def arrays_layer(scope: Scope, answers: Answers) -> Module | None:
    """The layer of `poles`, `residues` and `feedthrough`, or of `A`, `B`, `C`, `D` and `dt`."""
    if scope.first("poles", "residues"):
        bank = _discrete(scope)
    elif scope.has("A") and scope.first("C", "dt"):
        bank = _continuous(scope, answers)
    else:
        return None
    path, channels = scope.path or "dss", bank.channels
    title = f"arrays of a diagonal system, {channels} channels of {bank.state_size} modes"
    return Module(scope.path, title, "bank", channels, lambda net, place, _: net.bank(path, place, bank), channels)


def _discrete(scope: Scope) -> Bank:
    poles = _table(scope, "poles")
    residues = _table(scope, "residues", poles.shape)
    feedthrough = scope.take("feedthrough", len(poles)) if scope.has("feedthrough") else np.zeros(len(poles))
    poles, residues = upper(poles, residues)
    try:
        return DiscreteBank(DiagonalSystem(poles, residues, feedthrough), np.full(len(poles), 1e-2))
    except ValueError as error:
        raise CheckpointError(f"{scope.whole('poles')!r}: {error}") from error


def _continuous(scope: Scope, answers: Answers) -> Bank:
    poles = _table(scope, "A")
    weights = 2.0 * _table(scope, "C", poles.shape)
    if scope.has("B"):
        weights = weights * _table(scope, "B", poles.shape)
    steps = scope.take("dt", len(poles))
    if not (steps > 0.0).all():
        raise CheckpointError(f"{scope.whole('dt')!r} holds {steps.min():g}; expected time steps above 0.")
    feedthrough = scope.take("D", len(poles)) if scope.has("D") else np.zeros(len(poles))
    unstable = answers.option("unstable", "refuse", ("refuse", "clip"))
    poles, weights = upper(stable(poles, scope.whole("A"), unstable, answers.notes), weights)
    return ContinuousBank(
        poles, steps, weights, feedthrough, answers.default("disc", "zoh", "this format", ("zoh", "bilinear"))
    )


def _table(scope: Scope, name: str, shape: tuple[int, ...] = (None, None)) -> np.ndarray:
    """`[H, N]` complex: stored so, as pairs `[H, N, 2]`, or as real numbers."""
    array = scope.arrays.get(scope.whole(name))
    if array is not None and array.ndim == 3:
        return scope.pairs(name, *shape)
    return scope.take(name, *shape).astype(np.complex128)
