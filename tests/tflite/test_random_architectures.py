import numpy as np
import pytest
from random_architectures import random_model
from soak_export import agrees, slow_layer

from keras_s4.tflite import convert
from keras_s4.tflite.emulator import Emulator


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_emulator_and_tflm_agree_on_random_models(seed):
    """The long run is `scripts/soak_export.py`."""
    assert agrees(*random_model(seed))


def test_same_seed_gives_the_same_model():
    (first, data), (second, same_data) = random_model(5), random_model(5)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(data[0], same_data[0])
    assert [type(layer) for layer in first.layers] == [type(layer) for layer in second.layers]


def test_no_state_wraps_on_square_waves_at_its_own_frequency():
    """Calibrated on noise, which shows little of what a slow mode can reach."""
    random = np.random.default_rng(0)
    model = slow_layer(random, fastest=0.3)
    converted = convert(model, random.uniform(-1.0, 1.0, (2, 2_000, 8)))
    angles = np.angle(model.layers[-1].system().poles)
    times = np.arange(6_000)[:, None]
    waves = np.stack([np.where(np.cos(times * angles[:, n]) >= 0.0, 32_767, -32_767) for n in range(angles.shape[1])])
    emulator = Emulator(converted.program, check_overflow=True)
    emulator.trace(waves.astype(np.int16))
    # Not for want of a signal: some state comes near.
    assert 2**29 < max(peak for name, peak in emulator.peaks.items() if name.endswith("state/after")) < 2**31
