"""Truncation of states during training in plain `fit`, and all training adaptations on JAX."""

import backends
import keras
import numpy as np
import pytest

import keras_s4
from keras_s4 import models
from keras_s4.compression.callbacks import GrowingWeight, HardLowRank
from keras_s4.compression.state_truncation import TruncateStates, with_own_poles
from keras_s4.regularizers import HankelNorm, NuclearNorm
from keras_s4.surgery.cloning import dss_layers


def new_model(blocks=1, **dss):
    keras.utils.set_random_seed(0)
    return models.classifier((30, 2), 3, channels=4, states=8, blocks=blocks, dropout=0.0, dss=dss or None)


def fit(model, *callbacks, epochs, **compiling):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(32, 30, 2)).astype("float32"), np.arange(32) % 3
    if not model.compiled:
        compiling = compiling or {"run_eagerly": True}
        model.compile(keras.optimizers.AdamW(0.01), "sparse_categorical_crossentropy", **compiling)
        model.optimizer.build(model.trainable_variables)  # so that a step is traced once
    model.fit(x, y, epochs=epochs, batch_size=8, callbacks=list(callbacks), verbose=0)
    return x


def entries_of(model):
    """The largest number of modes in any channel that are not padding, by layer."""
    return {name: int((~layer.system().is_padding).sum(axis=1).max()) for name, layer in dss_layers(model).items()}


def test_ranks_fall_and_the_reduced_model_has_the_same_outputs():
    model = new_model(blocks=2, per_channel_poles=True)
    truncate = TruncateStates([1, 2], energy=0.99)
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(truncate.ranks)))
    x = fit(model, truncate, watch, epochs=4)
    for name, rank in truncate.ranks.items():
        assert 8 > seen[0][name] >= seen[1][name] == rank
    assert all(entries <= truncate.ranks[name] for name, entries in entries_of(model).items())

    small = keras_s4.reduce(model, truncate.ranks)
    assert {name: layer.state_size for name, layer in dss_layers(small).items()} == truncate.ranks
    np.testing.assert_allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)


def test_what_is_cut_off_stays_so_in_a_training_that_was_compiled_before():
    model = new_model(per_channel_poles=True)
    fit(model, epochs=1, jit_compile=True)
    truncate = TruncateStates([1], energy=0.9)
    fit(model, truncate, epochs=2)
    ranks = truncate.ranks
    fit(model, epochs=1)
    assert all(entries <= ranks[name] < 8 for name, entries in entries_of(model).items())
    again = TruncateStates([5], energy=0.9)
    fit(model, again, epochs=1)
    assert again.ranks == ranks


def test_truncation_keeps_what_it_promises():
    """Outputs of the untrained layers before and after, in the energy norm: nothing moves in between."""
    for arguments in ({"energy": 0.99}, {"tolerance": 0.2}):
        model = new_model(per_channel_poles=True)
        before = {name: layer.system() for name, layer in dss_layers(model).items()}
        truncate = TruncateStates([1], **arguments)
        truncate.set_model(model)
        truncate.on_train_begin()
        truncate.truncate()
        for name, layer in dss_layers(model).items():
            part = keras_s4.compression.StatesPart(name, before[name])
            rank = truncate.ranks[name]
            if "energy" in arguments:
                assert part.energy(rank) >= 0.99 > part.energy(rank - 1)
            else:
                assert rank == 8 or part.error_bound(rank) <= 0.2 < part.error_bound(rank - 1)
            expected = part.truncate(rank).system.impulse_response(30)
            actual = layer.system().impulse_response(30)
            np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_models_with_shared_poles_are_refused_and_can_be_prepared():
    model = new_model()
    with pytest.raises(ValueError, match="cannot truncate block_1/dss, whose channels share their poles"):
        fit(model, TruncateStates([1], energy=0.9), epochs=1)
    own = with_own_poles(model)
    x = np.random.default_rng(0).normal(size=(4, 30, 2)).astype("float32")
    np.testing.assert_allclose(own(x), model(x), atol=1e-5)
    assert all(layer.per_channel_poles for layer in dss_layers(own).values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": []}, r"epochs=\[\]; expected whole numbers of at least 1"),
        ({"epochs": [0, 2]}, r"epochs=\[0, 2\]"),
        ({"energy": None}, "energy=None, tolerance=None; give exactly one"),
        ({"tolerance": 0.1}, "energy=0.9, tolerance=0.1; give exactly one"),
        ({"energy": 1.0}, "energy=1.0; expected a number above 0 and below 1"),
        ({"energy": None, "tolerance": -1.0}, "tolerance=-1.0; expected a positive number"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        TruncateStates(**{"epochs": [1], "energy": 0.9, **arguments})


def test_models_without_states_are_refused():
    model = keras.Sequential([keras.Input((30, 2)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="found no DSS or DiagonalSSM layer"):
        fit(model, TruncateStates([1], energy=0.9), epochs=1)


def test_everything_works_on_jax(request):
    backends.backend_process(request.config, "jax").evaluate(check_on_jax)


def test_a_growing_weight_is_no_reason_to_compile_again_on_jax(request):
    backends.backend_process(request.config, "jax").evaluate(check_compiled_once)


def check_compiled_once():
    """In the process with JAX; nothing moves, so that the loss is the error and the weight times the nuclear norm."""
    traced = []

    class Watched(NuclearNorm):
        def __call__(self, kernel):
            traced.append(None)
            return super().__call__(kernel)

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, kernel_regularizer=Watched(1.0))])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mse"], jit_compile=True)
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: counts.append(len(traced)))
    counts, data = [], (np.ones((8, 3)), np.ones((8, 4)))
    growing = GrowingWeight(0.0, 2.0, epochs=3, after=1)
    history = model.fit(*data, epochs=5, callbacks=[growing, watch], validation_data=data, verbose=0).history
    norm = np.linalg.svd(model.layers[0].kernel, compute_uv=False).sum()
    for kind in ("", "val_"):
        added = np.subtract(history[f"{kind}loss"], history[f"{kind}mse"])
        np.testing.assert_allclose(added, np.array([0.0, 0.0, 1.0, 2.0, 2.0]) * norm, rtol=1e-4, atol=1e-5)
    assert len(set(counts)) == 1, counts


def check_on_jax():
    """In the process with JAX."""
    assert keras.backend.backend() == "jax"
    dss = {"per_channel_poles": True, "state_regularizer": HankelNorm(0.0)}
    model = models.classifier((20, 2), 2, channels=3, states=4, blocks=1, dss=dss)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    truncate = TruncateStates([1], energy=0.9)
    callbacks = [GrowingWeight(0.0, 100.0, epochs=3), HardLowRank({"block_1/value/kernel": 2}), truncate]
    x, y = np.random.default_rng(0).normal(size=(8, 20, 2)), np.arange(8) % 2
    losses = model.fit(x, y, epochs=3, callbacks=callbacks, verbose=0).history["loss"]
    assert losses[1] > losses[0] + 1 and losses[2] > losses[1] + 1, losses
    assert np.linalg.matrix_rank(model.get_layer("block_1").value.kernel, tol=1e-5) == 2
    (rank,) = truncate.ranks.values()
    assert rank < 4 and np.all(np.asarray(model.get_layer("block_1").dss.residues)[:, rank:] == 0)
    small = keras_s4.reduce(model, truncate.ranks)
    np.testing.assert_allclose(small(x), model(x), atol=1e-5)
