import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s4.layers.quantized import Grid, KernelGrid


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0379, -59), (2.0**-8, -128), (0.5, 127), (1e-4, 0)])
def test_grid_holds_the_integers_of_an_int8_tensor(scale, zero_point):
    random = np.random.default_rng(0)
    integers = random.integers(-140, 140, 300)
    # Not half-way between two integers, where float32 and float64 may round apart.
    values = ((integers - zero_point + random.uniform(-0.4, 0.4, 300)) * scale).astype("float32")
    expected = (np.clip(integers, -128, 127) - zero_point) * scale
    np.testing.assert_allclose(Grid(scale, zero_point)(values), expected, rtol=0, atol=2e-5 * 256 * scale)


def test_gradient_of_a_grid_ends_with_its_range():
    grid = Grid(0.1, 0)
    values = tf.Variable([-20.0, -12.0, 0.03, 12.0, 20.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(grid(values))
    np.testing.assert_array_equal(tape.gradient(total, values), [0.0, 1.0, 1.0, 1.0, 0.0])


def test_kernel_grid_follows_the_kernel():
    grid = KernelGrid()
    for seed in range(3):
        kernel = np.random.default_rng(seed).normal(0.0, 10.0**-seed, (7, 5)).astype("float32")
        scale = np.abs(kernel).max() / 127.0
        np.testing.assert_allclose(
            grid(kernel), np.rint(kernel / scale) * scale, rtol=0, atol=1e-5 * np.abs(kernel).max()
        )


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (-1.0, 0), (np.nan, 0), (1.0, 128), (1.0, -129)])
def test_impossible_grids_are_refused(scale, zero_point):
    with pytest.raises(ValueError, match="expected a positive number and an integer from -128 to 127"):
        Grid(scale, zero_point)


def test_grid_round_trip():
    grid = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Grid(0.25, -3, name="grid")))
    assert (grid.scale, grid.zero_point) == (0.25, -3)


def test_processes_that_are_started_later_have_no_legacy_keras():
    """For which tensorflow-model-optimization asks in the environment."""
    code = "import os; from keras_s4.layers.quantized import Grid; Grid(0.1, 0); print(sorted(os.environ))"
    variables = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert "'PATH'" in done.stdout and "TF_USE_LEGACY_KERAS" not in done.stdout
