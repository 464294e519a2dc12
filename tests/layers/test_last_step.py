"""The last step of a sequence, and of a padded one."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from conformance import LayerConformance

from keras_s4.layers import LastStep


class TestLastStep(LayerConformance):
    layer_class = LastStep
    arguments: ClassVar = {}
    unusual_arguments: ClassVar = {}
    keeps_time = False
    trainable = False

    def test_it_is_the_last_step(self, inputs, expected):
        np.testing.assert_array_equal(expected, inputs[:, -1])

    def test_padded_sequences(self, inputs):
        mask = np.arange(20) < np.array([[5], [20], [1]])
        outputs = LastStep()(inputs, mask=keras.ops.convert_to_tensor(mask))
        np.testing.assert_array_equal(outputs, [inputs[0, 4], inputs[1, 19], inputs[2, 0]])

    def test_masks_with_gaps_and_masks_of_everything(self, inputs):
        mask = np.zeros((3, 20), bool)
        mask[0, [2, 7]] = True
        outputs = LastStep()(inputs, mask=keras.ops.convert_to_tensor(mask))
        np.testing.assert_array_equal(outputs, [inputs[0, 7], inputs[1, 0], inputs[2, 0]])

    def test_further_axes(self):
        inputs = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32")
        mask = np.arange(5) < np.array([[2], [4]])
        outputs = LastStep()(inputs, mask=keras.ops.convert_to_tensor(mask))
        np.testing.assert_array_equal(outputs, [inputs[0, 1], inputs[1, 3]])
        assert LastStep().compute_output_shape((None, None, 3, 4)) == (None, 3, 4)

    def test_a_mask_comes_from_the_embedding_and_ends_here(self):
        tokens = np.array([[1, 2, 0, 0], [3, 1, 2, 0]])
        embedding = keras.layers.Embedding(4, 2, mask_zero=True)
        model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding, LastStep()])
        rows = np.asarray(embedding.embeddings)
        np.testing.assert_array_equal(model.predict(tokens, verbose=0), rows[[2, 2]])
        assert LastStep().compute_mask(None, True) is None

    @pytest.mark.parametrize("shape", [(3, 4), (3, 0, 4)])
    def test_refused_shapes(self, shape):
        with pytest.raises(ValueError, match=r"'last'.*expected \[B, L, H\] with at least 1 step"):
            LastStep(name="last").build(shape)
