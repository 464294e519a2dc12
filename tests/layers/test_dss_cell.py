"""The DSS layer as a recurrent cell, against the layer itself."""

import keras
import numpy as np
import pytest

from keras_s4.layers import DSS, DSSCell

CHANNELS, STATES = 4, 5


def built(**arguments):
    layer = DSS(STATES, **arguments)
    layer.build((None, None, CHANNELS))
    return layer


def signal(length=30):
    return np.random.default_rng(0).normal(size=(2, length, CHANNELS)).astype("float32")


@pytest.mark.parametrize("arguments", [{}, {"per_channel_poles": True, "kernel": "clip", "discretization": "bilinear"}])
def test_a_recurrent_layer_equals_the_convolution(arguments):
    layer = built(**arguments)
    recurrent = keras.layers.RNN(DSSCell(layer), return_sequences=True, return_state=True)
    outputs, state = recurrent(signal())
    expected = np.asarray(layer(signal()))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    _, last = layer.chunk(signal(), layer.initial_state(2))
    np.testing.assert_allclose(np.reshape(state, last.shape), last, rtol=0, atol=1e-5 * np.abs(last).max())


def test_the_cell_shares_the_weights_of_the_layer():
    layer = built()
    recurrent = keras.layers.RNN(DSSCell(layer))
    recurrent.build((None, None, CHANNELS))
    assert [id(weight) for weight in recurrent.weights] == [id(weight) for weight in layer.weights]


def test_a_stack_of_cells_in_a_model_of_its_own(tmp_path):
    cells = [DSSCell(DSS(STATES), channels=CHANNELS), keras.layers.GRUCell(3)]
    model = keras.Sequential([keras.Input((None, CHANNELS)), keras.layers.RNN(cells)])
    model.compile("adam", "mse", run_eagerly=True)
    model.fit(signal(), np.zeros((2, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(signal()), model(signal()))


def test_unbuilt_layers_are_built_for_the_given_channels():
    cell = DSSCell(DSS(STATES), channels=CHANNELS)
    outputs, states = cell(signal()[:, 0], cell.get_initial_state(2))
    assert outputs.shape == (2, CHANNELS)
    assert states[0].shape == (2, CHANNELS * STATES * 2)


def test_states_stay_in_single_precision():
    cell = DSSCell(built(dtype="mixed_float16"))
    assert keras.backend.standardize_dtype(cell.get_initial_state(1)[0].dtype) == "float32"
    recurrent = keras.layers.RNN(cell, return_sequences=True)
    expected = np.asarray(cell.layer(signal()), "float32")
    np.testing.assert_allclose(recurrent(signal()), expected, rtol=0, atol=2e-3 * np.abs(expected).max())


def test_config_round_trip():
    cell = DSSCell(DSS(STATES, kernel="clip"), channels=CHANNELS, name="memory")
    config = cell.get_config()
    copy = DSSCell.from_config(config)
    assert copy.get_config() == config == cell.get_config()
    assert copy.layer.get_config() == cell.layer.get_config()


class TestRefusals:
    def test_another_layer(self):
        with pytest.raises(ValueError, match=r"expected a DSS layer, as in DSSCell\(DSS\(32\), channels=6\)"):
            DSSCell(keras.layers.Dense(3))

    def test_a_bidirectional_layer(self):
        with pytest.raises(ValueError, match=r"bidirectional.*cannot run as a cell"):
            DSSCell(DSS(2, bidirectional=True), channels=3)

    def test_unknown_channels(self):
        with pytest.raises(ValueError, match="not built; say channels=H"):
            DSSCell(DSS(2))

    def test_other_channels(self):
        with pytest.raises(ValueError, match=r"got channels=3, but the DSS layer .* has 4 channels"):
            DSSCell(built(), channels=3)
        with pytest.raises(ValueError, match=r"got inputs of shape \(2, 3\); expected 4 channels"):
            DSSCell(built()).build((2, 3))
