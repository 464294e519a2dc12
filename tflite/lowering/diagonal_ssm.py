"""DiagonalSSM layers: a product that drives a bank of modes, their step, and a product that reads them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from keras_s4.layers import DiagonalSSM
from keras_s4.modal_system import ModalSystem
from keras_s4.tflite.lowering import delta_form
from keras_s4.tflite.lowering.activation import as_int16
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import power_of_two_scale
from keras_s4.tflite.lowering.dense import FAST_FROM, add_product_of, coarse_scale
from keras_s4.tflite.lowering.dss import HIDDEN_SCALE, LEAST_FITTED, SILENT, STATE_LIMIT, STATE_PEAK, STATE_SCALE
from keras_s4.tflite.lowering.limit_cycles import modes_to_feed_back
from keras_s4.tflite.lowering.modal_fit import as_real, fit_outputs, state_peaks, trajectories
from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.lowering.rounding import EIGHT_BITS, LARGEST_WEIGHT
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import absorbed, add_affine, rescaled, units_of
from keras_s4.tflite.program.operations import Add, ModalStep
from keras_s4.tflite.program.tensors import Tensor

# With a drive of 16 bits and a state within the limit, sums then fit 32 bits.
LARGEST_GAIN = 2**14
# A mode that outputs hear less of than of the loudest gets a smaller state, down to this part: then all weights of the
# readout are large, and rounding them costs less. Smaller states would cost more by their own rounding.
LEAST_PART = 1 / 32
# The least part of the scale of one part of the outputs that the scale of the other is, so that they add up in 32 bits.
RATIO = 2.0**-14
# The same of what goes through, beside the scale that fits the modes' part: the real one may be coarser. A finer scale
# would gain nothing, as the other part is rounded, too.
FINEST_DIRECT = 2.0**-6


@register(DiagonalSSM, takes="both")
def lower_diagonal_ssm(layer, inputs, builder):
    """Products of int16 with int8 before and behind a modal step, and the feedthrough beside them; int16."""
    return add_diagonal_ssm(layer, layer.name, inputs[0], builder)


def add_diagonal_ssm(layer: DiagonalSSM, name: str, signal: Signal, builder: ProgramBuilder) -> Signal:
    """What a layer computes, in int16.

    Args:
        layer: built.
        name: for the tensors.
        signal: of any type, in any units.
        builder: takes the operations and the state.
    """
    encoding = signal.encoding
    if encoding is not None and np.any(encoding.offset):
        # An offset would drive slow modes for ever, and all that is lost of it with it.
        signal = rescaled(f"{name}/input", signal, units_of(encoding.real(builder.observed(signal.values))), builder)
    signal = dataclasses.replace(as_int16(f"{name}/input/int16", signal, builder), encoding=signal.encoding)
    modes = _Modes.of(layer.system(), signal)
    if layer.feedthrough_type is None:
        return add_modes(modes, name, signal, builder)
    finest = FINEST_DIRECT * power_of_two_scale(builder.peak(modes.values), 16)
    direct = _add_feedthrough(layer, f"{name}/direct", signal, builder, finest)
    scales = RATIO * direct.tensor.scale, direct.tensor.scale / RATIO
    read = add_modes(modes, name, signal, builder, scales)
    return _add_sum(f"{name}/output", read, direct, builder)


class _Modes(NamedTuple):
    """The modes of a layer that it uses, for the values of a signal.

    Args:
        poles: `[N]`.
        drive: complex `[I, N]`, what each value adds to each mode.
        outputs: complex `[O, N]`, of which outputs are the real parts of the products.
        values: `[B, L, O]`, all outputs without the feedthrough.
    """

    poles: np.ndarray
    drive: np.ndarray
    outputs: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, system: ModalSystem, signal: Signal) -> _Modes:
        """Those of a system whose inputs are what a signal stands for; at least one."""
        used = np.flatnonzero(~system.is_padding)
        used = used if used.size else np.arange(1)
        drive, _, _ = absorbed(system.inputs[used].T, np.zeros(used.size), signal)
        poles, outputs = system.poles[used], 2.0 * system.outputs[:, used]
        states = trajectories(poles, drive, signal.values)
        return cls(poles, drive, outputs, np.stack([(state @ outputs.T).real for state in states], axis=1))

    @property
    def readout(self) -> np.ndarray:
        """The outputs as a real matrix `[2 N, O]` for real and imaginary parts."""
        return np.concatenate([self.outputs.real, -self.outputs.imag], axis=1).T

    def ordered(self, order: np.ndarray) -> _Modes:
        """The same modes in another order."""
        return _Modes(self.poles[order], self.drive[:, order], self.outputs[:, order], self.values)


class _Bank(NamedTuple):
    """Modes in the units of a device.

    Args:
        poles: `[N]`, on the grid of 2**-15.
        decay, rotation: of the poles, whole numbers.
        drive: real `[I, 2 N]`, what each input adds to each part of a state; states are at most 1.
        feedback: of how many of the last modes rounding errors are fed back.
    """

    poles: np.ndarray
    decay: np.ndarray
    rotation: np.ndarray
    drive: np.ndarray
    feedback: int


def add_modes(
    modes: _Modes, name: str, signal: Signal, builder: ProgramBuilder, scales: tuple[float, float] = (0.0, np.inf)
) -> Signal:
    """What a system reads out of its modes, in int16: all but its feedthrough.

    Args:
        modes: for the values of the signal.
        name: for the tensors.
        signal: int16.
        builder: takes the operations and the state.
        scales: of the result, the least one, and the largest that may be chosen for a fast kernel.
    """
    signal = dataclasses.replace(signal, encoding=None)  # the modes know it
    finest, coarsest = scales
    scale = power_of_two_scale(builder.peak(modes.values), 16, finest=finest)
    bank, order = _on_the_grid(modes, scale, signal, builder)
    modes = modes.ordered(order)
    output, driven = _add_step(name, bank, signal, builder)
    length = builder.window or max(signal.values.shape[1], LEAST_FITTED)
    wanted, given = (modes.poles, modes.drive, modes.readout), (bank.poles, driven)
    noise, real = HIDDEN_SCALE / np.sqrt(12.0), builder.real_steps(signal.values)
    readout, power = fit_outputs(wanted, given, signal.values, real, length, noise)
    # What has these powers, for rounding weights: all states on the data are too many.
    samples = np.linalg.cholesky(power).T * np.sqrt(len(power))
    return _add_matrix(f"{name}/read", readout, output, modes.values, scale, samples, builder, coarsest)


def _add_matrix(
    name: str,
    matrix: np.ndarray,
    tensor: Tensor,
    values: np.ndarray,
    scale: float,
    samples: np.ndarray,
    builder: ProgramBuilder,
    coarsest: float = np.inf,
) -> Signal:
    """A product that gives zeros for zeros, rounded for samples of its input, unless it was trained for rounding.

    Where large weights cancel, its scale is coarser than the given one, up to the coarsest, so that the fast kernel of
    C computes it. A unit is then 4 to 8.1 units of the products, of which an input that is rounded to a unit leaves up
    to 63 unknown, by the largest weight.
    """
    scale = coarse_scale(scale, min(FAST_FROM * tensor.scale * EIGHT_BITS.scale(matrix), coarsest))
    nothing, inputs = np.zeros(matrix.shape[1]), None if builder.ranges else samples
    return add_product_of(name, matrix, nothing, tensor, values, builder, lambda _: (scale, 0), inputs, shifts=False)


def _on_the_grid(modes: _Modes, scale: float, signal: Signal, builder: ProgramBuilder) -> tuple[_Bank, np.ndarray]:
    """The bank of a device, and which of the given modes each of its modes is.

    Args:
        modes: of the layer.
        scale: of what is read out.
        signal: what drives the modes.
        builder: knows which steps count.
    """
    poles, drive, outputs, _ = modes
    decay, rotation = delta_form.snap_poles(poles)
    snapped = delta_form.snapped_poles(decay, rotation)
    peaks = state_peaks(snapped, drive, signal.values, builder.real_steps(signal.values))
    # A mode that is silent in calibration says nothing of its range; a full-scale input shall not saturate there.
    largest = np.maximum(np.abs(drive.real), np.abs(drive.imag)).sum(axis=0)
    full_scale = np.maximum(largest * signal.tensor.scale * 2.0**15, 1e-30)
    peaks = np.where(peaks <= SILENT * full_scale.max(), full_scale, peaks)
    heard = np.abs(outputs).max(axis=0) * peaks
    unit = peaks / (STATE_PEAK * np.clip(heard / max(heard.max(), 1e-30), LEAST_PART, 1.0))
    weights = np.abs(outputs).max(axis=0) * unit * HIDDEN_SCALE / scale
    fed_back = modes_to_feed_back(decay[None], rotation[None], weights[None])[0]
    order = np.argsort(fed_back, kind="stable")
    own = as_real((drive / unit)[:, order])
    bank = _Bank(snapped[order], decay[order], rotation[order], own, int(fed_back.sum()))
    return bank, order


def _add_step(name: str, bank: _Bank, signal: Signal, builder: ProgramBuilder) -> tuple[Tensor, np.ndarray]:
    """The product that drives the modes, and their step.

    Each row of the matrix is as large as its integers allow, and what it is too large by is in the mode's gain, a whole
    number.

    Returns:
        the rounded states, and the drive that integers have made of the bank's, complex `[I, N]`.
    """
    modes = len(bank.poles)
    largest = np.tile(np.abs(bank.drive).max(axis=0).reshape(2, modes).max(axis=0), 2)
    rows = bank.drive / np.where(largest > 0.0, largest, 1.0)
    finest = signal.tensor.scale / LARGEST_WEIGHT * FAST_FROM
    scale = power_of_two_scale(builder.peak(signal.values @ rows), 16, finest=2.0 ** np.ceil(np.log2(finest)))
    # Whole numbers, for which states are a little smaller, or much where nothing could bring them so far.
    wanted = largest * scale / STATE_SCALE
    gain = np.clip(np.floor(wanted), 1, LARGEST_GAIN)
    rows = rows * np.minimum(wanted, 1.0)
    samples = builder.observed(signal.values)
    driven = _add_matrix(f"{name}/drive", rows, signal.tensor, signal.values @ rows, scale, samples, builder)
    product = builder.operations[-1]
    scale = driven.tensor.scale
    realised = product.weights.data.T * (product.weights.scale * gain * STATE_SCALE / scale)
    state = builder.state(f"{name}/state", (2, modes), STATE_SCALE)
    step = ModalStep(
        input=driven.tensor,
        state=state.before,
        next_state=state.after,
        decay=builder.constant(f"{name}/decay", bank.decay, "int32", delta_form.POLE_SCALE),
        rotation=builder.constant(f"{name}/rotation", bank.rotation, "int32", delta_form.POLE_SCALE),
        input_gain=builder.constant(f"{name}/input_gain", gain.reshape(2, modes), "int32", STATE_SCALE / scale),
        hidden=builder.tensor(f"{name}/hidden", (2, modes), "int16", HIDDEN_SCALE),
        output=builder.tensor(f"{name}/modes", 2 * modes, "int16", HIDDEN_SCALE),
        limit=STATE_LIMIT if bank.feedback or _may_saturate(bank.poles, gain) else 0,
        feedback=bank.feedback,
    )
    builder.add(step)
    return step.output, realised[:, :modes] + 1j * realised[:, modes:]


def _may_saturate(poles: np.ndarray, gain: np.ndarray) -> bool:
    """Whether some drive of 16 bits brings a state to the limit."""
    step = np.hypot(*gain.reshape(2, -1)) * 2.0**15 + 2.0**16  # and what rounding may add
    return bool(np.any(step / (1.0 - np.abs(poles)) >= STATE_LIMIT))


def _add_feedthrough(
    layer: DiagonalSSM, name: str, signal: Signal, builder: ProgramBuilder, coarser_than: float
) -> Signal:
    """What goes through, in int16 of a power of two as its scale, at least so large."""
    matrix = layer.system().feedthrough.T
    if layer.feedthrough_type == "diagonal":
        return add_affine(name, signal, np.diag(matrix), np.zeros(len(matrix)), builder, finest=coarser_than)
    matrix, _, signal = absorbed(matrix, np.zeros(matrix.shape[1]), signal)
    values = signal.values @ matrix
    scale = power_of_two_scale(builder.peak(values), 16, finest=coarser_than)
    samples = builder.observed(signal.values)
    return _add_matrix(name, matrix, signal.tensor, values, scale, samples, builder)


def _add_sum(name: str, read: Signal, direct: Signal, builder: ProgramBuilder) -> Signal:
    """Both parts of the outputs, in int16."""
    values = read.values + direct.values
    finest = min(read.tensor.scale, direct.tensor.scale)
    gains = [round(part.tensor.scale / finest) for part in (read, direct)]
    # Units finer than those of the sum would hold nothing more.
    scale = power_of_two_scale(builder.peak(values), 16, finest=finest)
    output = builder.tensor(name, values.shape[-1], "int16", scale)
    builder.add(Add(read.tensor, direct.tensor, *gains, finest, output))
    return Signal(output, values)
