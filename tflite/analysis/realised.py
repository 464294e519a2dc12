"""The complex modes that the integers of a DSS layer stand for, and the impulse response that they realise."""

from __future__ import annotations

import numpy as np

from keras_s4.systems import DiagonalSystem
from keras_s4.tflite.program.operations import DiagonalStep, ModalStep


def mode_arrays(step: DiagonalStep) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The complex numbers that the integers of a DSS layer stand for, each `[H, N]`.

    Returns:
        poles; input gains, in units of the state for one unit of the input; readout weights W, with which a state x
        contributes `Re(conj(W) x)`, in real units for one unit of the rounded state.
    """
    poles = pole_array(step)
    gains = step.input_gain.data[0] + 1j * step.input_gain.data[1]
    scales = np.asarray(step.readout.scale) * step.hidden.scale
    weights = (step.readout.data[0] + 1j * step.readout.data[1]) * scales
    return poles.T, gains.T.astype(np.complex128), weights.T


def pole_array(step: DiagonalStep | ModalStep) -> np.ndarray:
    """The poles that the integers of a step stand for, in the shape of its decay."""
    return 1.0 + (step.decay.data + 1j * step.rotation.data) * step.decay.scale


def realised_kernel(step: DiagonalStep, length: int) -> np.ndarray:
    """The impulse response that the integers of a DSS layer stand for, `[H, length]`, in real units."""
    poles, gains, weights = mode_arrays(step)
    residues = weights.conj() * gains * (step.state.scale / step.hidden.scale / step.input.scale)
    kernel = np.empty((len(poles), length))
    kernel[:, 0] = step.feedthrough.data * (step.accumulator_scale / step.input.scale)
    if length > 1:
        # The state is read before the step's input has entered it.
        kernel[:, 1:] = DiagonalSystem(poles, residues / 2.0, np.zeros(len(poles))).impulse_response(length - 1)
    return kernel
