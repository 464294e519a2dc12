"""DSS layers: an int32 state in delta form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_s4.layers import DSS
from keras_s4.systems import DiagonalSystem
from keras_s4.tflite.lowering import delta_form
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import int8_range, power_of_two_scale
from keras_s4.tflite.lowering.limit_cycles import modes_to_feed_back
from keras_s4.tflite.lowering.registry import register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import rescaled, units_of, with_encoding
from keras_s4.tflite.program.operations import DiagonalStep

STATE_SCALE = 2.0**-30
HIDDEN_SCALE = 2.0**-15
# States reach this part of full scale in calibration, and saturate at eight times that. On people whom the calibration
# had not seen, states reached up to 2.8 times their calibrated peaks; three bits of room cost nothing that could be
# measured behind 8-bit activations. Room for what resonance can do, a hundred times the peak that noise shows in a slow
# mode, would cost up to 20 dB: there states are clamped instead.
STATE_PEAK = 0.125
STATE_LIMIT = round(1.0 / STATE_SCALE)
# A full-scale input of the program is at most as many times the calibration data: 1.25 of headroom, and a power of two.
INPUT_ROOM = 2.5
# Of the 16 bits of the input, so that an input gain keeps enough bits of the 31 of their product.
INPUT_BITS = 13
FEEDTHROUGH_BITS = 15
# Of what a full-scale input causes in a step: with less than that, calibration has not shown a range.
SILENT = 1e-6
# Steps over which gains are fitted where sequences have no fixed length: short calibration data say nothing of it.
LEAST_FITTED = 256
LARGEST_WEIGHT = 127


@register(DSS, takes="both")
def lower_dss(layer, inputs, builder):
    """One diagonal step with an int16 result."""
    signal = inputs[0]
    encoding = signal.encoding
    moved = encoding is not None and np.any(encoding.offset)
    largest = builder.peak(signal.values) / signal.tensor.scale
    if moved or signal.tensor.type != "int16" or largest >= 2 ** (INPUT_BITS - 1):
        unit = None if encoding is None else units_of(encoding.real(builder.observed(signal.values)))
        signal = rescaled(f"{layer.name}/input", signal, unit, builder, bits=INPUT_BITS)
    # Channels do not mix: each gives its output in the unit of its input.
    encoding = signal.encoding
    result = add_dss(layer, layer.name, dataclasses.replace(signal, encoding=None), builder)
    return with_encoding(result, encoding, builder)


def add_dss(
    layer: DSS, name: str, signal: Signal, builder: ProgramBuilder, activation: Callable | None = None
) -> Signal:
    """The diagonal step of a DSS layer.

    Args:
        layer: built.
        name: for the tensors.
        signal: int16, of which `INPUT_BITS` bits are used.
        builder: takes the operation and the state.
        activation: what follows, as a function of float64 arrays: the result is int8 in the range that serves it best.
            Without one the result is int16.
    """
    system = layer.system()
    values = _convolve(system.impulse_response(signal.values.shape[1]), signal.values)
    system = _slow_turning_first(system)
    length = builder.window or max(signal.values.shape[1], LEAST_FITTED)
    decay, rotation = delta_form.choose_poles(system, length)
    poles = delta_form.snapped_poles(decay, rotation)
    gains = delta_form.refit_gains(system, poles, length)
    direct = system.feedthrough + 2.0 * system.residues.real.sum(axis=1)

    peaks = delta_form.state_trajectory_peaks(signal.values, poles, gains, builder.real_steps(signal.values))
    # A channel that is silent in calibration says nothing of its range; a full-scale input shall not wrap there.
    full_scale = np.abs(gains) * signal.tensor.scale * 2.0 ** (INPUT_BITS - 1)
    silent = peaks.max(axis=1) <= SILENT * full_scale.max(axis=1)
    peaks = np.where(silent[:, None], full_scale, peaks)
    # What moves by less than a unit of the input does not move.
    peaks = np.maximum(peaks, 0.5 * np.abs(gains) * signal.tensor.scale)
    weight_scale = _weight_scales(peaks)
    weights, input_gain = _split_gains(gains, peaks, weight_scale, signal.tensor.scale)
    largest_input = INPUT_ROOM * np.abs(builder.observed(signal.values)).reshape(-1, system.channels).max(axis=0)
    largest_input = np.where(silent, signal.tensor.scale * 2.0 ** (INPUT_BITS - 1), largest_input)
    worst = delta_form.l1_norms(poles, gains / (weights * weight_scale[:, None])) * largest_input[:, None]
    read = builder.peak(values - direct * signal.values)
    if read <= SILENT * full_scale.sum(axis=1).max():
        read = float(full_scale.sum(axis=1).max())  # of one step, or the last alone, nothing is read from a state
    direct_scale = power_of_two_scale(np.abs(direct).max() * signal.tensor.scale, FEEDTHROUGH_BITS)
    partial_scale = power_of_two_scale(read, 16, finest=direct_scale)
    accumulator_scale = max(partial_scale * 2.0**-14, direct_scale)

    output = _output(name, values, activation, builder)
    feedback = modes_to_feed_back(decay, rotation, weights * weight_scale[:, None] * HIDDEN_SCALE / output.scale)
    # The C kernel is quick with the first modes of each channel, and with what it takes 16 bits to turn.
    order = np.argsort(feedback, axis=1, kind="stable")
    decay, rotation, weights, feedback, *input_gain = (
        np.take_along_axis(array, order, axis=1) for array in (decay, rotation, weights, feedback, *input_gain)
    )

    shape = (2, system.state_size, system.channels)
    state = builder.state(f"{name}/state", shape, STATE_SCALE)
    readout = np.stack([weights.T, np.zeros_like(weights.T)])
    operation = DiagonalStep(
        input=signal.tensor,
        state=state.before,
        next_state=state.after,
        decay=builder.constant(f"{name}/decay", decay.T, "int32", delta_form.POLE_SCALE),
        rotation=builder.constant(f"{name}/rotation", rotation.T, "int32", delta_form.POLE_SCALE),
        input_gain=builder.constant(
            f"{name}/input_gain", np.stack([part.T for part in input_gain]), "int32", STATE_SCALE / signal.tensor.scale
        ),
        hidden=builder.tensor(f"{name}/hidden", shape, "int16", HIDDEN_SCALE),
        readout=builder.constant(f"{name}/readout", readout, "int8", weight_scale),
        partial=builder.tensor(f"{name}/partial", system.channels, "int16", partial_scale),
        partial_gain=round(partial_scale / accumulator_scale),
        feedthrough=builder.constant(
            f"{name}/feedthrough",
            direct * signal.tensor.scale / accumulator_scale,
            "int32",
            accumulator_scale / signal.tensor.scale,
        ),
        accumulator_scale=accumulator_scale,
        output=output,
        limit=STATE_LIMIT if worst.max() >= 1.0 or feedback.any() else 0,
        feedback=feedback.T if feedback.any() else None,
    )
    builder.add(operation)
    return Signal(operation.output, values)


def _slow_turning_first(system: DiagonalSystem) -> DiagonalSystem:
    """The modes of each channel in an order that the C kernel is quick with: those that turn by over 90 degrees
    last."""
    order = np.argsort(system.poles.real < 0.0, axis=1, kind="stable")
    poles, residues = (np.take_along_axis(values, order, axis=1) for values in (system.poles, system.residues))
    return dataclasses.replace(system, poles=poles, residues=residues)


def _output(name: str, values: np.ndarray, activation: Callable | None, builder: ProgramBuilder):
    channels = values.shape[-1]
    if activation is None:
        return builder.tensor(f"{name}/output", channels, "int16", power_of_two_scale(builder.peak(values), 16))
    return builder.tensor(f"{name}/output", channels, "int8", *int8_range(builder.observed(values), activation))


def _weight_scales(peaks: np.ndarray) -> np.ndarray:
    """One power of two a channel, with which the largest state's readout weight lies between 64 and 127."""
    largest = np.maximum(peaks.max(axis=1) / STATE_PEAK, 1e-12)
    return 2.0 ** np.ceil(np.log2(largest / LARGEST_WEIGHT))


