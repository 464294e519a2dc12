"""Penalties against numpy's singular values, and in compiled training."""

import keras
import numpy as np
import pytest
import tensorflow

from keras_s4 import models
from keras_s4.compression.callbacks import weighted_regularizers
from keras_s4.layers import DSS
from keras_s4.reduction import hankel_singular_values
from keras_s4.regularizers import HankelNorm, NuclearNorm
from keras_s4.regularizers.polar import polar_factor
from keras_s4.surgery.cloning import dss_layers
from keras_s4.systems import DiagonalSystem


def matrix_of(values, shape, seed=0):
    """A matrix with given singular values, and its polar factor on the directions that have some."""
    random = np.random.default_rng(seed)
    left, _ = np.linalg.qr(random.normal(size=(shape[0], len(values))))
    right, _ = np.linalg.qr(random.normal(size=(shape[1], len(values))))
    kept = np.asarray(values) > 0
    return (left * values) @ right.T, left[:, kept] @ right[:, kept].T


SPECTRA = {
    "random": np.random.default_rng(1).uniform(0.1, 1.0, size=12),
    "decaying": np.geomspace(1.0, 1e-3, 12),
    "equal": np.ones(12),
    "rank-2": np.r_[[3.0, 0.5], np.zeros(10)],
    "tiny": 1e-20 * np.ones(3),
    "huge": 1e15 * np.ones(3),
    "one": np.ones(1),
}


@pytest.mark.parametrize("shape", [(12, 12), (40, 12), (12, 40)])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_polar_factor_and_nuclear_norm_are_those_of_the_singular_value_decomposition(spectrum, shape):
    matrix, factor = matrix_of(SPECTRA[spectrum], shape)
    # Relative to the norm, rounding is 1e-7, and is raised up to 1e4 times where the matrix has no gain.
    tolerance = 5e-3 if spectrum in ("rank-2", "tiny", "huge", "one") else 2e-4
    np.testing.assert_allclose(polar_factor(matrix.astype("float32")), factor, atol=tolerance)
    np.testing.assert_allclose(polar_factor(matrix), factor, atol=1e-7)
    penalty = NuclearNorm(0.5)(matrix.astype("float32"))
    np.testing.assert_allclose(penalty, 0.5 * SPECTRA[spectrum].sum(), rtol=1e-5)


def test_polar_factor_of_a_stack_of_matrices():
    stack = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(polar_factor(stack)[index], polar_factor(stack[index]), atol=1e-12)


def test_zero_matrix_has_neither_penalty_nor_gradient():
    assert np.all(np.asarray(polar_factor(np.zeros((3, 4), "float32"))) == 0)
    assert float(NuclearNorm(1.0)(np.zeros((3, 4), "float32"))) == 0


@pytest.mark.parametrize("shape", [(6, 4), (1, 5), (3, 2, 4)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradient_is_that_of_the_sum_of_singular_values(shape, jit_compile):
    """One step of gradient descent on the penalty alone, against central differences of numpy's singular values."""
    weight = np.random.default_rng(0).normal(size=shape)
    dense = keras.layers.Dense if len(shape) == 2 else keras.layers.Conv1D
    arguments = {} if len(shape) == 2 else {"kernel_size": shape[0]}
    layer = dense(shape[-1], **arguments, use_bias=False, kernel_regularizer=NuclearNorm(0.1))
    inputs = (shape[-2],) if len(shape) == 2 else (4, shape[-2])
    model = keras.Sequential([keras.Input(inputs), layer])
    layer.set_weights([weight])
    model.compile(keras.optimizers.SGD(1.0), lambda y, outputs: 0.0 * keras.ops.sum(outputs), jit_compile=jit_compile)
    model.train_on_batch(np.zeros((2, *inputs)), np.zeros((2, *layer.compute_output_shape((2, *inputs))[1:])))

    def nuclear_norm(kernel):
        return np.linalg.svd(kernel.reshape(-1, shape[-1]), compute_uv=False).sum()

    expected, step = np.zeros(shape), 1e-5
    for index in np.ndindex(*shape):
        moved = np.zeros(shape)
        moved[index] = step
        expected[index] = (nuclear_norm(weight + moved) - nuclear_norm(weight - moved)) / (2 * step)
    np.testing.assert_allclose(weight - layer.get_weights()[0], 0.1 * expected, atol=2e-4)


def test_penalty_lowers_the_rank():
    """Targets of rank 2 with noise: the penalty finds the rank, and without it the noise fills the matrix."""
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 10)).astype("float32")
    y = x @ random.normal(size=(10, 2)) @ random.normal(size=(2, 8)) + 0.3 * random.normal(size=(256, 8))
    x, y = np.tile(x, (80, 1)), np.tile(y, (80, 1))
    ratios = {}
    for weight in (0.0, 0.05):
        keras.utils.set_random_seed(0)
        layer = keras.layers.Dense(8, kernel_regularizer=NuclearNorm(weight))
        model = keras.Sequential([keras.Input((10,)), layer])
        model.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=True)
        model.fit(x, y, batch_size=256, shuffle=False, verbose=0)
        values = np.linalg.svd(layer.get_weights()[0], compute_uv=False)
        ratios[weight] = values[2] / values[0]
    assert ratios[0.05] < 2e-3 < 5e-3 < ratios[0.0]


