"""Ready-made models with a strided convolution in front, and with units of inputs and outputs."""

import keras
import numpy as np
import pytest
from small_models import FEATURES, STEPS, slow_or_fast, small

from keras_s4 import training
from keras_s4.datasets import Recordings
from keras_s4.models import classifier, forecaster, regressor, sequence_to_sequence
from keras_s4.streaming import StreamingModel

FRONTS = {"causal": (6, 4), "valid": {"kernel": 6, "stride": 4, "channels": 5, "padding": "valid", "activation": None}}


@pytest.mark.parametrize(
    ("maker", "arguments", "front"),
    [(classifier, {}, "causal"), (sequence_to_sequence, {}, "valid"), (forecaster, {"every_step": True}, "causal")],
)
def test_models_with_a_front_run_at_every_fourth_sample_and_stream(maker, arguments, front):
    front = FRONTS[front]
    model = small(maker, 2, input_shape=(STEPS, FEATURES), front=front, **arguments)
    inputs, _ = slow_or_fast(count=2)
    expected = np.asarray(model(inputs))
    steps = STEPS // 4 if isinstance(front, tuple) else (STEPS - 6) // 4 + 1
    assert model.get_layer("block_1").output.shape[1] == steps
    stream = StreamingModel(model)
    assert stream.period == 4
    streamed = stream.predict(inputs, verbose=0)
    at_every_step = maker is sequence_to_sequence or "every_step" in arguments
    np.testing.assert_allclose(
        streamed[:, stream.phase :: 4] if at_every_step else streamed[:, -1], expected, rtol=0, atol=2e-5
    )


def test_padding_behind_a_front_changes_nothing():
    model = small(classifier, 2, mask_value=-7.0, front=(6, 4))
    sequences = [signal[:length] for signal, length in zip(slow_or_fast(count=3)[0], (STEPS, 16, 4), strict=True)]
    padded = keras.utils.pad_sequences(sequences, STEPS + 8, "float32", padding="post", value=-7.0)
    for sequence, output in zip(sequences, np.asarray(model(padded)), strict=True):
        np.testing.assert_allclose(output, model(sequence[None])[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ((2, 4), "2 of 4 samples would never be read"),
        ((0, 4), "kernel=0"),
        (8, "front=8; expected"),
        ({"kernel": 8}, "expected .kernel, stride."),
        ({"kernel": 8, "stride": 4, "padding": "same"}, "padding='same'"),
    ],
)
def test_refused_fronts(front, message):
    with pytest.raises(ValueError, match=message):
        classifier((STEPS, FEATURES), 2, front=front)


def test_tokens_have_neither_front_nor_units():
    for arguments in ({"front": (4, 2)}, {"normalization": True}):
        with pytest.raises(ValueError, match="front or normalization, which are for samples"):
            classifier((STEPS,), 2, vocabulary=5, **arguments)


def in_raw_units(count=128):
    """`slow_or_fast` of a barometer, of an accelerometer, and of something that stays as it is."""
    signals, labels = slow_or_fast(count)
    return (signals * [30.0, 0.4, 0.0] + [1e5, 0.0, 7.0]).astype("float32"), labels


def test_a_classifier_learns_from_raw_units():
    keras.utils.set_random_seed(0)
    x, y = in_raw_units()
    model = classifier((STEPS, FEATURES), 2, channels=8, states=4, blocks=1, normalization=x, dropout=0.0)
    training.compile_classifier(model, 80, jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces the step twice
    history = model.fit(x, y, batch_size=16, epochs=10, verbose=0).history
    assert history["accuracy"][-1] > 0.9


def test_masked_steps_do_not_count_in_units():
    x, _ = in_raw_units(8)
    x[:, 20:] = -1.0
    model = classifier((STEPS, FEATURES), 2, channels=4, states=2, normalization=True, mask_value=-1.0)
    training.normalize_to(model, x, mask_value=-1.0)
    np.testing.assert_allclose(model.get_layer("normalization").mean, x[:, :20].mean(axis=(0, 1)), rtol=1e-4, atol=1e-3)
    at_once = classifier((STEPS, FEATURES), 2, channels=4, states=2, normalization=x, mask_value=-1.0)
    np.testing.assert_array_equal(at_once.get_layer("normalization").mean, model.get_layer("normalization").mean)


@pytest.mark.parametrize("quantities", [1, 2])
def test_targets_of_masked_steps_do_not_count_in_units(quantities):
    """Behind its 20 real steps each window has targets of 1000."""
    x, _ = in_raw_units(8)
    x[:, 20:] = -1.0
    targets = np.random.default_rng(0).normal(size=(8, STEPS, quantities)) * 20 + 300
    targets[:, 20:] = 1000.0
    real = targets[:, :20].reshape(-1, quantities)
    arguments = {"channels": 4, "states": 2, "blocks": 1, "normalization": True, "mask_value": -1.0}
    model = sequence_to_sequence((STEPS, FEATURES), quantities, quantities=True, **arguments)
    units = model.get_layer("output_units")
    several = Recordings(list(x), list(targets), np.arange(8))
    shapes = [(x, targets), (x, real), (several, None)] + ([(x, targets[..., 0])] if quantities == 1 else [])
    for data, given in shapes:
        units.deviation.assign(np.ones(quantities))
        training.normalize_to(model, data, given, mask_value=-1.0)
        np.testing.assert_allclose(units.mean, real.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(units.deviation, real.std(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="expected targets of as many steps"):
        training.normalize_to(model, x, targets[:, ::2], mask_value=-1.0)
    # Quantities of windows and forecasts have no padded steps, even where there are as many as steps.
    ahead = forecaster((STEPS, FEATURES), STEPS, quantities, **arguments)
    training.normalize_to(ahead, x, targets, mask_value=-1.0)
    np.testing.assert_allclose(ahead.get_layer("output_units").mean, targets.mean(axis=(0, 1)), rtol=1e-5)


def test_quantities_and_forecasts_have_units():
    x, _ = in_raw_units(16)
    targets = np.random.default_rng(0).normal(size=(16, 2)) * 20 + 300
    model = regressor((STEPS, FEATURES), 2, channels=4, states=2, blocks=1, normalization=True)
    with pytest.raises(ValueError, match="no targets"):
        training.normalize_to(model, x)
    training.normalize_to(model, x, targets)
    assert np.abs(np.asarray(model(x)).mean(axis=0) - 300).max() < 100
    recordings = Recordings(list(x), targets, np.arange(16))
    np.testing.assert_array_equal(
        training.normalize_to(model, recordings).get_layer("output_units").mean, targets.mean(0).astype("float32")
    )
    assert training.compile_regressor(model, 10).loss.units == pytest.approx(targets.std(axis=0).tolist(), rel=1e-5)
    model = forecaster((STEPS, FEATURES), 2, channels=4, states=2, blocks=1, normalization=True)
    with pytest.warns(UserWarning, match="all have one scale on a device"):
        training.normalize_to(model, recordings)
    assert np.abs(np.asarray(model(x))[..., 0] - 1e5).max() < 500


def test_models_that_nobody_normalised_are_told_of():
    model = classifier((STEPS, FEATURES), 2, channels=4, states=2, blocks=1, normalization=True)
    with pytest.warns(UserWarning, match="was not adapted"):
        training.compile_classifier(model, 10)
    with pytest.raises(ValueError, match="make it with normalization=True"):
        training.normalize_to(classifier((STEPS, FEATURES), 2), np.zeros((3, STEPS, FEATURES)))
    with pytest.raises(ValueError, match="normalization='yes'"):
        classifier((STEPS, FEATURES), 2, normalization="yes")
