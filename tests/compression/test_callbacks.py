"""Growing weights and hard low rank in plain `fit`."""

import backends
import keras
import numpy as np
import pytest

from keras_s4 import models
from keras_s4.compression.callbacks import GrowingWeight, HardLowRank, weight_matrices
from keras_s4.regularizers import NuclearNorm


@pytest.fixture
def recurrent_model():
    keras.utils.set_random_seed(0)
    gru = keras.layers.GRU(6, kernel_regularizer=NuclearNorm(1.0), recurrent_regularizer=NuclearNorm(1.0), name="gru")
    head = keras.layers.Dense(4, kernel_regularizer=NuclearNorm(1.0), name="head")
    return keras.Sequential([keras.Input((5, 3)), keras.layers.Conv1D(7, 2, name="convolution"), gru, head])


def fit(model, *callbacks, epochs, learning_rate=0.01, **compiling):
    """Eagerly unless told otherwise: an epoch has one batch, which is not worth a compilation."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, *model.input_shape[1:])), random.normal(size=(16, *model.output_shape[1:]))
    model.compile(keras.optimizers.Adam(learning_rate), "mse", metrics=["mse"], **(compiling or {"run_eagerly": True}))
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), verbose=0).history


def ranks_of(model):
    matrices = {
        name: np.asarray(weight).reshape(-1, weight.shape[-1]) for name, weight in weight_matrices(model).items()
    }
    return {name: np.linalg.matrix_rank(matrix, tol=1e-5) for name, matrix in matrices.items()}


class TestGrowingWeight:
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_compiled_training_feels_every_weight(self, jit_compile):
        """Nothing moves, so the loss is the error and the weight times the nuclear norms."""
        keras.utils.set_random_seed(0)
        # No recurrent layer, which takes seconds to compile.
        inner = keras.layers.Dense(6, kernel_regularizer=NuclearNorm(1.0), name="inner")
        head = keras.layers.Dense(4, kernel_regularizer=NuclearNorm(1.0), name="head")
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.Conv1D(7, 2, name="convolution"), inner, head])
        growing = GrowingWeight(0.0, 2.0, epochs=3)
        history = fit(model, growing, epochs=4, jit_compile=jit_compile, learning_rate=0.0)
        penalised = [weight for name, weight in weight_matrices(model).items() if "convolution" not in name]
        norms = [np.linalg.svd(weight, compute_uv=False).sum() for weight in penalised]
        np.testing.assert_allclose(history["penalty_weight"], [0.0, 1.0, 2.0, 2.0])
        expected = np.array([0.0, 1.0, 2.0, 2.0]) * sum(norms)
        np.testing.assert_allclose(np.subtract(history["loss"], history["mse"]), expected, rtol=1e-4, atol=1e-5)

    def test_geometric_growth(self):
        growing = GrowingWeight(1e-4, 1e-2, epochs=3, schedule="geometric")
        np.testing.assert_allclose([growing.weight(epoch) for epoch in range(5)], [1e-4, 1e-3, 1e-2, 1e-2, 1e-2])

    def test_one_epoch_has_the_end(self):
        assert GrowingWeight(1.0, 2.0, epochs=1).weight(0) == 2.0
        assert [GrowingWeight(1.0, 2.0, epochs=1, after=1).weight(epoch) for epoch in range(3)] == [1.0, 2.0, 2.0]

    def test_the_schedule_of_the_paper(self):
        """lambda * clip((epoch - a) / (b - a), 0, 1), with a = 10 and b = 120."""
        growing = GrowingWeight(0.0, 1e-4, epochs=111, after=10)
        found = [growing.weight(epoch) for epoch in range(150)]
        np.testing.assert_allclose(found, 1e-4 * np.clip((np.arange(150) - 10) / 110, 0.0, 1.0), atol=1e-18)

    def test_only_the_given_regularizers_grow(self, recurrent_model):
        head = recurrent_model.get_layer("head").kernel_regularizer
        fit(recurrent_model, GrowingWeight(0.0, 3.0, epochs=2, regularizers=[head]), epochs=2)
        assert head.weight == 3.0
        assert recurrent_model.get_layer("gru").kernel_regularizer.weight == 1.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"start": -1.0}, "start=-1.0; expected a finite number of at least 0"),
            ({"start": 0.0, "schedule": "geometric"}, "start=0.0; expected a finite number above 0"),
            ({"end": float("inf")}, "end=inf"),
            ({"epochs": 0}, "epochs=0; expected a whole number"),
            ({"after": -1}, "after=-1; expected a whole number of at least 0"),
            ({"schedule": "cosine"}, "schedule='cosine'; expected one of linear, geometric"),
        ],
    )
    def test_refusals(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            GrowingWeight(**{"start": 0.0, "end": 1.0, "epochs": 3, **arguments})

    def test_models_without_penalty_are_refused(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="l2")])
        with pytest.raises(ValueError, match="found no NuclearNorm or HankelNorm"):
            fit(model, GrowingWeight(0.0, 1.0, epochs=2), epochs=1)


def check_validated_ranks():
    """With a growing nuclear norm, and a callback before the projection that keeps what it was told of."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, kernel_regularizer=NuclearNorm(0.0))])
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, 6)), random.normal(size=(16, 5))
    kept = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append((logs, model.get_weights())))
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mse"])
    callbacks = [keep, GrowingWeight(0.0, 0.1, epochs=3, after=1), HardLowRank(2, every=2)]
    model.fit(x, y, epochs=5, validation_data=(x, y), callbacks=callbacks, verbose=0)
    assert [np.linalg.matrix_rank(weights[0], tol=1e-5) for _, weights in kept] == [5, 2, 5, 2, 5]
    for logs, (kernel, bias) in kept:
        assert abs(logs["val_mse"] - np.mean((x @ kernel + bias - y) ** 2)) < 1e-5