def test_half_precision_weights_are_penalised_in_single():
    penalty = NuclearNorm(1.0)(keras.ops.cast(np.eye(4), "bfloat16"))
    assert penalty.dtype == "float32" and float(penalty) == pytest.approx(4.0)


@pytest.mark.parametrize("regularizer", [NuclearNorm(1e-3), HankelNorm(1e-3, normalized=True)])
def test_config_holds_the_weight_as_it_is_now(regularizer):
    regularizer.weight = 0.3
    copy = keras.regularizers.deserialize(keras.regularizers.serialize(regularizer))
    assert copy.get_config() == regularizer.get_config()
    assert copy.weight == 0.3
    copy.weight = 0.1
    assert regularizer.weight == 0.3


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "strong"])
def test_weights_that_are_no_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"got weight=.*expected a finite number of at least 0"):
        NuclearNorm(weight)


def test_biases_are_refused():
    with pytest.raises(ValueError, match=r"shape \[3\]; expected a matrix"):
        NuclearNorm(1.0)(np.ones(3))


def test_saved_model_keeps_its_penalties(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((7, 3)),
            keras.layers.GRU(4, kernel_regularizer=NuclearNorm(0.1), recurrent_regularizer=NuclearNorm(0.2)),
            keras.layers.Dense(2, kernel_regularizer=NuclearNorm(0.3)),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.losses, model.losses)
    assert len(loaded.losses) == 3


LAYERS = {
    "shared": {},
    "softmax": {"kernel": "softmax", "training_length": 50},
    "clip-bilinear": {"kernel": "clip", "discretization": "bilinear", "separate_time_steps": True},
    "bidirectional": {"per_channel_poles": True, "bidirectional": True},
}


def built(states=5, dtype="float64", **arguments):
    keras.utils.set_random_seed(0)
    layer = DSS(states, dtype=dtype, **arguments)
    layer.build((None, 50, 3))
    return layer


def expected_penalty(layer, normalized=False):
    values = hankel_singular_values(layer.system())
    norms = np.linalg.norm(values, axis=1) if normalized else 1.0
    return float((values.sum(axis=1) / np.where(norms > 0.0, norms, 1.0)).sum())


def holding(poles, residues, dtype="float32"):
    """A layer that holds a system of one channel for each row."""
    poles, residues = np.atleast_2d(poles), np.atleast_2d(residues)
    layer = DSS(poles.shape[1], per_channel_poles=True, dtype=dtype)
    layer.build((None, None, len(poles)))
    layer.set_system(DiagonalSystem(poles, residues, np.zeros(len(poles))))
    return layer


def gradients_of(regularizer, layer):
    weights = [weight for weight in layer.trainable_weights if weight.name != "feedthrough"]
    with tensorflow.GradientTape() as tape:
        penalty = regularizer(layer.modes())
    return weights, tape.gradient(penalty, [weight.value for weight in weights])


