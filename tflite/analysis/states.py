"""The states of a DSS layer in the integers of a program: headroom, dead zone, decay, and the kernel they realise."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from keras_s4.brief import Brief
from keras_s4.systems import DiagonalSystem, one_minus_squared_radius
from keras_s4.tflite.analysis.realised import mode_arrays, realised_kernel
from keras_s4.tflite.lowering.delta_form import decay_steps, l1_norms, state_trajectory_peaks
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import DiagonalStep, ModalStep

# A zero input is followed until the ideal state has fallen to this part of its start, or for this many steps.
FORGOTTEN = 1e-3
# Units of a state by which a step errs at most where rounding errors are fed back: twice a rounding of both parts, and
# of the halves of the pole.
FED_BACK = 3.0
MAX_STEPS = 40_000
CASES = ("worst", "range", "data")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class States(Brief):
    """The states of a DSS layer, mode n of channel h at `[h, n]`; a state is the larger of its real and imaginary part.

    Args:
        poles: `[H, N]` complex, those that the integers stand for.
        used: `[H, N]` bool, states that an input reaches.
        peaks: by case the largest magnitude `[H, N]` in units of the int32 state: "worst" for any input of the full
            int16 range (an upper bound: the L1 norm of the impulse response times the range), "range" for any input
            within the range that occurred in its channel, "data" on the data, with carried state.
        hidden_unit: units of the state in one of the rounded state.
        dead_zone: the largest state, in units, that is rounded to zero and so stays as it is, of modes whose rounding
            errors are not fed back; 0 if all are.
        cycle_bound: `[H, N]`, the largest magnitude, in units, that rounding can keep up without input. A mode that
            turns fast and decays slowly may go round in such a limit cycle, far above the dead zone.
        decay_steps: `[H, N]`, steps for which a zero input was followed.
        decay: `[H, N]`, what was left of the state after them, as a part of its start, in exact integers.
        ideal_decay: `[H, N]`, the same of the wanted pole (of the snapped one where the wanted one is unknown).
        pole_error: `[H, N]`, distance of the pole from the wanted one; None where that is unknown.
        kernel_error: `[H]`, norm of the error of the impulse response relative to the wanted one; None where unknown.
        left_in_output: `[H, N]`, what is left of the state in the layer's output after those steps, in real units.
        rounding_noise: `[H, N]`, standard deviation, in real units, that the state's rounding causes in the readout.
    """

    poles: np.ndarray
    used: np.ndarray
    peaks: dict[str, np.ndarray]
    hidden_unit: float
    dead_zone: int
    cycle_bound: np.ndarray
    decay_steps: np.ndarray
    decay: np.ndarray
    ideal_decay: np.ndarray
    pole_error: np.ndarray | None
    kernel_error: np.ndarray | None
    rounding_noise: np.ndarray
    left_in_output: np.ndarray

    def headroom(self, case: str, type: str = "int16") -> np.ndarray:
        """Bits left, `[H, N]`, negative where there are too few; infinite for a state that stays at zero.

        Args:
            case: "worst", "range" or "data".
            type: "int16", before the rounded state saturates, or "int32", before the state wraps.
        """
        limit = 2.0**31 if type == "int32" else 2.0**15 * self.hidden_unit
        with np.errstate(divide="ignore"):
            return np.log2(limit / self.peaks[case])

    @property
    def dead_part(self) -> np.ndarray:
        """`[H, N]`, the dead zone as a part of the peak on the data; 1 for a state that never leaves it."""
        return self.dead_zone / np.maximum(self.peaks["data"], self.dead_zone)

    @property
    def remembered(self) -> np.ndarray:
        """`[H, N]`, the part of its start that a state holds although its ideal would have forgotten it."""
        return np.where(self.used, np.maximum(self.decay - self.ideal_decay, 0.0), 0.0)

    @property
    def largest_kernel_error(self) -> float:
        """That of the worst channel; 0 where the wanted kernel is unknown."""
        return 0.0 if self.kernel_error is None else float(self.kernel_error.max())

    def worst(self, values: np.ndarray, largest: bool = True) -> tuple[int, int]:
        """Channel and mode of the used state with the largest or the smallest value `[H, N]`."""
        sign = 1.0 if largest else -1.0
        place = np.argmax(np.where(self.used, sign * values, -np.inf))
        channel, mode = np.unravel_index(place, values.shape)
        return int(channel), int(mode)

    def figures(self) -> dict[str, Any]:
        """Everything, `[H, N]` as nested lists, JSON-ready: None where there is no finite number."""
        headroom = {
            f"headroom_{type}": {case: _listed(self.headroom(case, type)) for case in CASES}
            for type in ("int16", "int32")
        }
        names = ("cycle_bound", "dead_part", "decay_steps", "decay", "ideal_decay", "pole_error", "kernel_error")
        arrays = {name: getattr(self, name) for name in (*names, "rounding_noise", "left_in_output")}
        return {
            "poles": [_listed(self.poles.real), _listed(self.poles.imag)],
            **headroom,
            "dead_zone": self.dead_zone,
            **{name: None if array is None else _listed(array) for name, array in arrays.items()},
        }


def analyse_states(
    step: DiagonalStep,
    inputs: np.ndarray,
    wanted: DiagonalSystem | None,
    length: int,
    steps: int | None = None,
    real: np.ndarray | None = None,
) -> States:
    """Analyses the states of one DSS layer.

    Args:
        step: the layer.
        inputs: what it receives, integers `[B, L, H]`, each stream from a reset.
        wanted: the trained system, or None.
        length: steps over which the impulse responses are compared.
        steps: for which a zero input is followed, at most; by default until the ideal state has fallen to a
            thousandth, at most 40,000.
        real: of padded sequences which steps count, the first ones, bool `[B, L]`; None for all.
    """
    poles, gains, weights = mode_arrays(step)
    wanted = None if wanted is None else _in_order_of(poles, wanted)
    used = gains != 0.0
    counting = inputs.reshape(-1, inputs.shape[-1]) if real is None else inputs[real]
    absolute = np.abs(counting.astype(np.int64)).max(axis=0)
    norms = l1_norms(poles, gains)
    peaks = {
        "worst": norms * 2.0**15,
        "range": norms * absolute[:, None],
        "data": state_trajectory_peaks(inputs.astype(np.float64), poles, gains, real),
    }
    followed = decay_steps(poles, MAX_STEPS if steps is None else steps, FORGOTTEN if steps is None else 0.0)
    decay = zero_input_decay(step, peaks["data"], followed)
    hidden_unit = step.hidden.scale / step.state.scale
    gap = one_minus_squared_radius(poles)
    fed = np.zeros(poles.shape, bool) if step.feedback is None else step.feedback.T
    noise = np.sqrt((1.0 + np.where(fed, 0.0, np.abs(poles - 1.0) ** 2 / gap)) / 12.0) * np.abs(weights)
    error = np.where(fed, FED_BACK, np.abs(poles - 1.0) * np.sqrt(0.5) * hidden_unit)
    return States(
        poles=poles,
        used=used,
        peaks=peaks,
        hidden_unit=hidden_unit,
        dead_zone=0 if fed.all() else dead_zone(step),
        cycle_bound=error / (1.0 - np.abs(poles)),
        decay_steps=followed,
        decay=decay,
        ideal_decay=np.abs(poles if wanted is None else wanted.poles) ** followed,
        pole_error=None if wanted is None else np.where(used, np.abs(poles - wanted.poles), 0.0),
        kernel_error=None if wanted is None else kernel_error(step, wanted, length),
        rounding_noise=np.where(used, noise, 0.0),
        left_in_output=np.where(used, decay * peaks["data"] / hidden_unit * np.abs(weights), 0.0),
    )


def _in_order_of(poles: np.ndarray, system: DiagonalSystem) -> DiagonalSystem:
    """A system whose modes are those next to some poles: lowerings put the modes of a channel into another order."""
    distances = np.abs(poles[:, :, None] - system.poles[:, None])
    order = np.stack([linear_sum_assignment(of_channel)[1] for of_channel in distances])
    poles, residues = (np.take_along_axis(values, order, axis=1) for values in (system.poles, system.residues))
    return dataclasses.replace(system, poles=poles, residues=residues)


def zero_input_decay(step: DiagonalStep, start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What is left of states after steps without input, in the device's integers, as a part of their start.

    Args:
        step: the DSS layer.
        start: `[H, N]`, real parts in units of the state; the imaginary parts start at zero.
        steps: `[H, N]`, for how many steps each is followed.

    Returns:
        `[H, N]`: magnitudes; 0 for states that start at zero.
    """
    return free_decay(step, start.T, steps.T).T


