"""The states of banks of modes in the integers of a program: as those of DSS layers, of one channel with all modes."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from scipy.optimize import linear_sum_assignment

from keras_s4.layers import DiagonalSSM
from keras_s4.modal_system import ModalSystem
from keras_s4.surgery.paths import layers_by_path
from keras_s4.systems import one_minus_squared_radius
from keras_s4.tflite.analysis.realised import pole_array
from keras_s4.tflite.analysis.states import (
    FED_BACK,
    FORGOTTEN,
    MAX_STEPS,
    States,
    dead_zone,
    free_decay,
)
from keras_s4.tflite.lowering.delta_form import decay_steps, l1_norms, state_trajectory_peaks
from keras_s4.tflite.program.operations import FullyConnected, ModalStep
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


class Bank(NamedTuple):
    """A bank of modes in a program, with the products around it; None where something else is there.

    Args:
        step: its step.
        drive: what drives it.
        read: what reads it.
        output: what the layer gives.
    """

    step: ModalStep
    drive: FullyConnected | None
    read: FullyConnected | None
    output: Tensor


def banks_of(program: Program) -> dict[str, Bank]:
    """The banks of modes of a program, by the names of their layers."""
    found = {}
    products = [each for each in program.operations if isinstance(each, FullyConnected)]
    for step in (each for each in program.operations if isinstance(each, ModalStep)):
        name = step.state.name.removesuffix("/before").removesuffix("/state")
        drive = next((each for each in products if each.output is step.input), None)
        read = next((each for each in products if each.input is step.output), None)
        inside = [each.result for each in program.operations if program.layer_of(each.result.name) == name]
        outputs = [tensor for tensor in inside if tensor.name == f"{name}/output"]
        found[name] = Bank(step, drive, read, (outputs or [step.output if read is None else read.output])[0])
    return found


def shared_systems(model: keras.Model, banks: dict[str, Bank]) -> dict[str, ModalSystem]:
    """The trained systems of a program's banks, without modes that nobody hears.

    Raises:
        ValueError: the model has no such layer.
    """
    layers = {path: layer for path, layer in layers_by_path(model).items() if isinstance(layer, DiagonalSSM)}
    found = {}
    for name, bank in banks.items():
        modes = bank.step.decay.shape[0]
        system = layers[name].system() if name in layers else None
        used = np.zeros(0, int) if system is None else np.flatnonzero(~system.is_padding)
        if system is None or max(used.size, 1) != modes:
            raise ValueError(
                f"The program has a DiagonalSSM layer {name!r} of {modes} modes, which model {model.name!r} has not; "
                "give the model that was converted."
            )
        used = used if used.size else np.arange(1)
        parts = system.poles[used], system.inputs[used], system.outputs[:, used]
        found[name] = ModalSystem(*parts, system.feedthrough)
    return found


def analyse_bank(
    bank: Bank,
    inputs: np.ndarray,
    wanted: ModalSystem | None,
    length: int,
    steps: int | None = None,
    real: np.ndarray | None = None,
) -> States:
    """Analyses the states of a bank of modes.

    Args:
        bank: of a program.
        inputs: what drives it, integers `[B, L, 2 N]`, each stream from a reset.
        wanted: the trained system; None where it is unknown, or has other units than the program.
        length, steps, real: as for `analyse_states`.
    """
    step, modes = bank.step, bank.step.decay.shape[0]
    poles, gains = pole_array(step), step.input_gain.data.astype(np.float64)
    order = None if wanted is None else linear_sum_assignment(np.abs(poles[:, None] - wanted.poles))[1]
    counting = inputs.reshape(-1, 2 * modes) if real is None else inputs[real]
    largest = np.abs(counting.astype(np.float64)).max(axis=0).reshape(2, modes) * gains
    driven = inputs[..., :modes] * gains[0] + 1j * (inputs[..., modes:] * gains[1])
    peaks = {
        "worst": _bounds(poles, gains * 2.0**15, step.limit),
        "range": _bounds(poles, largest, step.limit),
        "data": state_trajectory_peaks(driven, poles[:, None], np.ones((modes, 1)), real)[:, 0],
    }
    followed = decay_steps(poles, MAX_STEPS if steps is None else steps, FORGOTTEN if steps is None else 0.0)
    decay = free_decay(step, peaks["data"], followed)
    hidden_unit = step.hidden.scale / step.state.scale
    fed, weights = np.arange(modes) >= modes - step.feedback, _weights(bank)
    again = np.where(fed, 0.0, np.abs(poles - 1.0) ** 2 / one_minus_squared_radius(poles))
    error = np.where(fed, FED_BACK, np.abs(poles - 1.0) * np.sqrt(0.5) * hidden_unit)
    used, between = largest.any(axis=0), bank.drive is not None and bank.read is not None
    ideal = poles if wanted is None else wanted.poles[order]

    def row(values: np.ndarray) -> np.ndarray:
        return values[None]

    return States(
        poles=row(poles),
        used=row(used),
        peaks={case: row(values) for case, values in peaks.items()},
        hidden_unit=hidden_unit,
        dead_zone=0 if fed.all() else dead_zone(step),
        cycle_bound=row(error / (1.0 - np.abs(poles))),
        decay_steps=row(followed),
        decay=row(decay),
        ideal_decay=row(np.abs(ideal) ** followed),
        pole_error=None if wanted is None else row(np.where(used, np.abs(poles - ideal), 0.0)),
        kernel_error=_error(bank, wanted, length) if wanted is not None and between else None,
        rounding_noise=row(np.where(used, np.sqrt((1.0 + again) / 12.0) * weights, 0.0)),
        left_in_output=row(np.where(used, decay * peaks["data"] / hidden_unit * weights, 0.0)),
    )


def bank_response(bank: Bank, length: int) -> np.ndarray:
    """The impulse response `[O, I, length]` that the integers of a bank and its products stand for, in real units."""
    step, drive, read, _ = bank
    poles, modes = pole_array(step), step.decay.shape[0]
    unit = drive.weights.scale / drive.output.scale * step.state.scale
    driven = drive.weights.data * (step.input_gain.data.reshape(-1, 1) * unit)
    weights = read.weights.data * read.weights.scale
    powers = poles[:, None] ** np.arange(length)
    states = (driven[:modes] + 1j * driven[modes:])[:, :, None] * powers[:, None]
    readout = weights[:, :modes] - 1j * weights[:, modes:]
    return np.tensordot(readout, states, axes=1).real


def _error(bank: Bank, wanted: ModalSystem, length: int) -> np.ndarray:
    """Norm of the error of the impulse response without the feedthrough, relative to the wanted one, `[1]`."""
    target = wanted.impulse_response(length)
    target[..., 0] -= wanted.feedthrough
    error = np.linalg.norm(bank_response(bank, length) - target)
    return np.array([error / max(np.linalg.norm(target), 1e-300)])


def _bounds(poles: np.ndarray, largest: np.ndarray, limit: int) -> np.ndarray:
    """What no state exceeds, `[N]`, when the parts of what drives it keep to magnitudes `[2, N]`."""
    gains = largest.max(axis=0)[:, None]
    one = l1_norms(poles[:, None], gains.astype(np.complex128))[:, 0]
    both = np.where(poles.imag == 0.0, one, 2.0 * one)
    return np.minimum(both, limit) if limit else both


def _weights(bank: Bank) -> np.ndarray:
    """What the output that hears most of each mode makes of one unit of its rounded state, `[N]`, in real units."""
    modes = bank.step.decay.shape[0]
    if bank.read is None:
        return np.full(modes, bank.step.output.scale)
    weights = bank.read.weights.data.astype(np.float64).reshape(-1, 2, modes)
    return np.hypot(weights[:, 0], weights[:, 1]).max(axis=0) * bank.read.weights.scale * bank.step.output.scale
