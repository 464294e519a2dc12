"""Radio modulations against what a receiver, a spectrum and the theory of the matched filter say of them."""

import math

import numpy as np
import pytest

from keras_s4.datasets import MODULATIONS, modulations, modulations_task
from keras_s4.datasets.modulations import (
    CONSTELLATIONS,
    NOISE_LEVELS,
    SAMPLES_PER_SYMBOL,
    SPAN,
    modulate,
    root_raised_cosine,
    symbols_needed,
)


def pulse_by_spectrum(roll_off, rate, seconds):
    """The root-raised-cosine pulse from the definition of its spectrum, by an inverse Fourier transform."""
    count = rate * seconds
    frequency = np.abs(np.fft.fftfreq(count, 1 / rate))
    edge = np.clip((frequency - (1 - roll_off) / 2) / roll_off, 0.0, 1.0)
    return np.fft.fftshift(np.fft.ifft(np.cos(0.5 * np.pi * edge)).real) * rate


def draw_symbols(name, count, length, seed=0):
    random = np.random.default_rng(seed)
    return random.choice(CONSTELLATIONS[name], size=(count, symbols_needed(length)))


@pytest.fixture(scope="module")
def received():
    """QPSK of a long stream with known impairments, and its symbols."""
    length = 4 * 3000
    symbols = draw_symbols("QPSK", 1, length)
    signal = modulate(symbols, length, timing=[0.375], roll_off=[0.3], phase=0.7, frequency=0.004)
    return symbols[0], signal[0]


