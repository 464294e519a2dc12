import keras
import numpy as np
import tensorflow as tf

from keras_s4.layers.quantized.snapping import POLE_SCALE, snap
from keras_s4.tflite.lowering import delta_form


def random_poles(seed: int) -> np.ndarray:
    """Poles from very slow to fast, at all frequencies, some on the real axis."""
    random = np.random.default_rng(seed)
    radius = 1.0 - 10.0 ** random.uniform(-7.0, -0.2, (40, 30))
    angle = 10.0 ** random.uniform(-6.0, np.log10(np.pi), radius.shape)
    angle[:, :3], angle[:, 3:5] = 0.0, np.pi
    return radius * np.exp(1j * angle)


def test_poles_are_those_of_the_exporter():
    poles = random_poles(0)
    logs = [keras.ops.convert_to_tensor(part, "float64") for part in (np.log(poles).real, np.log(poles).imag)]
    log_radius, angle = (keras.ops.convert_to_numpy(part) for part in snap(tuple(logs)))
    expected = delta_form.snapped_poles(*delta_form.snap_poles(poles))
    np.testing.assert_allclose(np.exp(log_radius + 1j * angle), expected, rtol=0, atol=1e-14)
    assert np.all(log_radius < 0.0)


def test_a_pole_near_zero_is_snapped_to_zero_by_a_finite_logarithm():
    logs = [keras.ops.convert_to_tensor(part, "float32") for part in ([[-13.6, -11.0]], [[0.0, 3.0]])]
    log_radius, angle = (keras.ops.convert_to_numpy(part) for part in snap(tuple(logs)))
    assert np.isfinite(log_radius).all() and np.isfinite(angle).all()
    poles = np.exp(log_radius.astype(np.float64) + 1j * angle)
    expected = delta_form.snapped_poles(*delta_form.snap_poles(np.exp(np.array([[-13.6, -11.0 + 3.0j]]))))
    assert expected[0, 0] == 0.0
    np.testing.assert_allclose(poles[0, 0], 0.0, rtol=0, atol=1e-15)
    # In single precision the radius of the innermost grid points is lost beside 1.
    np.testing.assert_allclose(poles, expected, rtol=0, atol=1.01 * POLE_SCALE)


def test_gradients_are_those_of_the_poles_themselves():
    logs = [tf.Variable(part, dtype="float32") for part in (np.array([[-0.01, -1e-6]]), np.array([[0.3, 1e-5]]))]
    with tf.GradientTape() as tape:
        total = sum(tf.reduce_sum(part * factor) for part, factor in zip(snap(tuple(logs)), (2.0, 3.0), strict=True))
    for gradient, factor in zip(tape.gradient(total, logs), (2.0, 3.0), strict=True):
        np.testing.assert_allclose(gradient, np.full((1, 2), factor))
