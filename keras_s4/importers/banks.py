"""Banks of systems as published layers describe them, in numpy and double precision.

All but the last, whose channels share their modes, give `k[t] = Re sum_n w g p^t` and a feedthrough, as
`keras_s4.layers.DSS` does: p is the pole of one step, g the input gain `(p - 1) / lambda` of the continuous pole
lambda, and w the weight.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.systems import DiagonalSystem

# The real part that poles are moved to where they may be, and the largest of the `clip` kernel.
MOVED_TO = -1e-4
UNSTABLE = ("refuse", "clip")
# A pole nearer to the real axis is real: eigenvalues of a matrix come with rounding errors.
REAL = 1e-9
# Steps over which kernels in single and double precision are compared, and what they may differ by.
HORIZON, ROUNDING = 1024, 1e-6
# Of the kernel of a system that is made diagonal, relative: where residues are fitted, and what is refused.
EXACT, NEARLY_EXACT = 1e-10, 1e-7


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

    @functools.cached_property
    def needs_double_precision(self) -> bool:
        """Whether poles and residues in single precision give another kernel, as where large residues cancel."""
        system = self.system
        rounded = DiagonalSystem(
            np.exp(_single(np.log(np.where(system.poles == 0.0, 1e-6, system.poles)))),
            _single(system.residues),
            system.feedthrough,
        )
        exact = system.impulse_response(HORIZON)
        error = np.abs(rounded.impulse_response(HORIZON) - exact).max(axis=1)
        return bool((error > ROUNDING * np.abs(exact).max(axis=1)).any())

    @property
    def channels(self) -> int:
        """Inputs, and outputs."""
        return self.system.channels // (2 if self.bidirectional else 1)

    @property
    def state_size(self) -> int:
        """Modes of a channel."""
        return self.system.state_size


@dataclass(frozen=True)
class SharedBank:
    """Modes that several inputs write and several outputs read: `x <- p x + g B u`, `y = 2 Re(C x) + D u`.

    Args:
        poles: in continuous time, `[N]`, stable.
        time_steps: `[N]`.
        inputs: B, `[N, I]`.
        outputs: C, `[O, N]`; of a bidirectional bank `[2 O, N]`.
        feedthrough: D, `[O]`, of each output's own input.
        discretization: "zoh" or "bilinear".
        bidirectional: the second half of the rows of C reads the modes driven backwards.
    """

    poles: np.ndarray
    time_steps: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    feedthrough: np.ndarray
    discretization: str = "zoh"
    bidirectional: bool = False

    @property
    def channels(self) -> int:
        """Inputs, and outputs."""
        return self.inputs.shape[1]

    @property
    def state_size(self) -> int:
        """Modes of all channels together."""
        return len(self.poles)


Bank = ContinuousBank | DiscreteBank | SharedBank


def within_a_turn(poles: np.ndarray, time_steps: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poles that turn by at most half a turn a step, with weights that give the same kernel by zero-order hold.

    Published poles turn by dozens of radians a step where time steps are large, and single precision then loses the
    angle after some thousand steps.

    Args:
        poles: continuous, `[R, N]`.
        time_steps: `[R]`.
        weights: `[R, N]`.
    """
    angles = poles.imag * time_steps[:, None]
    turned = poles - 2j * np.pi * np.round(angles / (2.0 * np.pi)) / time_steps[:, None]
    turned = np.where(np.abs(angles) > np.pi, turned, poles)
    return turned, weights * turned / poles


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
    kernel = _kernel(A, B, C)
    poles, residues = _modes(A, B, C, name)
    if not _error(kernel, poles, residues) <= EXACT:  # eigenvectors that are nearly parallel, as those of HiPPO
        residues = _fitted(kernel, poles)
    if not _error(kernel, poles, residues) <= NEARLY_EXACT:
        raise CheckpointError(f"{name}: its state matrix cannot be made diagonal.")
    return poles, residues


def _modes(A: np.ndarray, B: np.ndarray, C: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Poles and residues by eigenvectors."""
    poles, vectors = np.linalg.eig(A)
    if (np.abs(poles) >= 1.0).any():
        raise CheckpointError(
            f"{name}: an eigenvalue of its state matrix has the radius {np.abs(poles).max():.9f}; expected less than 1."
        )
    try:
        residues = 0.5 * (C @ vectors) * np.linalg.solve(vectors, B)
    except np.linalg.LinAlgError:
        residues = np.zeros_like(poles)
    return _paired(poles.astype(np.complex128), residues.astype(np.complex128))


def _kernel(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """`Re C A^t B`, with `A^t = A^r A^(R q)`."""
    chunk = round(np.sqrt(HORIZON))
    leap = np.linalg.matrix_power(A, chunk)
    rows, columns = [C], [B]
    for _ in range(chunk - 1):
        rows.append(rows[-1] @ A)
        columns.append(leap @ columns[-1])
    return (np.array(columns) @ np.array(rows).T).real.ravel()


def _fitted(kernel: np.ndarray, poles: np.ndarray) -> np.ndarray:
    """Residues with which these poles come closest to a kernel."""
    powers = 2.0 * poles ** np.arange(len(kernel))[:, None]
    parts, *_ = np.linalg.lstsq(np.concatenate([powers.real, -powers.imag], axis=1), kernel, rcond=1e-15)
    residues = parts[: len(poles)] + 1j * parts[len(poles) :]
    return np.where(poles.imag == 0.0, residues.real, residues)


def _error(kernel: np.ndarray, poles: np.ndarray, residues: np.ndarray) -> float:
    """Of the kernel of poles and residues, relative to the largest sample."""
    system = DiagonalSystem(poles[None], residues[None], np.zeros(1))
    return np.abs(system.impulse_response(len(kernel))[0] - kernel).max() / max(np.abs(kernel).max(), 1e-300)


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


def _single(values: np.ndarray) -> np.ndarray:
    """Complex numbers rounded to single precision."""
    return values.astype(np.complex64).astype(np.complex128)
