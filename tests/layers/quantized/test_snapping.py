import keras
import numpy as np
import tensorflow as tf

from keras_s4.layers.quantized.snapping import snap
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


def test_gradients_are_those_of_the_poles_themselves():
    logs = [tf.Variable(part, dtype="float32") for part in (np.array([[-0.01, -1e-6]]), np.array([[0.3, 1e-5]]))]
    with tf.GradientTape() as tape:
        total = sum(tf.reduce_sum(part * factor) for part, factor in zip(snap(tuple(logs)), (2.0, 3.0), strict=True))
    for gradient, factor in zip(tape.gradient(total, logs), (2.0, 3.0), strict=True):
        np.testing.assert_allclose(gradient, np.full((1, 2), factor))