class TestHankelNorm:
    @pytest.mark.parametrize("normalized", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("states", [1, 5, 32])
    @pytest.mark.parametrize("kind", LAYERS)
    def test_value_is_the_sum_of_hankel_singular_values(self, kind, states, dtype, normalized):
        layer = built(states, dtype, **LAYERS[kind])
        penalty = HankelNorm(0.5, normalized)(layer.modes())
        np.testing.assert_allclose(penalty, 0.5 * expected_penalty(layer, normalized), rtol=2e-5)

    @pytest.mark.parametrize("normalized", [False, True])
    @pytest.mark.parametrize("kind", LAYERS)
    def test_gradient_is_that_of_the_hankel_singular_values(self, kind, normalized):
        """Of every weight in a random direction, against central differences of the float64 reduction in numpy."""
        layer = built(**LAYERS[kind])
        random, step = np.random.default_rng(0), 1e-5
        for weight, gradient in zip(*gradients_of(HankelNorm(1.0, normalized), layer), strict=True):
            start, direction = np.array(weight), random.normal(size=weight.shape)
            sides = []
            for sign in (1, -1):
                weight.assign(start + sign * step * direction)
                sides.append(expected_penalty(layer, normalized))
            weight.assign(start)
            expected = (sides[0] - sides[1]) / (2 * step)
            assert np.sum(np.asarray(gradient) * direction) == pytest.approx(expected, rel=1e-4, abs=1e-5), weight.name

    @pytest.mark.parametrize("normalized", [False, True])
    @pytest.mark.parametrize(
        ("poles", "residues"),
        [
            pytest.param([0.9 + 0.1j] * 4, [1.0, 2.0, -1.0, 0.5j], id="equal"),
            pytest.param([0.9 + 0.1j, 0.5j, 0.3], [0.0, 0.0, 0.0], id="silent"),
            pytest.param([0.9 + 0.1j, 0.5j, 0.3], [1.0, 0.0, 0.5], id="padded"),
            pytest.param(0.9999 * np.exp(1j * np.array([0.01, 1.0, 1.0001])), [1.0, 2.0, 1.0j], id="slow"),
            pytest.param([0.9999, 0.999, -0.5, 0.0], [0.5, -0.5, 0.5, 0.5], id="real"),
            pytest.param(0.9 * np.exp(1j * np.linspace(0.1, 0.2, 40)), np.ones(40), id="crowded"),
        ],
    )
    def test_awkward_systems_have_a_finite_gradient(self, poles, residues, normalized):
        layer = holding(poles, residues)
        penalty = HankelNorm(1.0, normalized)(layer.modes())
        np.testing.assert_allclose(penalty, expected_penalty(layer, normalized), rtol=1e-3)
        for weight, gradient in zip(*gradients_of(HankelNorm(1.0, normalized), layer), strict=True):
            assert np.all(np.isfinite(gradient)), weight.name

    def test_training_step_adds_the_penalty_once_and_inference_none(self):
        """Compiled by XLA, through a block; and the weight can be changed afterwards."""
        arguments = {"dss": {"state_regularizer": HankelNorm(0.5)}}
        model = models.classifier((20, 2), 2, channels=3, states=4, blocks=1, **arguments)
        layer = dss_layers(model)["block_1/dss"]
        np.testing.assert_allclose(float(model.losses[0]), 0.5 * expected_penalty(layer), rtol=1e-4)
        assert len(model.losses) == 1 and weighted_regularizers(model) == [layer.state_regularizer]
        model.compile(keras.optimizers.SGD(0.0), lambda y, outputs: 0.0 * outputs[:, 0], jit_compile=True)
        model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
        x, y = np.ones((4, 20, 2)), np.ones(4)
        for weight in (0.5, 2.0):
            layer.state_regularizer.weight = weight
            model.reset_metrics()
            np.testing.assert_allclose(model.train_on_batch(x, y), weight * expected_penalty(layer), rtol=1e-4)

    def test_descent_lowers_the_rank(self):
        """Ten modes fit a target of two; the penalty concentrates the energy on few singular values."""
        t = np.arange(40)
        target = (0.9**t * np.cos(0.5 * t)).astype("float32")
        impulse = np.eye(1, 40, dtype="float32")[:, :, None]
        ranks, sums = {}, {}
        for weight in (0.0, 0.02):
            keras.utils.set_random_seed(1)
            model = keras.Sequential(
                [keras.Input((40, 1)), DSS(6, per_channel_poles=True, state_regularizer=HankelNorm(weight))]
            )
            model.compile(
                keras.optimizers.Adam(0.05), lambda y, k: keras.ops.sum(keras.ops.square(y - k)), jit_compile=False
            )
            model.optimizer.build(model.trainable_variables)
            batches = np.repeat(impulse, 300, axis=0)
            model.fit(batches, np.repeat(target[None, :, None], 300, axis=0), batch_size=1, verbose=0)
            values = hankel_singular_values(model.layers[0].system())[0]
            sums[weight] = values.sum()
            ranks[weight] = 1 + int(np.sum(np.cumsum(values**2) < 0.9999 * np.sum(values**2)))
        assert sums[0.02] < sums[0.0]
        assert ranks[0.02] < ranks[0.0]

    def test_saved_model_keeps_its_penalty(self, tmp_path):
        arguments = {"dss": {"state_regularizer": HankelNorm(0.5, normalized=True)}}
        model = models.classifier((20, 2), 2, channels=3, states=4, blocks=1, **arguments)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded.losses, model.losses, rtol=1e-6)

    def test_regularisers_of_single_weights_are_refused(self):
        with pytest.raises(ValueError, match=r"got state_regularizer=.*expected a regulariser of states"):
            DSS(4, state_regularizer="l2")
