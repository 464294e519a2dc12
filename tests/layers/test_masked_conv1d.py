"""A convolution that heeds masks: against Keras' own on the real steps alone."""

import keras
import numpy as np
import pytest

from keras_s4.layers import MaskedConv1D


@pytest.mark.parametrize("padding", ["causal", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (5, 5)])
def test_outputs_that_count_are_those_of_the_real_steps(padding, kernel, stride):
    random = np.random.default_rng(0)
    layer = MaskedConv1D(3, kernel, stride, padding)
    x = random.normal(size=(3, 20, 2)).astype(np.float32)
    lengths = (20, 11, 7)
    mask = np.arange(20) < np.array(lengths)[:, None]
    x[~mask] = np.nan
    found = np.asarray(layer(x, mask=mask))
    real = np.asarray(layer.compute_mask(x, mask))
    plain = keras.layers.Conv1D(3, kernel, stride, padding)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    for row, counts, sequence, length in zip(found, real, x, lengths, strict=True):
        alone = np.asarray(plain(sequence[None, :length]))[0]
        np.testing.assert_allclose(row[: len(alone)], alone, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(counts, np.arange(len(row)) < len(alone))


def test_without_a_mask_it_is_keras_own():
    layer = MaskedConv1D(3, 4, 2, "causal", activation="relu")
    x = np.random.default_rng(0).normal(size=(2, 9, 2)).astype(np.float32)
    layer.build(x.shape)
    plain = keras.layers.Conv1D.from_config(layer.get_config())
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(x), plain(x))
    assert layer.compute_mask(x, None) is None


@pytest.mark.parametrize("arguments", [{"padding": "same"}, {"data_format": "channels_first"}])
def test_refused_arguments(arguments):
    with pytest.raises(ValueError, match="expected 'causal' or 'valid', and 'channels_last'"):
        MaskedConv1D(3, 4, **arguments)