def matched_filter(signal, timing=0.375, roll_off=0.3, phase=0.7, frequency=0.004):
    """What a receiver that knows the impairments has at the peaks of symbols, one a symbol."""
    times = np.arange(len(signal)) / SAMPLES_PER_SYMBOL
    turned = signal * np.exp(-1j * (phase + 2 * np.pi * frequency * times))
    peaks = np.arange(20, len(signal) // SAMPLES_PER_SYMBOL - 20)
    offsets = np.arange(-15 * SAMPLES_PER_SYMBOL, 15 * SAMPLES_PER_SYMBOL)
    index = peaks[:, None] * SAMPLES_PER_SYMBOL + offsets
    pulses = root_raised_cosine(times[index[0]] - (peaks[0] + timing), roll_off)
    return peaks, turned[index] @ pulses / SAMPLES_PER_SYMBOL


@pytest.mark.parametrize("roll_off", [0.2, 0.35, 0.5, 1.0])
def test_the_pulse_has_its_spectrum(roll_off):
    wanted = pulse_by_spectrum(roll_off, rate=16, seconds=256)
    times = (np.arange(len(wanted)) - len(wanted) // 2) / 16
    np.testing.assert_allclose(root_raised_cosine(times, roll_off), wanted, atol=2e-4)


def test_the_pulse_where_its_formula_is_undefined():
    for time, roll_off in ((0.0, 0.3), (0.25 / 0.3, 0.3), (-0.25, 1.0)):
        near = root_raised_cosine(np.array([time - 1e-3, time, time + 1e-3]), roll_off)
        assert near[1] == pytest.approx((near[0] + near[2]) / 2, abs=1e-5)


def test_constellations():
    assert [len(CONSTELLATIONS[name]) for name in MODULATIONS] == [2, 4, 8, 8, 16, 32, 64]
    for points in CONSTELLATIONS.values():
        assert np.mean(np.abs(points) ** 2) == pytest.approx(1.0)
        assert abs(points.mean()) < 1e-12
        assert len(np.unique(points.round(9))) == len(points)


def test_a_matched_filter_finds_the_symbols(received):
    symbols, signal = received
    peaks, found = matched_filter(signal)
    np.testing.assert_allclose(found, symbols[peaks + SPAN], atol=0.02)


def test_the_mean_power_is_that_of_the_symbols(received):
    assert np.mean(np.abs(received[1]) ** 2) == pytest.approx(1.0, rel=0.03)


def test_the_band_is_that_of_the_roll_off(received):
    """Half the power at half the symbol rate; nothing beyond (1 + roll-off) / 2 of it."""
    signal = received[1] * np.exp(-2j * np.pi * 0.004 * np.arange(len(received[1])) / SAMPLES_PER_SYMBOL)
    blocks = signal[: len(signal) // 256 * 256].reshape(-1, 256) * np.hanning(256)
    power = np.mean(np.abs(np.fft.fft(blocks)) ** 2, axis=0)
    frequency = np.abs(np.fft.fftfreq(256, 1 / SAMPLES_PER_SYMBOL))
    passed = power[frequency < 0.3].mean()
    assert power[np.abs(frequency - 0.5) < 0.02].mean() == pytest.approx(passed / 2, rel=0.15)
    assert power[frequency > 0.65 + 0.05].max() < 1e-4 * passed


def test_symbol_errors_are_those_of_theory(received):
    """Of QPSK, behind a matched filter: 2 Q(sqrt(Es / N0)), nearly; a symbol has the energy of all of its samples."""
    symbols, signal = received
    level = 0.0  # dB; 6 dB in a symbol of four samples
    noise = np.random.default_rng(1).normal(scale=np.sqrt(0.5), size=(4, len(signal), 2)) @ [1, 1j]
    noisy = signal + 10 ** (-level / 20) * noise
    wrong = []
    for stream in noisy:
        peaks, found = matched_filter(stream)
        points = CONSTELLATIONS["QPSK"]
        wrong.append(points[np.abs(found[:, None] - points).argmin(axis=1)] != symbols[peaks + SPAN])
    tail = 0.5 * math.erfc(math.sqrt(SAMPLES_PER_SYMBOL * 10 ** (level / 10) / 2))
    expected = 1 - (1 - tail) ** 2
    assert np.mean(wrong) == pytest.approx(expected, rel=4 / math.sqrt(expected * np.size(wrong)))


def test_noise_is_at_its_level():
    """Measured outside of the signal's band, where there is nothing else."""
    for recordings in modulations(count=30, length=256, noise_levels=[0, 20]):
        for level in (0, 20):
            signals = recordings.of_subjects([level]).signals @ np.array([1, 1j])
            frequency = np.abs(np.fft.fftfreq(256, 1 / SAMPLES_PER_SYMBOL))
            power = np.mean(np.abs(np.fft.fft(signals * np.hanning(256))) ** 2, axis=0)
            noise = power[frequency > 0.85].mean()
            ratio = power.mean() / noise - 1.0
            assert 10 * np.log10(ratio) == pytest.approx(level, abs=1.0)


def test_examples_are_known_by_class_and_level_and_have_unit_power():
    splits = modulations(count=20, length=64)
    assert [len(part) for part in splits] == [7 * 5 * 16, 7 * 5 * 2, 7 * 5 * 2]
    for part in splits:
        assert {signal.shape for signal in part.signals} == {(64, 2)} and part.signals[0].dtype == np.float32
        np.testing.assert_allclose([np.mean(np.sum(x**2, axis=1)) for x in part.signals], 1.0, rtol=1e-5)
        cells = list(zip(part.labels.tolist(), part.subjects.tolist(), strict=True))
        assert {cells.count((label, level)) for label in range(7) for level in NOISE_LEVELS} == {len(part) // 35}


def test_equal_arguments_give_equal_examples_and_another_seed_others():
    one, again, other = (modulations(count=10, length=32, noise_levels=[10], seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.train.signals, again.train.signals)
    assert not np.isin(np.ravel(one.train.signals), np.ravel(other.train.signals)).any()
    everything = np.concatenate([part.signals for part in one])
    assert len(np.unique(everything.reshape(len(everything), -1), axis=0)) == 70


def test_the_task():
    task = modulations_task(count=10, length=48, noise_levels=[30], seed=2)
    x, y = task.windows("train")
    assert x.shape == (56, 48, 2) and sorted(set(y)) == list(range(7))
    assert task.choices == {"examples": 10, "samples": 48, "noise_levels": [30.0], "draw": 2}
    assert task.features == ("amplitude I", "amplitude Q")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 9}, "count=9; expected a whole number of at least 10"),
        ({"length": 0}, "length=0; expected a whole number of at least 1"),
        ({"noise_levels": []}, r"noise_levels=\[\]; expected finite numbers of dB"),
        ({"noise_levels": 10}, "noise_levels=10; expected finite"),
        ({"noise_levels": [float("nan")]}, r"noise_levels=\[nan\]; expected finite"),
        ({"seed": -1}, "seed=-1; expected a whole number of at least 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        modulations_task(**arguments)
