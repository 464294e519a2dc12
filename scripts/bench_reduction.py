"""Measure balanced truncation: stability, error bounds, accuracy of the spectrum, speed.

Without `--rerun` the committed results are shown and judged. A run over takes some eight minutes on one core.
"""

import time
from pathlib import Path
from typing import Annotated

import mpmath
import numpy as np
import typer
from measuring import RESULTS, Figure, conclude, read_result, record_of
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from keras_s4.reduction import Reduction, balanced_truncation, hankel_singular_values
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.systems import DiagonalSystem

RESULT = RESULTS / "reduction.json"
LARGEST = 64
# Relative to the largest Hankel singular value. A pole that comes out of a dense matrix is off by a few units of 2e-16;
# beside a gap of 1e-4 to the unit circle that is some 1e-12 of the response, and there are up to 128 poles.
ROUNDING = 1e-10
KINDS = ("plain", "repeated", "conjugate repeated", "nearly repeated", "real", "clustered")


def random_systems(rng: np.random.Generator, channels: int, state_size: int) -> DiagonalSystem:
    """Return random stable systems of radius up to 0.9999, the kinds of poles in turn."""
    shape, half = (channels, state_size), state_size // 2
    radius = 1.0 - 10.0 ** rng.uniform(-4.0, 0.0, shape)
    poles = radius * np.exp(1j * rng.uniform(0.0, np.pi, shape) * 10.0 ** -rng.uniform(0.0, 3.0, (channels, 1)))
    for h in range(channels):
        other = poles[h, half : 2 * half]
        poles[h, :half] = {
            "plain": poles[h, :half],
            "repeated": other,
            "conjugate repeated": other.conj(),
            "nearly repeated": other * (1.0 - 10.0 ** rng.uniform(-12.0, -3.0, half)),
            "real": np.abs(other) * rng.choice([-1.0, 1.0], half),
            "clustered": poles[h, -1] * (1.0 - 1e-3 * rng.uniform(size=half)),
        }[KINDS[h % len(KINDS)]]
    # Residues of one size, or peaks of one height, or in between.
    power = rng.choice([0.0, 0.5, 1.0], (channels, 1))
    residues = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * (1.0 - np.abs(poles)) ** power
    return DiagonalSystem(poles, residues, rng.normal(size=channels))


def skew_hippo_layer(rng: np.random.Generator, steps: np.ndarray, state_size: int) -> DiagonalSystem:
    """Return a DSS layer as initialised: poles exp(step (-1/2 + i pi n)), one step for each channel."""
    continuous = -0.5 + 1j * np.pi * np.arange(state_size)
    poles = np.exp(np.asarray(steps)[:, None] * continuous)
    weights = rng.normal(size=poles.shape) + 1j * rng.normal(size=poles.shape)
    return DiagonalSystem(poles, 0.5 * weights * (poles - 1.0) / continuous, np.zeros(poles.shape[0]))


def excess_over_bound(
    system: DiagonalSystem, grid: np.ndarray, response: np.ndarray, reduction: Reduction
) -> np.ndarray:
    """Return (error - bound) / sigma_1 for each channel.

    Args:
        system: the original system.
        grid: [H, F] frequencies dense around its resonances.
        response: [H, F] its response there.
        reduction: what was made of it.

    The error is sampled there and around the resonances of the reduced system; where the sample comes within a fifth
    of the bound, the Hinf norm with its local refinement replaces it.
    """
    reduced = reduction.system
    error = np.abs(response - reduced.frequency_response(grid)).max(axis=1)
    near = reduced.resonance_grid(uniform=2, around=5)
    error = np.maximum(error, np.abs((system - reduced).frequency_response(near)).max(axis=1))
    allowed = reduction.error_bound + ROUNDING * reduction.spectrum[:, 0]
    close = np.flatnonzero(error > 0.8 * allowed)
    if close.size:
        refined = (system.select(close) - reduced.select(close)).hinf_norm()
        error[close] = np.maximum(error[close], refined)
    return (error - reduction.error_bound) / reduction.spectrum[:, 0]


def asymmetric_channels(reduction: Reduction, system: DiagonalSystem) -> np.ndarray:
    """Return a [H] mask of reduced channels whose entries do not each stand for one pair or one real pole."""
    poles, residues = reduction.system.poles, reduction.system.residues
    real = poles.imag == 0.0
    wrong = np.where(real, residues.imag != 0.0, poles.imag < 0.0).any(axis=1)
    return wrong & (reduction.orders < system.orders)


