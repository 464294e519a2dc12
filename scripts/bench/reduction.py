"""Measure the reduction of systems: stability, error bounds, accuracy of the spectrum, errors, speed, peers.

A run over takes six minutes on one core; the timed parts, the first two, want a quiet machine. slycot and pyMOR are
compared with where they are installed.
"""

from __future__ import annotations

import functools
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from reduction_methods import measure_methods, measure_speed
from reduction_peers import (
    measure_agreement,
    measure_errors,
    measure_slycot_speed,
    pymor_reduction,
    slycot_reduction,
    tables_of_errors,
)
from reduction_systems import KINDS, ROUNDING, excess_over_bound, layers_of, random_systems, skew_hippo_layer
from rich.progress import Progress
from rich.table import Table
from threadpoolctl import threadpool_limits

from keras_s4.reduction import METHODS, Reduction, hankel_singular_values
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.systems import DiagonalSystem
from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts

LARGEST = 64


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
        Figure("unstable reduced systems, balanced, every rank", unstable, at_most=0),
        Figure(
            f"violated bounds, balanced, every rank (above {ROUNDING:g} of the largest singular value)",
            violated,
            at_most=0,
        ),
        Figure("reduced systems without conjugate symmetry", asymmetric, at_most=0),
    ]
    return figures, {"systems": systems, "reductions": reductions, "largest_excess": largest, "rounding": ROUNDING}


def reference_spectrum(system: DiagonalSystem) -> list:
    """Return the singular values of a one-channel system in 50 digits: moduli of eigenvalues of the cross Gramian."""
    import mpmath

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
    import mpmath

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


def compute(
    cache: Path,
    systems: Annotated[int, typer.Option(help="Random systems to reduce.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    model: Annotated[Path | None, typer.Option(help="A .keras model whose layers are reduced, too.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Parts to measure, instead of all; may be repeated.")] = None,
) -> Measurement:
    """All figures, or those of the parts in `only`, measured on one core."""
    parts = {
        "speed": measure_speed,
        "slycot speed": measure_slycot_speed,
        "slycot": functools.partial(measure_agreement, "slycot", slycot_reduction),
        "pymor": functools.partial(measure_agreement, "pymor", pymor_reduction),
        "errors": functools.partial(measure_errors, layers=layers_of(model) if model else None),
        "spectrum": measure_spectrum,
        "methods": functools.partial(measure_methods, systems),
        "bounds": functools.partial(measure_bounds, systems),
    }
    unknown = set(only or ()) - set(parts)
    if unknown:
        raise typer.BadParameter(f"Received --only {', '.join(sorted(unknown))}; the parts are {', '.join(parts)}.")
    figures, details, seconds = [], {}, {}
    options = {"systems": systems, "seed": seed, "model": model}
    with threadpool_limits(1), Progress() as progress, finished_parts(cache, **options) as part:
        for name in only or parts:

            def measure(name=name) -> dict[str, Any]:
                start = time.process_time()
                found = Measurement(*parts[name](seed, progress))
                return {**found.to_json(), "seconds": round(time.process_time() - start, 1)}

            found = part(name, measure)
            figures += Measurement.from_json(found).figures
            details[name], seconds[name] = found["details"], found["seconds"]
    return Measurement(figures, {"details": details, "seed": seed, "processor_seconds": seconds})


def tables(record: dict[str, Any]) -> list[Table]:
    """Errors and processor time of all methods, and what was reduced, as far as they were measured."""
    details = record["details"]
    found = tables_of_errors(details["errors"]["errors"]) if "errors" in details else []
    if "speed" in details:
        seconds = Table(
            "method and rank (pairs)",
            "seconds",
            "most of the rounds",
            title="Processor time; 256 channels x 64 states unless said",
        )
        for name, value in details["speed"]["seconds"].items():
            seconds.add_row(name, f"{value:.3g}", f"{details['speed']['most_seconds'][name]:.3g}")
        found.append(seconds)
    if "one_channel_seconds" in details.get("slycot speed", {}):
        alone = details["slycot speed"]["one_channel_seconds"]
        table = Table(
            "rank (pairs)", "ours", "slycot", "slycot to poles and residues", title="One channel of 64 states alone, ms"
        )
        for rank, row in alone.items():
            table.add_row(rank, *(f"{1e3 * row[name]:.3g}" for name in ("ours", "slycot", "slycot, diagonal")))
        found.append(table)
    counts = Table("part", "systems", "reductions", "largest (error - bound) / sigma 1", title="What was reduced")
    if "bounds" in details:
        bounds = details["bounds"]
        numbers = (f"{bounds[key]:,}" for key in ("systems", "reductions"))
        counts.add_row("balanced, every rank", *numbers, f"{bounds['largest_excess']:.2g}")
    if "methods" in details:
        systems = details["methods"]["systems"]
        counts.add_row("every method, a random rank", f"{systems:,}", f"{systems * len(METHODS):,}", "")
    return [*found, counts] if counts.row_count else found


EXPERIMENT = Experiment(
    title="Reduction of systems",
    result=Path(__file__).parents[1] / "results" / "reduction.json",
    compute=compute,
    packages=("numpy", "scipy", "mpmath", *(name for name in ("slycot", "pymor") if find_spec(name))),
    cache=Path("runs/reduction"),
    tables=tables,
    needs={"mpmath": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
