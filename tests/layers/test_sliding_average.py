"""The average of the last steps, against sums of hops in double precision, written hop by hop."""

from typing import ClassVar

import backends
import keras
import numpy as np
import pytest
from conformance import LayerConformance, assert_close
from keras import ops

from keras_s4.layers import SlidingAverage
from keras_s4.testing.manners import with_padding


def reference(x, window, hop, mask=None):
    """A list of `[full hops, H]` in float64; hops before the first are as it is."""
    results = []
    for row, sequence in enumerate(x.astype(np.float64)):
        steps = sequence if mask is None else sequence[mask[row]]
        means = [steps[hop * place :][:hop].mean(axis=0) for place in range(len(steps) // hop)]
        rows = [np.mean([means[max(at - k, 0)] for k in range(window // hop)], axis=0) for at in range(len(means))]
        results.append(np.array(rows).reshape(-1, x.shape[2]))
    return results


class TestSlidingAverage(LayerConformance):
    layer_class = SlidingAverage
    arguments: ClassVar = {"window": 6, "hop": 3}
    unusual_arguments: ClassVar = {"window": 8, "hop": 2, "return_sequences": True}
    keeps_time = False
    trainable = False

    @pytest.fixture
    def padded(self, inputs):
        """No sequence is shorter than a hop, which alone is refused."""
        lengths = np.array([20, 11, 4])
        mask = np.arange(20) < lengths[:, None]
        return with_padding(inputs, mask, 10 * self.random_inputs(1)), mask, lengths

    @pytest.mark.parametrize(("window", "hop"), [(6, 3), (10, 10), (20, 5), (40, 4), (3, 1), (17, 17)])
    def test_sums_of_hops(self, inputs, window, hop):
        mask = np.random.default_rng(3).random(inputs.shape[:2]) < 0.8
        mask[0] = True
        for masks in (None, mask):
            expected = reference(inputs, window, hop, masks)
            last = np.asarray(SlidingAverage(window, hop)(inputs, mask=masks))
            each = np.asarray(SlidingAverage(window, hop, return_sequences=True)(inputs, mask=masks))
            assert each.shape == (3, 20 // hop, 4)
            for row, means in enumerate(expected):
                assert_close(each[row, : len(means)], means, 1e-6)
                assert_close(last[row], means[-1] if len(means) else np.zeros(4), 1e-6)

    def test_mask_says_which_hops_are_full(self, inputs):
        mask = ops.convert_to_tensor(np.arange(20) < np.array([[20], [8], [2]]))
        layer = SlidingAverage(6, 3, return_sequences=True)
        np.testing.assert_array_equal(layer.compute_mask(inputs, mask), np.arange(6) < np.array([[6], [2], [0]]))
        assert layer.compute_mask(inputs, None) is None
        assert layer.compute_output_shape((None, 20, 4)) == (None, 6, 4)
        assert layer.compute_output_shape((None, None, 4)) == (None, None, 4)

    def test_gradients_are_the_weights_of_the_steps(self, inputs):
        """Of a window that is longer than the sequence the first hop counts as often as hops are missing."""
        answer = backends.evaluate(self.task(SlidingAverage(12, 3), inputs[:, :9]))
        weights = answer.input_gradient / answer.input_gradient.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(weights[0, :, 0], np.repeat([2, 1, 1], 3) / 12, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 10, "hop": 4}, "'mean' got window=10 and hop=4; expected a window that is a multiple.* such as 8"),
        ({"window": 2, "hop": 4}, "such as 4"),
        ({"window": 0, "hop": 4}, "got window=0; expected a whole number of steps"),
        ({"window": 4, "hop": 2.0}, "got hop=2.0; expected a whole number of steps"),
        ({"window": 4, "hop": 2, "return_sequences": "no"}, "got return_sequences='no'"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SlidingAverage(**arguments, name="mean")


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 4), (3, 9, None)])
def test_refused_shapes(shape):
    with pytest.raises(ValueError, match=r"'mean' got input of shape .*; expected \[B, L, H\].* at least 5 steps"):
        SlidingAverage(10, 5, name="mean").build(shape)


def test_it_averages_over_time_whatever_keras_takes_for_images():
    layer = SlidingAverage(6, 3, return_sequences=True)
    inputs = np.random.default_rng(0).normal(size=(2, 12, 4)).astype(np.float32)
    expected = np.asarray(layer(inputs))
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        np.testing.assert_array_equal(SlidingAverage(6, 3, return_sequences=True)(inputs), expected)
    finally:
        keras.config.set_image_data_format(before)
