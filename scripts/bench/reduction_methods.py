"""Every method of reduction: what must never happen, and processor time."""

import time

import numpy as np
from reduction_systems import ROUNDING, excess_over_bound, random_systems, skew_hippo_layer
from rich.progress import Progress

from keras_s4.reduction import METHODS, Reduction, reduce
from keras_s4.systems import DiagonalSystem
from keras_s4.testing.experiment import Figure

# Inputs with less power at high frequencies, such as the signals of sensors have.
LOW_PASS = 1.0 / (1.0 + (np.linspace(0.0, np.pi, 257) / 0.3) ** 2)
OPTIONS = {"finite_horizon": {"horizon": 500}, "input_weighted": {"power_spectrum": LOW_PASS}}
# State size and rank of layers that h2 is timed on; the default size at a quarter and a half, and 64 states.
ROUNDS = 5
LAYERS = ((32, 8), (32, 16), (64, 8))
LARGEST_STATE_SIZE, LARGEST_RANK = 64, 16


def reduce_by(method: str, system: DiagonalSystem, rank: int | np.ndarray) -> Reduction:
    """Reduce by a method, with the options that it needs."""
    return reduce(system, rank, method=method, **OPTIONS.get(method, {}))


def measure_methods(systems: int, seed: int, progress: Progress) -> tuple[list[Figure], dict]:
    """Reduce random systems to random ranks by every method and count what is forbidden."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(np.arange(systems) % LARGEST_STATE_SIZE, minlength=LARGEST_STATE_SIZE)
    task = progress.add_task("every method", total=systems)
    unstable, violated, bounded = ({name: 0 for name in METHODS} for _ in range(3))
    gains = []
    for state_size, channels in enumerate(counts, start=1):
        if not channels:
            continue
        system = random_systems(rng, int(channels), state_size)
        largest = min(state_size, LARGEST_RANK)
        ranks = np.floor((largest + 1.0) ** rng.uniform(size=channels)).astype(int).clip(1, largest)
        grid = system.resonance_grid()
        response = system.frequency_response(grid)
        reductions = {name: reduce_by(name, system, ranks) for name in METHODS}
        for name, reduction in reductions.items():
            unstable[name] += int((np.abs(reduction.system.poles) >= 1.0).any(axis=1).sum())
            finite = np.isfinite(reduction.error_bound)
            bounded[name] += int(finite.sum())
            if finite.any():
                excess = excess_over_bound(system, grid, response, reduction)
                violated[name] += int((~(excess <= ROUNDING) & finite).sum())
        smallest = ROUNDING * reductions["balanced"].spectrum[:, 0]
        before, after = (reductions[name].h2_error for name in ("balanced", "h2"))
        counted = before > smallest
        gains.append(after[counted] / before[counted])
        progress.advance(task, int(channels))
    gains = np.concatenate(gains)
    quantiles = {f"{q:g}": float(np.quantile(gains, q)) for q in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)}
    figures = [
        Figure("unstable reduced systems, every method", sum(unstable.values()), at_most=0),
        Figure("violated bounds, every method that has one", sum(violated.values()), at_most=0),
        Figure("H2 error of h2 / balanced, random systems, worst", quantiles["1"], at_most=1.0 + 1e-9),
        Figure("H2 error of h2 / balanced, random systems, median", quantiles["0.5"]),
    ]
    details = {"unstable": unstable, "violated": violated, "bounded": bounded, "h2_over_balanced": quantiles}
    return figures, {"systems": systems, "largest_rank": LARGEST_RANK, **details}


def measure_speed(seed: int, progress: Progress) -> tuple[list[Figure], dict]:
    """Time every method on a Skew-HiPPO layer of 256 channels and 64 states, on one core, in rounds.

    It is processor time: with one thread the wall time of an idle core. The least of the rounds counts, as other work
    on the same host takes caches and frequency and never gives any; the largest is told beside it.
    """
    rng = np.random.default_rng(seed)
    system = skew_hippo_layer(rng, 10.0 ** rng.uniform(-3.0, -1.0, 256), 64)
    ranks = [("balanced", rank) for rank in (16, 32, 48, 56, 63)] + [(name, 8) for name in METHODS]
    runs = {f"{name}, rank {rank}": (name, system, rank) for name, rank in ranks}
    for size, rank in LAYERS:
        layer = skew_hippo_layer(rng, 10.0 ** rng.uniform(-3.0, -1.0, 144), size)
        runs[f"h2, 144 channels x {size} states, rank {rank}"] = ("h2", layer, rank)
    task = progress.add_task("speed, 256 channels x 64 states", total=ROUNDS * len(runs))
    timed = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (method, one, rank) in runs.items():
            start = time.process_time()
            reduce_by(method, one, rank)
            timed[name].append(time.process_time() - start)
            progress.advance(task)
    seconds = {name: min(found) for name, found in timed.items()}
    slowest = max(value for name, value in seconds.items() if name.startswith("balanced"))
    figures = [Figure("256 channels x 64 states, balanced, slowest rank", slowest, at_most=5.0, unit=" s")]
    figures += [
        Figure(f"h2, 144 channels x {size} states, rank {rank}", seconds[name], at_most=2.0, unit=" s")
        for size, rank in LAYERS
        for name in [f"h2, 144 channels x {size} states, rank {rank}"]
    ]
    figures += [
        Figure(f"256 channels x 64 states, {name}, rank 8", seconds[f"{name}, rank 8"], unit=" s")
        for name in METHODS
        if name != "balanced"
    ]
    return figures, {"seconds": seconds, "most_seconds": {name: max(found) for name, found in timed.items()}}