def free_decay(step: DiagonalStep | ModalStep, start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """`zero_input_decay` of either kind of step: all arrays have the shape of its `decay`."""
    multiplier = fixed_point.rescale_multiplier(step.state.scale, step.hidden.scale)
    decay, rotation = (constant.data.astype(np.int64) for constant in (step.decay, step.rotation))
    rotation = np.stack([-rotation, rotation])
    half_decay, half_rotation = (half.astype(np.int64) for half in step.halves())
    half_rotation = np.stack([-half_rotation, half_rotation])
    first = np.minimum(np.rint(start), 2**31 - 1).astype(np.int64)
    state = np.stack([first, np.zeros_like(first)])
    left = np.zeros(first.shape)
    for index in range(1, int(steps.max()) + 1):
        hidden = fixed_point.requantize(state, multiplier, step.hidden.type).astype(np.int64)
        residue = np.clip(state - (hidden << 15), *fixed_point.RANGES["int16"])
        turned = fixed_point.requantize(residue * half_decay + residue[::-1] * half_rotation, multiplier, "int16")
        state = state + hidden * decay + hidden[::-1] * rotation + 2 * turned.astype(np.int64)
        ended = index == steps
        if ended.any():
            left[ended] = np.hypot(*state)[ended]
    return left / np.maximum(first, 1)


def kernel_error(step: DiagonalStep, wanted: DiagonalSystem, length: int) -> np.ndarray:
    """Norm of the error of each channel's impulse response over `length` steps, relative to the wanted one, `[H]`."""
    target = wanted.impulse_response(length)
    error = np.linalg.norm(realised_kernel(step, length) - target, axis=1)
    return error / np.maximum(np.linalg.norm(target, axis=1), 1e-300)


def dead_zone(step: DiagonalStep | ModalStep) -> int:
    """The largest state that rounds to zero, whichever its sign. Decay is never 0, so that others change."""
    multiplier = fixed_point.rescale_multiplier(step.state.scale, step.hidden.scale)
    half = round(step.hidden.scale / step.state.scale / 2.0)
    candidates = np.arange(max(half - 2, 0), half + 3)
    both = np.stack([candidates, -candidates])
    dead = np.all(fixed_point.requantize(both, multiplier, step.hidden.type) == 0, axis=0)
    return int(candidates[dead].max(initial=0))


def _listed(values: np.ndarray) -> list:
    return np.where(np.isfinite(values), values, None).tolist()
