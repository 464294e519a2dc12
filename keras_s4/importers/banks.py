"""Banks of single-input single-output systems as published layers describe them, in numpy and double precision.

All give `k[t] = Re sum_n w g p^t` and a feedthrough, as `keras_s4.layers.DSS` does: p is the pole of one step, g the
input gain `(p - 1) / lambda` of the continuous pole lambda, and w the weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.systems import DiagonalSystem

# The real part that poles are moved to where they may be, and the largest of the `clip` kernel.
MOVED_TO = -1e-4
UNSTABLE = ("refuse", "clip")
# A pole nearer to the real axis is real: eigenvalues of a matrix come with rounding errors.
REAL = 1e-9


@dataclass(frozen=True)
class ContinuousBank:
    """Poles in continuous time with a time step for each channel, as most layers have them.

    Args:
        poles: `[R, N]`, stable.
        time_steps: `[R]`.
        weights: `[R, N]`.
        feedthrough: `[R]`.
        discretization: "zoh" or "bilinear".
        bidirectional: the second half of the rows looks at future inputs.
    """

    poles: np.ndarray
    time_steps: np.ndarray
    weights: np.ndarray
    feedthrough: np.ndarray
    discretization: str = "zoh"
    bidirectional: bool = False

    @property
    def channels(self) -> int:
        """Inputs, and outputs."""
        return len(self.poles) // (2 if self.bidirectional else 1)

    @property
    def state_size(self) -> int:
        """Modes of a channel."""
        return self.poles.shape[1]

    def select(self, channels: np.ndarray) -> ContinuousBank:
        """The systems of some channels."""
        rows = np.concatenate([channels, channels + self.channels]) if self.bidirectional else channels
        parts = (part[rows] for part in (self.poles, self.time_steps, self.weights, self.feedthrough))
        return ContinuousBank(*parts, self.discretization, self.bidirectional)


@dataclass(frozen=True)
class DiscreteBank:
    """Poles of one step.

    Args:
        system: poles, residues and feedthrough of R rows.
        time_steps: `[R]`, by which a layer will scale them in training.
        bidirectional: the second half of the rows looks at future inputs.
    """

    system: DiagonalSystem
    time_steps: np.ndarray
    bidirectional: bool = False
    discretization = "zoh"

    @property
    def channels(self) -> int:
        """Inputs, and outputs."""
        return self.system.channels // (2 if self.bidirectional else 1)

    @property
    def state_size(self) -> int:
        """Modes of a channel."""
        return self.system.state_size


Bank = ContinuousBank | DiscreteBank


def stable(poles: np.ndarray, name: str, unstable: str, notes: list[str], why: str = "") -> np.ndarray:
    """Continuous poles, all of them left of the imaginary axis.

    Args:
        poles: `[..., N]`.
        name: of the layer.
        unstable: "refuse", or "clip", which moves poles to the real part -1e-4 and says so.
        notes: what was assumed or changed, which is added to.
        why: there are such poles, in a sentence.

    Raises:
        ValueError: poles with a real part of 0 or more are refused.
    """
    wrong = ~(poles.real < 0.0)
    if not wrong.any():
        return poles
    largest = float(poles.real.max())
    where = [int(index) for index in np.argwhere(wrong)[0]]
    if unstable != "clip":
        raise CheckpointError(
            f"{name}: {int(wrong.sum())} of {wrong.size} poles have a real part of 0 or more (the first at {where}, "
            f"the largest {largest:.3g}).{why} In a stream without end such a mode never fades. Train with poles that "
            "stay left of the imaginary axis (the exp kernel, or clipped real parts), or take unstable='clip', which "
            f"moves them to {MOVED_TO} and changes the outputs."
        )
    notes.append(
        f"{name}: {int(wrong.sum())} poles with real parts up to {largest:.3g} were moved to {MOVED_TO}; outputs change"
    )
    return np.where(wrong, MOVED_TO + 1j * poles.imag, poles)


def upper(poles: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poles of positive imaginary part, and their weights: a pair and its conjugate have the same real part."""
    lower = poles.imag < 0.0
    return np.where(lower, poles.conj(), poles), np.where(lower, weights.conj(), weights)


def diagonalized(A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, name: str) -> DiagonalSystem:
    """Dense discrete-time systems as diagonal ones: `k[t] = Re C A^t B` and a feedthrough.

    Args:
        A: `[R, N, N]`, of conjugate pairs or any complex.
        B: `[R, N]`.
        C: `[R, N]`.
        D: `[R]`.
        name: of the layer.

    Raises:
        ValueError: a matrix has no basis of eigenvectors, or an eigenvalue outside the unit circle.
    """
    rows = [_diagonal(*row, name) for row in zip(A, B, C, strict=True)]
    size = max(1, *(len(poles) for poles, _ in rows))
    poles, residues = (np.stack([np.pad(row[part], (0, size - len(row[part]))) for row in rows]) for part in (0, 1))
    return DiagonalSystem(poles, residues, D)


def _diagonal(A: np.ndarray, B: np.ndarray, C: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Poles of the upper half plane and their residues, `k[t] = 2 Re sum r p^t`."""
    poles, vectors = np.linalg.eig(A)
    residues = 0.5 * (C @ vectors) * np.linalg.solve(vectors, B)
    error = np.abs(vectors @ (poles[:, None] * np.linalg.inv(vectors)) - A).max() / max(np.abs(A).max(), 1e-300)
    if error > 1e-7:
        raise CheckpointError(f"{name}: its state matrix cannot be made diagonal (error {error:.1e}).")
    if (np.abs(poles) >= 1.0).any():
        raise CheckpointError(
            f"{name}: an eigenvalue of its state matrix has the radius {np.abs(poles).max():.9f}; expected less than 1."
        )
    return _paired(poles, residues)


def _paired(poles: np.ndarray, residues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pole of the lower half plane joins its conjugate, where it has one."""
    poles, residues = upper(np.where(np.abs(poles.imag) < REAL, poles.real, poles), residues)
    residues = np.where(poles.imag == 0.0, residues.real, residues)
    order = np.lexsort((poles.real, poles.imag))
    found: list[tuple[complex, complex]] = []
    for pole, residue in zip(poles[order], residues[order], strict=True):
        if found and abs(found[-1][0] - pole) < REAL:
            found[-1] = (found[-1][0], found[-1][1] + residue)
        else:
            found.append((pole, residue))
    merged = np.array(found, dtype=np.complex128).reshape(-1, 2)
    return merged[:, 0], merged[:, 1]
