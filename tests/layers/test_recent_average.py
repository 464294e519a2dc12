"""The exponentially weighted average, against its recurrence in double precision, written step by step."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from conformance import LayerConformance, assert_close
from keras import ops

from keras_s4.layers import RecentAverage


def reference(x, steps, mask=None):
    """`[B, L, H]` in float64: the average at every step; the first step that counts is its own mean."""
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    mean, started, rows = np.zeros((len(x), x.shape[2])), np.zeros(len(x), bool), []
    for sample, counts in zip(np.moveaxis(x.astype(np.float64), 1, 0), mask.T, strict=True):
        moved = np.where(started[:, None], mean + (1 - np.exp(-1 / np.asarray(steps))) * (sample - mean), sample)
        mean, started = np.where(counts[:, None], moved, mean), started | counts
        rows.append(mean)
    return np.stack(rows, axis=1)


class TestRecentAverage(LayerConformance):
    layer_class = RecentAverage
    arguments: ClassVar = {"seconds": 0.5, "rate": 10.0, "trainable_time": True, "return_sequences": True}
    unusual_arguments: ClassVar = {
        "seconds": [0.1, 0.2, 0.3, 2.0],
        "rate": 20.0,
        "trainable_time": False,
        "per_channel": True,
        "return_sequences": False,
    }
    learning_rate = 0.1

    @pytest.mark.parametrize("arguments", [{}, {"per_channel": True}, {"trainable_time": False}])
    @pytest.mark.parametrize("masked", [False, True])
    def test_the_recurrence(self, inputs, padded, masked, arguments):
        mask = padded[1] if masked else None
        expected = reference(inputs, 5.0, mask)
        layer = self.new_layer(**arguments)
        assert_close(layer(inputs, mask=mask), expected, 1e-6)
        assert_close(self.new_layer(return_sequences=False)(inputs, mask=mask), expected[:, -1], 1e-6)
        np.testing.assert_allclose(layer.time_constants(), 5.0, rtol=1e-6)

    def test_one_weight_or_one_a_channel(self):
        shapes = {}
        for per_channel in (False, True):
            layer = self.new_layer(per_channel=per_channel)
            layer.build(self.input_shape)
            shapes[per_channel] = [weight.shape for weight in layer.weights]
        assert shapes == {False: [()], True: [(4,)]}


@pytest.mark.parametrize("steps", [0.3, 50.0, [1.0, 700.0, 3000.0]])
@pytest.mark.parametrize("known", [False, True])
def test_thousands_of_steps_with_gaps(steps, known):
    """Also where the length is open while the graph is built."""
    random = np.random.default_rng(0)
    x = (5.0 + random.normal(size=(3, 5000, 3))).astype("float32")
    mask = random.random((3, 5000)) > 0.3
    mask[1, :7], mask[2, 3000:] = False, False
    x[~mask] = np.nan
    inputs = keras.Input((5000 if known else None, 3))
    masks = keras.Input((5000 if known else None,), dtype="bool")
    layers = [RecentAverage(steps, per_channel=isinstance(steps, list), return_sequences=each) for each in (1, 0)]
    model = keras.Model([inputs, masks], [layer(inputs, mask=masks) for layer in layers])
    expected = reference(np.nan_to_num(x), steps, mask)
    every_step, last = model.predict([x, mask], verbose=0)
    assert_close(every_step, expected, 3e-6)
    assert_close(last, expected[:, -1], 3e-6)


def test_a_constant_is_its_own_mean_from_the_first_step_on():
    x = np.full((1, 1000, 2), [[3.0, -7.0]], "float32")
    np.testing.assert_allclose(RecentAverage(30.0, return_sequences=True)(x), x, rtol=1e-6)


def test_before_the_first_step_that_counts_it_is_zero():
    mask = ops.convert_to_tensor([[False, False, True, False]])
    outputs = RecentAverage(3.0, return_sequences=True)(np.full((1, 4, 1), 5.0, "float32"), mask=mask)
    np.testing.assert_allclose(outputs[0, :, 0], [0.0, 0.0, 5.0, 5.0])
    assert not np.any(RecentAverage(3.0)(np.ones((1, 4, 1), "float32"), mask=ops.zeros((1, 4), "bool")))


def test_training_finds_time_constants():
    x = np.random.default_rng(0).normal(size=(16, 200, 2)).astype("float32")
    wanted = np.array([3.0, 40.0])
    model = keras.Sequential([keras.Input((200, 2)), RecentAverage(10.0, 1.0, True, True, True)])
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=True)
    model.fit(x, reference(x, wanted), batch_size=16, epochs=150, verbose=0)
    np.testing.assert_allclose(model.layers[0].time_constants(), wanted, rtol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": 0.0}, "'mean' got seconds=0.0; expected a number above 0"),
        ({"seconds": True}, "got seconds=True; expected a number above 0"),
        ({"seconds": [1.0, 2.0]}, r"got seconds=\[1.0, 2.0\]; expected one number, or per_channel=True"),
        ({"seconds": [1.0, -2.0], "per_channel": True}, "got seconds=-2.0; expected a number above 0"),
        ({"seconds": 1.0, "rate": float("inf")}, "got rate=inf; expected a number above 0"),
        ({"seconds": 1.0, "per_channel": "no"}, "got per_channel='no'; expected True or False"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecentAverage(**arguments, name="mean")


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 4), (3, 5, None), (3, 5, 4, 2)])
def test_refused_shapes(shape):
    with pytest.raises(ValueError, match=r"'mean' got input of shape .*; expected \[B, L, H\]"):
        RecentAverage(1.0, name="mean").build(shape)


def test_as_many_time_constants_as_channels():
    with pytest.raises(ValueError, match=r"got 2 time constants and input of shape .*; expected one for each of the 3"):
        RecentAverage([1.0, 2.0], per_channel=True).build((None, 5, 3))


def test_a_trained_time_constant_is_read_whole_in_mixed_precision():
    """Rounded to half precision, its logarithm would make it 0.07% longer, and the output 0.3% larger."""
    layer = RecentAverage(1237.0, trainable_time=True, dtype="mixed_float16")
    sequence = np.zeros((1, 6000, 1), np.float32)
    sequence[:, 0] = 1.0
    output = np.asarray(layer(sequence), np.float64)
    np.testing.assert_allclose(output, np.exp(-5999 / 1237.0), rtol=1e-3)
