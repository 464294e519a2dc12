"""Our reductions beside those of other software and other papers.

slycot and pyMOR are optional (`pip install -e .[bench]`); without them their figures are left out.
"""

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Callable

import numpy as np
from reduction_methods import reduce_by
from reduction_systems import random_systems, skew_hippo_layer
from rich.progress import Progress
from rich.table import Table
from threadpoolctl import threadpool_limits

from keras_s4.reduction import METHODS, balanced_truncation, hankel_singular_values
from keras_s4.reduction.gramians import real_form
from keras_s4.systems import DiagonalSystem
from keras_s4.testing.experiment import Figure

ORDERS = (2, 4, 8, 16)
# Singular values that a dense method in double precision can still tell from rounding.
COUNTED = 1e-7
ONE_CHANNEL_RANKS, CHANNELS_ALONE, REPEATS = (8, 16, 32, 48, 60), 16, 7


def is_installed(package: str, progress: Progress) -> bool:
    """Say so if an optional package is missing."""
    found = importlib.util.find_spec(package) is not None
    if found:
        importlib.import_module(package)  # now, so that a limit on threads finds the libraries that it brings
    else:
        progress.console.print(f"{package} is not installed; without it that comparison is left out.")
    return found


def real_matrices(system: DiagonalSystem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return minimal A [Q, Q], B [Q, 1] and C [1, Q] of a system of one channel."""
    A, B, C = (x[0] for x in real_form(system))
    kept = np.concatenate([np.ones(system.state_size, bool), ~system.is_real[0]])
    return A[np.ix_(kept, kept)], B[kept, None], C[None, kept]


def channel_of(A: np.ndarray, B: np.ndarray, C: np.ndarray, feedthrough: np.ndarray) -> DiagonalSystem:
    """Return the diagonal system of one channel whose impulse response is ``C A**t B``."""
    poles, vectors = np.linalg.eig(A)
    residues = (C @ vectors)[0] * np.linalg.solve(vectors, B.astype(complex))[:, 0]
    kept = poles.imag >= 0.0
    residues = np.where(poles.imag == 0.0, 0.5 * residues, residues)
    return DiagonalSystem(poles[kept][None], residues[kept][None], feedthrough)


def slycot_reduction(system: DiagonalSystem, order: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Reduce one channel by ab09ad (square root, no scaling): A, B and C, and all singular values."""
    from slycot import ab09ad

    A, B, C = real_matrices(system)
    _, Ar, Br, Cr, values = ab09ad("D", "B", "N", len(A), 1, 1, A, B, C, nr=order)
    return (Ar, Br, Cr), values


def pymor_reduction(system: DiagonalSystem, order: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Reduce one channel by pyMOR's square-root balanced truncation: A, B and C, and all singular values."""
    from pymor.core.logger import set_log_levels
    from pymor.models.iosys import LTIModel
    from pymor.reductors.bt import BTReductor

    set_log_levels({"pymor": "ERROR"})
    model = LTIModel.from_matrices(*real_matrices(system), sampling_time=1)
    reduced = BTReductor(model).reduce(order, projection="sr")
    return tuple(reduced.to_matrices()[:3]), model.hsv()


def benign_channels(seed: int) -> list[DiagonalSystem]:
    """Channels that dense methods can balance to full order."""
    rng = np.random.default_rng(seed)
    layer = skew_hippo_layer(rng, 10.0 ** rng.uniform(-2.0, -1.0, 6), 16)
    return [layer.select([h]) for h in range(6)] + [
        random_systems(rng, 1, state_size) for state_size in (4, 6, 8, 10, 12, 16)
    ]


def measure_agreement(
    name: str, reduction: Callable, seed: int, progress: Progress
) -> tuple[list[Figure], dict[str, object]]:
    """Compare singular values and errors at equal orders with those of another program."""
    if not is_installed(name, progress):
        return [], {"installed": False}
    channels = benign_channels(seed)
    task = progress.add_task(f"agreement with {name}", total=len(channels))
    spectra, errors = [], []
    for system in channels:
        ours = balanced_truncation(system, max(1, system.state_size // 4))
        order = int(ours.orders[0])
        matrices, theirs = reduction(system, order)
        values = hankel_singular_values(system)[0, : theirs.size]
        counted = values > COUNTED * values[0]
        spectra.append(float(np.abs(theirs[counted] / values[counted] - 1.0).max()))
        error = (system - channel_of(*matrices, system.feedthrough)).hinf_norm()[0]
        errors.append(float(abs(error - ours.hinf_error[0]) / ours.spectrum[0, 0]))
        progress.advance(task)
    figures = [
        Figure(f"Hankel singular values against {name}, largest relative deviation", max(spectra), at_most=1e-6),
        Figure(f"Hinf errors against {name}, largest deviation over the largest value", max(errors), at_most=1e-6),
    ]
    return figures, {"installed": True, "spectra": spectra, "errors": errors}


def measure_slycot_speed(seed: int, progress: Progress) -> tuple[list[Figure], dict[str, object]]:
    """Time slycot channel by channel against our batch, 64 states to 16 real states, in one run on one core."""
    if not is_installed("slycot", progress):
        return [], {"installed": False}
    with threadpool_limits(1):  # of the libraries that came with slycot as well, whose waiting threads take time
        return _time_beside_slycot(seed, progress)


def _time_beside_slycot(seed: int, progress: Progress) -> tuple[list[Figure], dict[str, object]]:
    rng = np.random.default_rng(seed)
    system = skew_hippo_layer(rng, 10.0 ** rng.uniform(-3.0, -1.0, 256), 64)
    task = progress.add_task("speed against slycot", total=system.channels)
    start = time.process_time()
    balanced_truncation(system, 8)
    ours = time.process_time() - start
    theirs, failed = 0.0, 0
    for h in range(system.channels):
        channel = system.select([h])
        start = time.process_time()
        try:
            slycot_reduction(channel, 16)
        except (ArithmeticError, ValueError):  # SLICOT's own errors derive from these; the time counts
            failed += 1
        theirs += time.process_time() - start
        progress.advance(task)
    alone = {str(rank): times_alone(system, rank) for rank in ONE_CHANNEL_RANKS}
    slowest = {peer: max(row["ours"] / row[peer] for row in alone.values()) for peer in ("slycot", "slycot, diagonal")}
    one, rank_8 = "one channel of 64 states, time of ours / slycot", alone["8"]
    figures = [
        Figure("256 channels x 64 states, slycot in a loop", theirs, unit=" s"),
        Figure("time of slycot in a loop / ours", theirs / ours, at_least=1.0),
        Figure(f"{one}, rank 8", rank_8["ours"] / rank_8["slycot"], at_most=1.0),
        Figure(f"{one}, slowest rank", slowest["slycot"], at_most=1.0),
        Figure(f"{one} to poles and residues, slowest rank", slowest["slycot, diagonal"], at_most=1.0),
    ]
    details = {"installed": True, "ours_seconds": ours, "slycot_seconds": theirs, "slycot_failed": failed}
    return figures, details | {"one_channel_seconds": alone}


def times_alone(system: DiagonalSystem, rank: int) -> dict[str, float]:
    """Processor times of reducing one channel, the mean of the medians of several; of those that slycot reduces.

    "slycot, diagonal" goes on to poles and residues, as we do.
    """
    found = []
    for h in range(system.channels):
        with contextlib.suppress(ArithmeticError, ValueError):
            found.append(_times_of_channel(system.select([h]), rank))
        if len(found) == CHANNELS_ALONE:
            break
    means = {name: float(np.mean([times[name] for times in found])) for name in found[0]}
    return {
        "ours": means["ours"],
        "slycot": means["slycot"],
        "slycot, diagonal": means["slycot"] + means["diagonal"],
    }


def _times_of_channel(channel: DiagonalSystem, rank: int) -> dict[str, float]:
    matrices = slycot_reduction(channel, 2 * rank)[0]
    runs = {
        "ours": lambda: balanced_truncation(channel, rank),
        "slycot": lambda: slycot_reduction(channel, 2 * rank),
        "diagonal": lambda: channel_of(*matrices, channel.feedthrough),
    }
    times = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def reduce_half_system(system: DiagonalSystem, rank: int) -> DiagonalSystem:
    """Balance the complex half of every channel and keep `rank` of its complex states, the stable ones.

    That is what CompreSSM (arXiv 2510.02823) does: it takes the diagonal complex state matrix as it is, without the
    conjugates, although the layer outputs the real part only.
    """
    poles = np.zeros((system.channels, rank), dtype=np.complex128)
    residues = np.zeros_like(poles)
    for h in range(system.channels):
        p, r = system.poles[h], np.where(system.is_real[h], system.residues[h].real, system.residues[h])
        B, C = np.sqrt(np.abs(r)), r / np.sqrt(np.maximum(np.abs(r), 1e-300))
        inverse = 1.0 / (1.0 - p[:, None] * p.conj())
        L = _hermitian_root(np.outer(B, B) * inverse)
        M = _hermitian_root(np.outer(C.conj(), C) * inverse.T)
        U, values, Vh = np.linalg.svd(M.conj().T @ L)
        kept = min(rank, int((values > 1e-12 * values[0]).sum()))
        left = M @ U[:, :kept] / np.sqrt(values[:kept])
        right = L @ Vh[:kept].conj().T / np.sqrt(values[:kept])
        reduced, vectors = np.linalg.eig(left.conj().T @ (p[:, None] * right))
        stable = np.abs(reduced) < 1.0
        weights = (C @ right @ vectors) * np.linalg.solve(vectors, left.conj().T @ B)
        poles[h, :kept], residues[h, :kept] = np.where(stable, reduced, 0.0), np.where(stable, weights, 0.0)
    return DiagonalSystem(poles, residues, system.feedthrough)


def _hermitian_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def truncate_by_last(system: DiagonalSystem, rank: int) -> DiagonalSystem:
    """Keep the entries with the largest ``|r| / (1 - |p|)``, the score of LAST (arXiv 2411.02824)."""
    scores = np.where(system.is_padding, 0.0, np.abs(system.residues)) / (1.0 - np.abs(system.poles))
    kept = np.argsort(-scores, axis=1, kind="stable")[:, :rank]
    poles, residues = (np.take_along_axis(x, kept, axis=1) for x in (system.poles, system.residues))
    return DiagonalSystem(poles, residues, system.feedthrough)


def measure_errors(
    seed: int, progress: Progress, layers: dict[str, DiagonalSystem] | None = None
) -> tuple[list[Figure], dict[str, object]]:
    """Tabulate relative errors of every method and of both peers at equal real orders.

    A rank of q / 2 entries is at most q real states; half systems keep q / 2 complex states, which are as many.
    """
    rng = np.random.default_rng(seed)
    cases = {
        "Skew-HiPPO": skew_hippo_layer(rng, 10.0 ** rng.uniform(-3.0, -1.0, 64), 32),
        "random": random_systems(rng, 66, 32),
    } | (layers or {})
    runs = [(name, rank) for name, system in cases.items() for rank in ORDERS if rank < system.state_size]
    methods = (*METHODS, "half system (CompreSSM)", "LAST score")
    task = progress.add_task("errors at equal orders", total=len(runs) * len(methods))
    errors = {}
    for name, rank in runs:
        system = cases[name]
        norms = np.stack([system.h2_norm(), system.hinf_norm()])
        for method in methods:
            if method in METHODS:
                reduced = reduce_by(method, system, rank).system
            else:
                reduced = (reduce_half_system if method.startswith("half") else truncate_by_last)(system, rank)
            error = system - reduced
            relative = np.stack([error.h2_norm(), error.hinf_norm()]) / np.maximum(norms, 1e-300)
            row = {"h2": float(np.median(relative[0])), "hinf": float(np.median(relative[1]))}
            errors.setdefault(name, {}).setdefault(str(2 * rank), {})[method] = row
            progress.advance(task)
    figures = [
        Figure(f"Hinf error of balanced / half system, {name}, order {order}", _ratio(row, "hinf", methods[-2]))
        for name, orders in errors.items()
        for order, row in orders.items()
    ]
    return figures, {"errors": errors}


def _ratio(row: dict, kind: str, peer: str) -> float:
    return row["balanced"][kind] / max(row[peer][kind], 1e-300)


def tables_of_errors(errors: dict[str, dict[str, dict[str, dict[str, float]]]]) -> list[Table]:
    """One table for each system: methods down, orders across, H2 and Hinf errors side by side."""
    found = []
    for name, orders in errors.items():
        columns = [f"order {order}" for order in orders]
        table = Table("method", *columns, title=f"{name}: relative H2 / Hinf error, median")
        for method in next(iter(orders.values())):
            cells = (f"{row[method]['h2']:.3g} / {row[method]['hinf']:.3g}" for row in orders.values())
            table.add_row(method, *cells)
        found.append(table)
    return found
