"""Radio: I/Q samples of seven linear modulations, synthesised, behind what a channel and a receiver do to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.checks import is_real, quote, whole_number
from keras_s4.datasets.sensor import Sensor
from keras_s4.datasets.task import Task
from keras_s4.recordings import Recordings, Splits

# Signal to noise, dB, in the whole sampled band.
NOISE_LEVELS = (0.0, 10.0, 20.0, 30.0, 40.0)
SAMPLES_PER_SYMBOL = 4
# Ranges that examples are drawn from, uniformly: of the pulse; of the carrier, in cycles a symbol.
ROLL_OFFS = (0.2, 0.5)
LARGEST_FREQUENCY_OFFSET = 0.01
# Symbols to either side at which a pulse is cut off; what is cut off has less than a thousandth of its energy.
SPAN = 10
# Parts of the examples of each modulation and noise level, in their order: for training, validation, and the test.
SHARES = (0.8, 0.9)
AT_ONCE = 64


def _ring(points: int) -> np.ndarray:
    return np.exp(2j * np.pi * np.arange(points) / points)


def _grid(columns: int, rows: int, without: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """Points at odd whole numbers, of mean power 1."""
    real, imaginary = (np.arange(1 - count, count, 2) for count in (columns, rows))
    points = (real[:, None] + 1j * imaginary).ravel()
    if without is not None:
        points = points[~without(points)]
    return points / np.sqrt(np.mean(np.abs(points) ** 2))


# The points of each modulation in the plane, of mean power 1. 32QAM is a cross: a square of 36 without its corners.
CONSTELLATIONS = {
    "BPSK": _ring(2),
    "QPSK": _ring(4) * np.exp(0.25j * np.pi),
    "8PSK": _ring(8),
    "8QAM": _grid(4, 2),
    "16QAM": _grid(4, 4),
    "32QAM": _grid(6, 6, without=lambda points: (abs(points.real) == 5) & (abs(points.imag) == 5)),
    "64QAM": _grid(8, 8),
}
MODULATIONS = tuple(CONSTELLATIONS)


def modulations(
    count: int = 300, length: int = 256, noise_levels: Sequence[float] = NOISE_LEVELS, seed: int = 0
) -> Splits:
    """I/Q samples of seven linear modulations, all synthetic: figures on them say nothing of signals from the air.

    An example is a stretch of a stream of random symbols, four samples a symbol, shaped by a root-raised-cosine pulse
    (roll-off 0.2 to 0.5), at a random time within a symbol, turned by a random phase and by a frequency offset of up to
    1% of the symbol rate, in white Gaussian noise, and brought to a mean power of 1. The modulations are those of
    AugMod, which is not to be had everywhere; lengths, ranges and levels are our own.

    Deterministic: the same arguments give the same samples, with one version of NumPy.

    Args:
        count: examples of each modulation at each noise level, at least 10; the first 80% are for training, the next
            10% for validation, the last 10% for the test.
        length: L, samples of an example.
        noise_levels: signal to noise in dB, of the power of an example's samples before and without the noise.
        seed: of all that is random; another one gives other examples.

    Returns:
        Recordings for training, validation and test: signals float32 `[L, 2]`, I and Q; labels the indices of
        `MODULATIONS`; subjects the noise levels.

    Raises:
        ValueError: an argument out of range.

    Source: Courtat and du Mas des Bourboux 2020 (arXiv 2003.12260).
    """
    count, length, noise_levels, seed = _checked(count, length, noise_levels, seed)
    edges = [0, *(round(share * count) for share in SHARES), count]
    parts: tuple[list, list, list] = ([], [], [])
    for label, name in enumerate(MODULATIONS):
        for number, level in enumerate(noise_levels):
            random = np.random.default_rng([seed, label, number])
            examples = np.concatenate(
                [_draw(name, min(AT_ONCE, count - done), length, level, random) for done in range(0, count, AT_ONCE)]
            )
            for part, start, end in zip(parts, edges, edges[1:], strict=False):
                part.append((examples[start:end], label, level))
    return Splits(*map(_as_recordings, parts))


def modulations_task(
    count: int = 300, length: int = 256, noise_levels: Sequence[float] = NOISE_LEVELS, seed: int = 0
) -> Task:
    """The modulations as a task; the arguments are those of `modulations`."""
    count, length, noise_levels, seed = _checked(count, length, noise_levels, seed)
    return Task(
        name="modulations",
        title="Seven radio modulations told apart, synthetic",
        purpose=f"to recognise which of seven linear modulations a radio signal has, from {length} of its I/Q samples",
        read=lambda: modulations(count, length, noise_levels, seed),
        length=length,
        hop=length,
        sensors=(Sensor("amplitude", ("I", "Q")),),
        classes=MODULATIONS,
        choices={"examples": count, "samples": length, "noise_levels": list(noise_levels), "draw": seed},
    )


def modulate(
    symbols: np.ndarray,
    length: int,
    timing: np.ndarray,
    roll_off: np.ndarray,
    phase: np.ndarray | float = 0.0,
    frequency: np.ndarray | float = 0.0,
    samples_per_symbol: int = SAMPLES_PER_SYMBOL,
) -> np.ndarray:
    """Samples `[B, L]` of shaped symbols at the symbol rate 1: of symbols of power 1 their mean power is 1.

    Args:
        symbols: `[B, K]`; symbol `SPAN + k` has its peak at time k + `timing`. K is at least
            `symbols_needed(length, samples_per_symbol)`.
        length: L.
        timing: `[B]`, from 0 up to 1.
        roll_off: `[B]`, of the root-raised-cosine pulse, above 0 and at most 1.
        phase: `[B]`, radians, of the carrier at time 0.
        frequency: `[B]`, of the carrier, in cycles a symbol.
        samples_per_symbol: samples in a time of 1.
    """
    first = np.arange(samples_per_symbol) / samples_per_symbol - np.asarray(timing, float)[:, None]
    # Of each sample of the first symbol the symbols whose pulses reach it; of all others they and the pulses repeat.
    reaching = np.floor(first)[..., None].astype(int) + np.arange(1 - SPAN, SPAN + 1)
    pulses = root_raised_cosine(first[..., None] - reaching, np.asarray(roll_off, float)[:, None, None])
    later = np.arange(-(-length // samples_per_symbol))[:, None, None]
    rows = np.arange(len(symbols))[:, None, None, None]
    signal = np.einsum("bmsk,bsk->bms", symbols[rows, reaching[:, None] + SPAN + later], pulses)
    signal = signal.reshape(len(symbols), -1)[:, :length]
    turns = np.multiply.outer(np.asarray(frequency, float), np.arange(length) / samples_per_symbol)
    return signal * np.exp(1j * (np.reshape(phase, (-1, 1)) + 2 * np.pi * turns.reshape(-1, length)))


def symbols_needed(length: int, samples_per_symbol: int = SAMPLES_PER_SYMBOL) -> int:
    """How many symbols `modulate` takes for so many samples."""
    return -(-length // samples_per_symbol) + 2 * SPAN


def root_raised_cosine(time: np.ndarray, roll_off: np.ndarray | float) -> np.ndarray:
    """The pulse of energy 1 whose autocorrelation is zero at all other symbols, at times in symbols.

    Args:
        time: `[...]`.
        roll_off: above 0 and at most 1: by how much the band is wider than that of the narrowest such pulse.
    """
    time, roll_off = np.broadcast_arrays(np.asarray(time, float), roll_off)
    stretched = 4 * roll_off * time
    # The formula is 0/0 at these two times, and inaccurate near them.
    middle, edge = np.abs(time) < 1e-6, np.abs(np.abs(stretched) - 1) < 1e-6
    regular = np.where(middle | edge, 0.3 / roll_off, time)
    numerator = np.sin(np.pi * regular * (1 - roll_off)) + 4 * roll_off * regular * np.cos(
        np.pi * regular * (1 + roll_off)
    )
    pulse = numerator / (np.pi * regular * (1 - (4 * roll_off * regular) ** 2))
    angle = np.pi / (4 * roll_off)
    at_edge = roll_off / np.sqrt(2) * ((1 + 2 / np.pi) * np.sin(angle) + (1 - 2 / np.pi) * np.cos(angle))
    return np.where(middle, 1 - roll_off + 4 * roll_off / np.pi, np.where(edge, at_edge, pulse))


def _draw(name: str, count: int, length: int, noise_level: float, random: np.random.Generator) -> np.ndarray:
    """Examples of a modulation, `[count, L, 2]`."""
    points = CONSTELLATIONS[name]
    clean = modulate(
        points[random.integers(len(points), size=(count, symbols_needed(length)))],
        length,
        timing=random.random(count),
        roll_off=random.uniform(*ROLL_OFFS, count),
        phase=random.uniform(0.0, 2 * np.pi, count),
        frequency=random.uniform(-LARGEST_FREQUENCY_OFFSET, LARGEST_FREQUENCY_OFFSET, count),
    )
    noise = random.normal(scale=np.sqrt(0.5), size=(count, length, 2)) @ [1, 1j]
    power = np.mean(np.abs(clean) ** 2, axis=1, keepdims=True)
    noisy = clean + np.sqrt(power * 10 ** (-noise_level / 10)) * noise
    noisy /= np.sqrt(np.mean(np.abs(noisy) ** 2, axis=1, keepdims=True))
    return np.stack([noisy.real, noisy.imag], axis=-1).astype(np.float32)


def _as_recordings(cells: list[tuple[np.ndarray, int, float]]) -> Recordings:
    signals = np.concatenate([examples for examples, _, _ in cells])
    labels, levels = (np.repeat([cell[i] for cell in cells], [len(cell[0]) for cell in cells]) for i in (1, 2))
    return Recordings(list(signals), labels, levels)


def _checked(
    count: int, length: int, noise_levels: Sequence[float], seed: int
) -> tuple[int, int, tuple[float, ...], int]:
    count = whole_number(count, "modulations got count=", least=10)
    seed = whole_number(seed, "modulations got seed=", least=0)
    length = whole_number(length, "modulations got length=")
    levels = tuple(noise_levels) if isinstance(noise_levels, (Sequence, np.ndarray)) else ()
    if not levels or not all(is_real(level) and np.isfinite(level) for level in levels):
        raise ValueError(f"modulations got noise_levels={quote(noise_levels)}; expected finite numbers of dB.")
    return count, length, tuple(map(float, levels)), seed
