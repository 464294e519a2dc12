"""Poles on the device's grid, in tensors, with gradients as if nothing had been rounded.

What `keras_s4.tflite.lowering.delta_form.snap_poles` is in numpy; a test compares both.
"""

from __future__ import annotations

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss.complex_pairs import ComplexPair

POLE_SCALE = 2.0**-15
# What stands for the logarithm of a pole that is snapped to 0: a finite number, whose exponential is nothing beside 1.
LOG_OF_ZERO = -40.0


def snap(log_poles: ComplexPair) -> ComplexPair:
    """Logarithms of the nearest poles with `pole - 1` on a grid of 2**-15 inside the unit circle.

    Args:
        log_poles: logarithms of stable poles, `[H, N]`.

    Returns:
        Their snapped values; the gradient is that of the identity.
    """
    distance = pairs.expm1(log_poles)
    decay, rotation = (ops.round(part / POLE_SCALE) for part in distance)
    # The nearest grid point of a very slow pole may lie on or outside the circle; a point or two inwards do not.
    for _ in range(3):
        real, imaginary = 1.0 + decay * POLE_SCALE, rotation * POLE_SCALE
        outside = ops.cast(_log_radius(decay, rotation) >= 0.0, decay.dtype)
        level = ops.cast(ops.abs(real) >= ops.abs(imaginary), decay.dtype)
        decay = decay - outside * level * ops.sign(real)
        rotation = rotation - outside * (1.0 - level) * ops.sign(imaginary)
    values = (
        ops.maximum(_log_radius(decay, rotation), LOG_OF_ZERO),
        ops.arctan2(rotation * POLE_SCALE, 1.0 + decay * POLE_SCALE),
    )
    return tuple(log + ops.stop_gradient(value - log) for log, value in zip(log_poles, values, strict=True))


def _log_radius(decay, rotation):
    """`log |1 + (decay + i rotation) POLE_SCALE|` without cancellation for poles near 1; of 0 minus infinity."""
    a, b = decay * POLE_SCALE, rotation * POLE_SCALE
    return 0.5 * ops.log1p(2.0 * a + a * a + b * b)