def _split_gains(
    gains: np.ndarray, peaks: np.ndarray, weight_scale: np.ndarray, input_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each gain as a whole readout weight times a whole complex input gain.

    The weight brings the state to its peak. Any slightly larger weight serves the state as well, so the one is taken
    whose input gain loses least by rounding: for a slow mode, whose gain has few bits, that is worth some three bits.

    Returns:
        weights `[H, N]`, 1 to 127, and input gains `[2, H, N]` (real and imaginary part).
    """
    smallest = np.clip(np.ceil(peaks / STATE_PEAK / weight_scale[:, None]), 1, LARGEST_WEIGHT)
    best_error = np.full(gains.shape, np.inf)
    best_weights, best_gains = np.ones_like(peaks), np.zeros_like(gains)
    for stretch in np.linspace(1.0, 1.4, 24):
        weights = np.minimum(np.rint(smallest * stretch), LARGEST_WEIGHT)
        wanted = gains * input_scale / (weights * weight_scale[:, None] * STATE_SCALE)
        rounded = np.rint(wanted.real) + 1j * np.rint(wanted.imag)
        error = np.abs(rounded - wanted) * weights
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_weights = np.where(better, weights, best_weights)
        best_gains = np.where(better, rounded, best_gains)
    return best_weights, np.stack([best_gains.real, best_gains.imag])


def _convolve(kernel: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Causal convolution of `[B, L, H]` inputs with kernels `[H, L]` in float64."""
    size = 2 * inputs.shape[1]
    spectrum = np.fft.rfft(inputs, size, axis=1) * np.fft.rfft(kernel.T, size, axis=0)
    return np.fft.irfft(spectrum, size, axis=1)[:, : inputs.shape[1]]