def measure_bounds(systems: int, seed: int, progress: Progress) -> tuple[list[Figure], dict]:
    """Reduce random systems to every rank and count what the theory forbids."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(np.arange(systems) % LARGEST, minlength=LARGEST)
    task = progress.add_task("bounds, every rank", total=int((counts * np.arange(1, LARGEST + 1) ** 2).sum()))
    reductions = unstable = violated = asymmetric = 0
    largest = -np.inf
    for state_size, channels in enumerate(counts, start=1):
        if not channels:
            continue
        system = random_systems(rng, int(channels), state_size)
        realization = balanced_realization(system)
        grid = system.resonance_grid()
        response = system.frequency_response(grid)
        for rank in range(1, state_size + 1):
            reduction = realization.truncate(rank)
            excess = excess_over_bound(system, grid, response, reduction)
            reductions += int(channels)
            unstable += int((np.abs(reduction.system.poles) >= 1.0).any(axis=1).sum())
            violated += int((~(excess <= ROUNDING)).sum())
            asymmetric += int(asymmetric_channels(reduction, system).sum())
            largest = max(largest, float(excess.max()))
            progress.advance(task, int(channels) * state_size)
    figures = [
        Figure("unstable reduced systems", unstable, at_most=0),
        Figure(f"violated bounds (above {ROUNDING:g} of the largest singular value)", violated, at_most=0),
        Figure("reduced systems without conjugate symmetry", asymmetric, at_most=0),
    ]
    return figures, {"systems": systems, "reductions": reductions, "largest_excess": largest, "rounding": ROUNDING}


def reference_spectrum(system: DiagonalSystem) -> list:
    """Return the singular values of a one-channel system in 50 digits: moduli of eigenvalues of the cross Gramian."""
    closed = []
    for p, r in zip(system.poles[0], system.residues[0], strict=True):
        if p.imag == 0.0:
            closed.append((mpmath.mpf(p.real), 2 * mpmath.mpf(r.real)))
        else:
            closed += [(mpmath.mpc(p), mpmath.mpc(r)), (mpmath.mpc(p.conjugate()), mpmath.mpc(r.conjugate()))]
    cross = mpmath.matrix([[r / (1 - p * q) for q, r in closed] for p, _ in closed])
    return sorted((abs(x) for x in mpmath.eig(cross, left=False, right=False)), reverse=True)


def spectrum_cases(seed: int) -> dict[str, DiagonalSystem]:
    """Return one-channel systems by name."""
    rng = np.random.default_rng(seed)
    cases = {
        f"Skew-HiPPO, N={n}, step {step:g}": skew_hippo_layer(rng, [step], n)
        for n, step in ((8, 1e-3), (8, 1e-1), (16, 1e-3), (16, 1e-2), (16, 1e-1), (32, 1e-2), (32, 1e-1))
    }
    some = random_systems(rng, len(KINDS), 12)
    return cases | {f"random, N=12, {kind}": some.select([h]) for h, kind in enumerate(KINDS)}


def measure_spectrum(seed: int, progress: Progress) -> tuple[list[Figure], dict]:
    """Compare Hankel singular values with 50-digit arithmetic, down to 1e-13 of the largest."""
    cases = spectrum_cases(seed)
    task = progress.add_task("spectrum, 50 digits", total=sum(s.state_size**3 for s in cases.values()))
    deviations = {}
    for name, system in cases.items():
        values = hankel_singular_values(system)[0]
        with mpmath.workdps(50):
            expected = reference_spectrum(system)
            counted = [(x, y) for x, y in zip(values, expected, strict=False) if y > 1e-13 * expected[0]]
            deviations[name] = float(max(abs(x / y - 1) for x, y in counted))
        progress.advance(task, system.state_size**3)
    figure = Figure("largest relative deviation of a singular value", max(deviations.values()), at_most=0.01)
    return [figure], {"deviations": deviations}


def measure_speed(seed: int, progress: Progress) -> tuple[list[Figure], dict]:
    """Time balanced truncation of a Skew-HiPPO layer of 256 channels and 64 states, on one core."""
    rng = np.random.default_rng(seed)
    system = skew_hippo_layer(rng, 10.0 ** rng.uniform(-3.0, -1.0, 256), 64)
    ranks = (8, 16, 32, 48)
    task = progress.add_task("speed, 256 channels x 64 states", total=len(ranks))
    seconds = {}
    for rank in ranks:
        # Processor time: with one thread it is the wall time of an idle core.
        start = time.process_time()
        balanced_truncation(system, rank)
        seconds[f"rank {rank}"] = time.process_time() - start
        progress.advance(task)
    return [Figure("256 channels x 64 states, slowest rank", max(seconds.values()), at_most=20.0, unit=" s")], {
        "seconds": seconds
    }


def main(
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute the results anew instead of reading them.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a figure falls short of its target.")] = False,
    systems: Annotated[int, typer.Option(help="Random systems to reduce to every rank.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
):
    """Measure balanced truncation and compare with the targets."""
    record = measure_all(systems, seed) if rerun else read_result(RESULT)
    conclude("Balanced truncation", record, json_file or (RESULT if rerun else None), check)


def measure_all(systems: int, seed: int) -> dict:
    """All figures, measured on one core."""
    parts = {
        "speed": measure_speed,
        "spectrum": measure_spectrum,
        "bounds": lambda seed, progress: measure_bounds(systems, seed, progress),
    }
    figures, details, seconds = [], {}, {}
    with threadpool_limits(1), Progress() as progress:
        for name, measure in parts.items():
            start = time.process_time()
            measured, details[name] = measure(seed, progress)
            figures += measured
            seconds[name] = round(time.process_time() - start, 1)
    return record_of(figures, ("numpy", "scipy", "mpmath"), details=details, seed=seed, processor_seconds=seconds)


if __name__ == "__main__":
    typer.run(main)
