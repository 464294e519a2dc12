"""The systems that the reduction benchmarks reduce, and how they judge the error bounds."""

from pathlib import Path

import numpy as np

from keras_s4.reduction import Reduction
from keras_s4.systems import DiagonalSystem

# Relative to the largest Hankel singular value. A pole that comes out of a dense matrix is off by a few units of 2e-16;
# beside a gap of 1e-4 to the unit circle that is some 1e-12 of the response, and there are up to 128 poles.
ROUNDING = 1e-10
KINDS = ("plain", "repeated", "conjugate repeated", "nearly repeated", "real", "clustered")


def random_systems(rng: np.random.Generator, channels: int, state_size: int) -> DiagonalSystem:
    """Return random stable systems of radius up to 0.9999, the kinds of poles in turn."""
    shape, half = (channels, state_size), state_size // 2
    radius = 1.0 - 10.0 ** rng.uniform(-4.0, 0.0, shape)
    poles = radius * np.exp(1j * rng.uniform(0.0, np.pi, shape) * 10.0 ** -rng.uniform(0.0, 3.0, (channels, 1)))
    for h in range(channels):
        other = poles[h, half : 2 * half]
        poles[h, :half] = {
            "plain": poles[h, :half],
            "repeated": other,
            "conjugate repeated": other.conj(),
            "nearly repeated": other * (1.0 - 10.0 ** rng.uniform(-12.0, -3.0, half)),
            "real": np.abs(other) * rng.choice([-1.0, 1.0], half),
            "clustered": poles[h, -1] * (1.0 - 1e-3 * rng.uniform(size=half)),
        }[KINDS[h % len(KINDS)]]
    # Residues of one size, or peaks of one height, or in between.
    power = rng.choice([0.0, 0.5, 1.0], (channels, 1))
    residues = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * (1.0 - np.abs(poles)) ** power
    return DiagonalSystem(poles, residues, rng.normal(size=channels))


def skew_hippo_layer(rng: np.random.Generator, steps: np.ndarray, state_size: int) -> DiagonalSystem:
    """Return a DSS layer as initialised: poles exp(step (-1/2 + i pi n)), one step for each channel."""
    continuous = -0.5 + 1j * np.pi * np.arange(state_size)
    poles = np.exp(np.asarray(steps)[:, None] * continuous)
    weights = rng.normal(size=poles.shape) + 1j * rng.normal(size=poles.shape)
    return DiagonalSystem(poles, 0.5 * weights * (poles - 1.0) / continuous, np.zeros(poles.shape[0]))


def excess_over_bound(
    system: DiagonalSystem, grid: np.ndarray, response: np.ndarray, reduction: Reduction
) -> np.ndarray:
    """Return (error - bound) / sigma_1 for each channel.

    Args:
        system: the original system.
        grid: [H, F] frequencies dense around its resonances.
        response: [H, F] its response there.
        reduction: what was made of it.

    The error is sampled there and around the resonances of the reduced system; where the sample comes within a fifth
    of the bound, the Hinf norm with its local refinement replaces it.
    """
    reduced = reduction.system
    error = np.abs(response - reduced.frequency_response(grid)).max(axis=1)
    near = reduced.resonance_grid(uniform=2, around=5)
    error = np.maximum(error, np.abs((system - reduced).frequency_response(near)).max(axis=1))
    allowed = reduction.error_bound + ROUNDING * reduction.spectrum[:, 0]
    close = np.flatnonzero(error > 0.8 * allowed)
    if close.size:
        refined = (system.select(close) - reduced.select(close)).hinf_norm()
        error[close] = np.maximum(error[close], refined)
    return (error - reduction.error_bound) / reduction.spectrum[:, 0]


def layers_of(path: Path) -> dict[str, DiagonalSystem]:
    """Return the DSS layers of a saved Keras model, discretised, by name."""
    import keras

    from keras_s4.surgery.cloning import dss_layers

    return {name: layer.system() for name, layer in dss_layers(keras.models.load_model(path)).items()}