class TestHardLowRank:
    def test_matrices_have_the_names_of_parts(self, recurrent_model):
        assert list(weight_matrices(recurrent_model)) == [
            "convolution/kernel",
            "gru/kernel",
            "gru/recurrent_kernel",
            "head/kernel",
        ]
        assert set(weight_matrices(models.classifier((8, 3), 2, channels=4, states=2, blocks=1))) == {
            "encoder/kernel",
            "block_1/value/kernel",
            "block_1/gate/kernel",
            "head/kernel",
        }

    def test_projection_is_the_truncated_singular_value_decomposition(self, recurrent_model):
        before = np.asarray(recurrent_model.get_layer("convolution").kernel).reshape(6, 7)
        fit(recurrent_model, HardLowRank({"convolution/kernel": 2}), epochs=1, learning_rate=0.0)
        left, values, right = np.linalg.svd(before)
        after = np.asarray(recurrent_model.get_layer("convolution").kernel).reshape(6, 7)
        np.testing.assert_allclose(after, (left[:, :2] * values[:2]) @ right[:2], atol=1e-6)

    def test_named_matrices_have_their_rank_when_training_ends(self, recurrent_model):
        fit(recurrent_model, HardLowRank({"gru/recurrent_kernel": 2, "gru/kernel": 0.5}, every=2), epochs=3)
        assert ranks_of(recurrent_model) == {
            "convolution/kernel": 6,
            "gru/kernel": 4,
            "gru/recurrent_kernel": 2,
            "head/kernel": 4,
        }

    def test_projects_every_few_epochs_and_trains_freely_in_between(self, recurrent_model):
        seen = []
        watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(ranks_of(recurrent_model)))
        fit(recurrent_model, HardLowRank(1, every=2), watch, epochs=5)
        assert [ranks["gru/recurrent_kernel"] for ranks in seen] == [6, 1, 6, 1, 6]
        assert set(ranks_of(recurrent_model).values()) == {1}

    def test_what_is_validated_and_kept_has_the_ranks(self):
        check_validated_ranks()

    def test_what_is_validated_and_kept_has_the_ranks_on_jax(self, request):
        backends.backend_process(request.config, "jax").evaluate(check_validated_ranks)

    def test_one_rank_leaves_smaller_matrices_alone(self, recurrent_model):
        low_rank = HardLowRank(4)
        fit(recurrent_model, low_rank, epochs=1)
        assert low_rank.ranks == {"convolution/kernel": 4, "gru/kernel": 4, "gru/recurrent_kernel": 4}

    def test_optimizer_keeps_its_state(self, recurrent_model):
        """Steps and moments go on as if nothing had been projected: projecting to the full rank changes nothing."""
        fit(recurrent_model, HardLowRank({"head/kernel": 1.0}), epochs=2)
        assert int(recurrent_model.optimizer.iterations) == 2

    @pytest.mark.parametrize("ranks", [0, -2, 0.0, 1.5, True, "half", {"head/kernel": 0}])
    def test_ranks_out_of_range_are_refused(self, ranks):
        with pytest.raises(ValueError, match=r"HardLowRank got the rank .*expected a whole number of at least 1"):
            HardLowRank(ranks)

    def test_what_does_not_fit_the_model_is_refused(self, recurrent_model):
        with pytest.raises(ValueError, match=r"no matrix 'tail/kernel'.*it has convolution/kernel, gru/kernel"):
            fit(recurrent_model, HardLowRank({"tail/kernel": 1}), epochs=1)
        with pytest.raises(ValueError, match=r"rank 5 for 'head/kernel' of shape \[6, 4\]; expected at most 4"):
            fit(recurrent_model, HardLowRank({"head/kernel": 5}), epochs=1)
        with pytest.raises(ValueError, match="every=0"):
            HardLowRank(2, every=0)
        with pytest.raises(ValueError, match="found no weight matrix"):
            fit(keras.Sequential([keras.Input((3,)), keras.layers.LayerNormalization()]), HardLowRank(2), epochs=1)
