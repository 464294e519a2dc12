import keras
import numpy as np
import pytest

from keras_s4.testing.architectures import Architect, random_model
from keras_s4.testing.comparison import UNLIKE, compare_readers, kinds_of
from keras_s4.testing.slow_layers import slow_layer
from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.runtimes import TflmRunner


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_emulator_and_tflm_agree_on_random_models_that_are_near_keras(seed):
    """The long run is `scripts/soak/export.py`."""
    compared = compare_readers(*random_model(seed))
    assert compared.agree
    assert min(compared.ratios) > UNLIKE


def test_same_seed_gives_the_same_model():
    keras.backend.clear_session()
    first, data, format = random_model(5)
    keras.backend.clear_session()  # or the layers had other names
    second, same_data, same_format = random_model(5)
    assert format == same_format
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(data[0], same_data[0])
    assert [type(layer) for layer in first.layers] == [type(layer) for layer in second.layers]


def test_formats_fit_the_model():
    """Of a model that drops every other step, in windows of 12."""
    stack = [keras.Input((12, 2)), keras.layers.MaxPooling1D(2), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential(stack)
    architect = Architect(np.random.default_rng(0), length=12, period=2)
    formats = [architect.format(model) for _ in range(60)]
    assert {format["steps"] for format in formats} == {None, 2, 4, 6, 12}
    assert {format["states"] for format in formats} == {"inputs", "variables"}
    drawn = [format["activations"] for format in formats]
    assert {"int8", "int16"} <= {each for each in drawn if isinstance(each, str)}
    assert {name for each in drawn if isinstance(each, dict) for name in each} == {layer.name for layer in model.layers}


def test_kinds_of_layers_are_found_in_nested_models_and_wrappers():
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    wrapped = keras.layers.TimeDistributed(inner)
    supported = {"Dense", "Model", "TimeDistributed", "GRU"}
    assert kinds_of([wrapped], supported) - {""} == {"Dense", "Model", "TimeDistributed"}


def test_no_state_wraps_on_square_waves_at_its_own_frequency():
    """Calibrated on noise, which shows little of what a slow mode can reach."""
    random = np.random.default_rng(0)
    model = slow_layer(random, fastest=0.3)
    converted = convert(model, random.uniform(-1.0, 1.0, (2, 2_000, 8)))
    angles = np.angle(model.layers[-1].system().poles)
    times = np.arange(3_000)[:, None]
    waves = np.stack([np.where(np.cos(times * angles[:, n]) >= 0.0, 32_767, -32_767) for n in range(angles.shape[1])])
    emulator = Emulator(converted.program, check_overflow=True)
    names = [state.after.name for state in converted.program.states]
    trace = emulator.trace(waves.astype(np.int16), record=names)
    # Not for want of a signal: some state is clamped.
    assert max(peak for name, peak in emulator.peaks.items() if name.endswith("state/after")) == 2**30
    loudest = int(np.abs(trace.tensors[names[0]]).max(axis=(1, 2, 3, 4)).argmax())
    outputs, states = TflmRunner(converted.tflite).run(waves[[loudest]].astype(np.int16), keep_states=True)
    np.testing.assert_array_equal(outputs, trace.outputs[0][[loudest]])
    np.testing.assert_array_equal(states[0], trace.tensors[names[0]][[loudest]])
