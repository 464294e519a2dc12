"""A discrete-time system with several inputs and outputs that all share one bank of modes, as a frozen numpy value.

Like :mod:`keras_s4.systems` this knows nothing of Keras.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_s4.brief import Brief
from keras_s4.orthonormal import one_minus_squared_radius, orthonormal_basis, pairwise_factors
from keras_s4.systems import DiagonalSystem, check_stable, frozen_array, powers

# Complex numbers of a frequency response that are computed together.
_RESPONSE_BLOCK = 1 << 18


@dataclass(frozen=True, eq=False, repr=False)
class ModalSystem(Brief):
    """A system whose N modes are driven by I inputs through one matrix and read by O outputs through another.

    ``x[t] = poles * x[t - 1] + inputs @ u[t]`` and ``y[t] = 2 Re(outputs @ x[t]) + feedthrough @ u[t]``, so that the
    impulse response is ``k[t] = 2 Re(outputs @ diag(poles**t) @ inputs)``, plus `feedthrough` at t = 0.

    Each complex entry stands for a conjugate pair, that is, for two real states. A real pole with real inputs is one
    real state, whose outputs are halved; their imaginary parts contribute nothing. A real pole with complex inputs is
    two real states. An entry that no input drives, or that no output reads, is padding.

    Args:
        poles: [N] complex, inside the unit circle.
        inputs: [N, I] complex, what each input adds to each mode.
        outputs: [O, N] complex, half of what each output reads of each mode.
        feedthrough: [O, I] float.

    Raises:
        ValueError: for shapes that do not match, values that are not finite, or a pole that is not stable.
    """

    poles: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    feedthrough: np.ndarray

    def __post_init__(self):
        for name in ("poles", "inputs", "outputs"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.complex128))
        object.__setattr__(self, "feedthrough", frozen_array("feedthrough", self.feedthrough, np.float64))
        self._check_shapes()
        check_stable(self.poles[None])

    @property
    def state_size(self) -> int:
        """Number of entries N, padding included."""
        return self.poles.shape[0]

    @property
    def input_size(self) -> int:
        """Number of inputs I."""
        return self.inputs.shape[1]

    @property
    def output_size(self) -> int:
        """Number of outputs O."""
        return self.outputs.shape[0]

    @cached_property
    def is_real(self) -> np.ndarray:
        """[N] bool: entries that are one real state."""
        return (self.poles.imag == 0.0) & np.all(self.inputs.imag == 0.0, axis=1)

    @cached_property
    def is_padding(self) -> np.ndarray:
        """[N] bool: entries that contribute nothing to the impulse response."""
        read = np.where(self.is_real, self.outputs.real, self.outputs)
        return np.all(self.inputs == 0.0, axis=1) | np.all(read == 0.0, axis=0)

    @property
    def order(self) -> int:
        """Real states: 2 for a complex entry, 1 for a real one, 0 for padding."""
        return int(np.where(self.is_padding, 0, np.where(self.is_real, 1, 2)).sum())

    def __sub__(self, other: ModalSystem) -> ModalSystem:
        """Return the error system: the entries of both, those of `other` with negated outputs."""
        if not isinstance(other, ModalSystem):
            return NotImplemented
        if other.feedthrough.shape != self.feedthrough.shape:
            raise ValueError(
                f"Received systems of [O, I] = {list(self.feedthrough.shape)} and {list(other.feedthrough.shape)}; "
                "a difference needs as many inputs and outputs on both sides."
            )
        return ModalSystem(
            np.concatenate([self.poles, other.poles]),
            np.concatenate([self.inputs, other.inputs]),
            np.concatenate([self.outputs, -other.outputs], axis=1),
            self.feedthrough - other.feedthrough,
        )

    def padded(self, state_size: int) -> ModalSystem:
        """Return the system with entries that contribute nothing added, up to a state size.

        Raises:
            ValueError: if the system has more entries already.
        """
        missing = state_size - self.state_size
        if missing < 0:
            raise ValueError(f"Received state_size={state_size}; expected at least {self.state_size}, what there is.")
        return ModalSystem(
            np.pad(self.poles, (0, missing)),
            np.pad(self.inputs, ((0, missing), (0, 0))),
            np.pad(self.outputs, ((0, 0), (0, missing))),
            self.feedthrough,
        )

    def impulse_response(self, length: int) -> np.ndarray:
        """Return the impulse response [O, I, length].

        Raises:
            ValueError: if `length` is not a positive integer.
        """
        if int(length) != length or length < 1:
            raise ValueError(f"Received length={length!r}; expected a positive number of steps.")
        decay = powers(self.poles, int(length))
        kernel = np.empty((self.output_size, self.input_size, int(length)))
        for output, row in zip(kernel, self.outputs, strict=True):
            output[:] = 2.0 * ((row[:, None] * self.inputs).T @ decay).real
        kernel[..., 0] += self.feedthrough
        return kernel

    def frequency_response(self, omega: np.ndarray) -> np.ndarray:
        """Return the transfer function on the unit circle, [O, I, F] complex.

        Args:
            omega: [F], radians per step.
        """
        omega = np.atleast_1d(np.asarray(omega, dtype=np.float64))
        z = np.exp(1j * omega)[:, None]
        response = np.empty((omega.size, self.output_size, self.input_size), dtype=np.complex128)
        size = max(_RESPONSE_BLOCK // max(self.outputs.size, self.feedthrough.size, 1), 1)
        for start in range(0, omega.size, size):
            some = z[start : start + size]
            response[start : start + size] = (self.outputs * (some / (some - self.poles))[:, None, :]) @ self.inputs
            mirrored = (some / (some - self.poles.conj()))[:, None, :]
            response[start : start + size] += (self.outputs.conj() * mirrored) @ self.inputs.conj()
        return (response + self.feedthrough).transpose(1, 2, 0)

    def simulate(self, u: np.ndarray, state: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Run the recurrence.

        Args:
            u: [..., L, I] input.
            state: [..., N] complex as a previous call returned it, or None for zero.

        Returns:
            The output [..., L, O] and the state after the last step [..., N].

        Raises:
            ValueError: if the shapes do not match the system.
        """
        u = np.asarray(u, dtype=np.float64)
        if u.ndim < 2 or u.shape[-1] != self.input_size:
            raise ValueError(f"Received an input of shape {u.shape}; expected [..., L, {self.input_size}].")
        shape = (*u.shape[:-2], self.state_size)
        x = np.zeros(shape, dtype=np.complex128) if state is None else np.array(state, dtype=np.complex128)
        if x.shape != shape:
            raise ValueError(f"Received a state of shape {x.shape}; expected {shape} for this input.")
        driven = u @ self.inputs.T
        y = u @ self.feedthrough.T
        for t in range(u.shape[-2]):
            x = self.poles * x + driven[..., t, :]
            y[..., t, :] += 2.0 * (x @ self.outputs.T).real
        return y, x

    def resonance_grid(self, uniform: int = 129, around: int = 14) -> np.ndarray:
        """Return frequencies [F] in [0, pi], increasing, dense around the angles of the poles.

        Args:
            uniform, around: see :meth:`keras_s4.systems.DiagonalSystem.resonance_grid`.
        """
        poles = self.poles[None]
        return DiagonalSystem(poles, np.ones_like(poles), np.zeros(1)).resonance_grid(uniform, around)[0]

    def hinf_norm(self) -> float:
        """Return the Hinf norm, the largest singular value of the transfer function over all frequencies.

        Sampled densely around all resonances and refined around the highest samples, so that it is a lower bound.
        """
        omega = self.resonance_grid()
        gain = self._gains(omega)
        padded = np.pad(gain, 1, constant_values=-1.0)
        peaks = np.flatnonzero((gain >= padded[:-2]) & (gain >= padded[2:]) & (gain > 0.0))
        peaks = peaks[np.argsort(gain[peaks])[-8:]]
        low, high = omega[np.maximum(peaks - 1, 0)], omega[np.minimum(peaks + 1, omega.size - 1)]
        best = gain.max(initial=0.0)
        for _ in range(12):  # each round narrows a bracket to a quarter
            grid = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, 9)
            gains = self._gains(grid.ravel()).reshape(grid.shape)
            best = max(best, gains.max(initial=0.0))
            promising = gains.max(axis=1) > 0.0
            at, rows = gains.argmax(axis=1)[promising], np.flatnonzero(promising)
            low, high = grid[rows, np.maximum(at - 1, 0)], grid[rows, np.minimum(at + 1, 8)]
        return float(best)

    def gains(self) -> np.ndarray:
        """Return the Hinf norm [O, I] from every input to every output."""
        residues = (self.outputs[:, None, :] * self.inputs.T).reshape(-1, self.state_size)
        poles = np.broadcast_to(self.poles, residues.shape)
        norms = DiagonalSystem(poles, residues, self.feedthrough.ravel()).hinf_norm()
        return norms.reshape(self.feedthrough.shape)

    def h2_norm(self) -> float:
        """Return the H2 norm, the root of the sum of squares of the impulse responses.

        As :meth:`keras_s4.systems.DiagonalSystem.h2_norm` does, by an orthonormal basis: a sum of squares.
        """
        poles = np.append(self.poles, 0.0)[None]
        gap = one_minus_squared_radius(poles)
        basis, _ = orthonormal_basis(poles, pairwise_factors(poles, poles, gap))
        modes, through = basis[0, :-1], basis[0, -1]
        total = 0.0
        for inputs, feedthrough in zip(self.inputs.T, self.feedthrough.T, strict=True):
            expanded = 2.0 * ((self.outputs * inputs) @ modes).real + np.outer(feedthrough, through.real)
            total += float(np.sum(expanded**2))
        return float(np.sqrt(total))

    def exceeds(self, bound: float, omega: np.ndarray) -> bool:
        """Whether a singular value of the transfer function is above a bound at one of some frequencies [F]."""
        return bool((self._gains(omega, bound) > bound).any())

    def _gains(self, omega: np.ndarray, least: float = 0.0) -> np.ndarray:
        """Return the largest singular values [F] of the transfer function.

        Those that cannot be the largest of all, or are not above `least`, may be given as zero: the Frobenius norm
        bounds them from above and, divided by the root of the rank, from below.
        """
        gains = np.zeros(omega.size)
        below = (1.0 - 1e-12) / np.sqrt(max(min(self.feedthrough.shape), 1))
        size = max(_RESPONSE_BLOCK // max(self.feedthrough.size, self.outputs.size, 1), 1)
        for start in range(0, omega.size, size):
            response = self.frequency_response(omega[start : start + size]).transpose(2, 0, 1)
            frobenius = np.linalg.norm(response, axis=(1, 2))
            least = max(least, frobenius.max(initial=0.0) * below)
            asked = np.flatnonzero(frobenius > least)
            some = response[asked]
            adjoint = some.conj().transpose(0, 2, 1)
            squares = some @ adjoint if some.shape[1] <= some.shape[2] else adjoint @ some
            gains[start + asked] = np.sqrt(np.linalg.eigvalsh(squares)[:, -1].clip(0.0))
            least = max(least, gains.max(initial=0.0) * 0.5)
        return gains

    def _check_shapes(self) -> None:
        fits = self.poles.ndim == 1 and self.inputs.ndim == self.outputs.ndim == self.feedthrough.ndim == 2
        if fits:
            outputs, inputs = self.feedthrough.shape
            fits = self.inputs.shape == (self.poles.size, inputs) and self.outputs.shape == (outputs, self.poles.size)
        if not fits:
            raise ValueError(
                f"Received poles of shape {self.poles.shape}, inputs of shape {self.inputs.shape}, outputs of shape "
                f"{self.outputs.shape} and feedthrough of shape {self.feedthrough.shape}; expected [N], [N, I], [O, N] "
                "and [O, I]."
            )
