"""Measure a training step of the DSS layer against other layers, its parts, and step mode in Python.

Every layer runs in processes of its own, compiled by XLA and not, and is judged by the faster of the two. The processes
take turns in rounds; a ratio is the median of the ratios of the rounds. What would take too long or too much memory is
reported as not run, with the reason, and nothing is extrapolated.

Peak memory is the largest resident memory of a fresh process while it runs steps at a length, less that before them,
when the same step has already run at 8 samples: it is the arrays, and hardly the libraries. It is told of the first
step, with tracing and compilation, and of two steps after it; "peak memory" without more is the larger of the two.

A run over takes twenty minutes on two cores, which nothing else should use.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from layers_tables import tables
from layers_worker import NotRun, Worker, available_memory
from rich.progress import Progress

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts
from keras_s4.testing.processes import describe_processor

LENGTHS = [28, 784, 4096, 16384]
BATCHES = (1, 32, 1024)
OURS, PLAIN, GRU, LMU = "DSS(32)", "DSS, plain kernel", "GRU(64)", "keras-lmu"
# What takes most memory comes first and meets an empty machine.
LAYERS = {
    LMU: "lmu",
    OURS: "dss",
    PLAIN: "plain_dss",
    GRU: "gru",
    "LSTM(64)": "lstm",
    "4 x Conv1D(64, 9)": "convolutions",
}
BARE_TRANSFORMS = ("transforms", "transforms, scipy")
PARTS = ("kernel", "convolution", *BARE_TRANSFORMS)
WAYS = {True: "XLA", False: "graph"}
MOST_OF_A_STEP = {(GRU, 784): 0.30, (LMU, 784): 0.05}
# Of memory: for this program, and for what else the machine does.
RESERVE = 2048
# One timing lasts at least as long, in seconds.
SHORTEST_TIMING = 0.1
# A way of compilation that was so many times slower than the other is not tried at greater lengths.
HOPELESS = 5.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a measurement may take.

    Args:
        seconds: of the first step, with compilation, and of the two after it.
        step: seconds of a step that is repeated in rounds; of a longer one the first timing stands.
    """

    seconds: float
    step: float


@dataclasses.dataclass
class Measured:
    """Timings of a layer at one length, compiled in one way.

    Args:
        layer: its name in `LAYERS`.
        way: its name in `WAYS`.
        reason: why there are no timings, or empty.
        first_call: seconds of the first step, with tracing and compilation.
        first_memory: peak of the first step, with tracing and compilation, in MiB.
        memory: peak of two steps after it, in MiB.
        seconds: of the step and of parts, one entry a round.
        calls: calls of each in one timing.
    """

    layer: str
    way: str
    reason: str = ""
    first_call: float = float("nan")
    first_memory: float = float("nan")
    memory: float = float("nan")
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    calls: dict[str, int] = dataclasses.field(default_factory=dict)
    worker: Worker | None = None

    @property
    def peak_memory(self) -> float:
        """Of all steps, in MiB."""
        return max(self.first_memory, self.memory)

    @property
    def typical(self) -> float:
        """Median seconds of a step; infinite if it did not run."""
        return statistics.median(self.seconds["step"]) if self.seconds else float("inf")

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self.worker is not None and self.worker.alive

    def start(self, length: int, limits: Limits, parts: Iterable[str] = ()) -> None:
        """Starts the process and times three steps, the first with compilation, and these parts of it."""
        try:
            memory = available_memory() - RESERVE
            self.worker = Worker("layer_tasks", (LAYERS[self.layer], length, self.way == "XLA"), limits.seconds, memory)
            first = self.worker.run("step")
            self.first_call, self.first_memory = first.seconds, first.memory
            self.worker.forget_peak()
            self._prepare("step")
            for part in parts:
                self.worker.run(part)
                self._prepare(part)
        except NotRun as stop:
            self._give_up(stop)
        if self.typical > limits.step:
            self.stop()

    def time_round(self) -> None:
        """Adds one timing of everything."""
        try:
            for task, calls in self.calls.items() if self.runs else ():
                self.seconds[task].append(self.worker.run(task, calls).seconds)
        except NotRun as stop:
            self._give_up(stop)

    def forget_first_timings(self) -> None:
        """What was timed before the rounds was not timed in turns."""
        if self.runs:
            self.seconds = {task: [] for task in self.seconds}

    def stop(self) -> None:
        """Ends the process."""
        if self.runs:
            self.worker.close()

    def to_json(self) -> dict:
        """The timings in milliseconds, or why there are none."""
        if self.reason:
            return {"not run": self.reason}
        timings = {
            task: {"median": 1e3 * statistics.median(seconds), "least": 1e3 * min(seconds), "rounds": len(seconds)}
            for task, seconds in self.seconds.items()
        }
        return {
            "first_call_seconds": self.first_call,
            "peak_memory_mib": self.peak_memory,
            "peak_memory_once_compiled_mib": self.memory,
            "milliseconds": timings,
        }

    def _give_up(self, stop: NotRun) -> None:
        self.stop()
        self.reason, self.seconds = str(stop), {}

    def _prepare(self, task: str) -> None:
        reply = self.worker.run(task, 2)
        if task == "step":
            self.memory = reply.memory
        self.seconds[task] = [reply.seconds]
        self.calls[task] = max(1, round(SHORTEST_TIMING / reply.seconds))


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of the rounds; of the medians, if one was not timed in rounds; NaN if not at all."""
    if not some or not others:
        return float("nan")
    if len(some) != len(others):
        return statistics.median(some) / statistics.median(others)
    return statistics.median(one / other for one, other in zip(some, others, strict=True))


def measure_layers(
    length: int, rounds: int, limits: Limits, hopeless: dict[tuple[str, str], str], advance: Callable
) -> list[Measured]:
    """Times all layers at one length.

    Args:
        length: L.
        rounds: timings of each.
        limits: of time and memory.
        hopeless: reasons not to try a layer and a way of compilation; what turns out so is added.
        advance: called after each of `len(LAYERS) + rounds` parts of the work.
    """
    everything = []
    try:
        for layer in LAYERS:
            both = [Measured(layer, way, hopeless.get((layer, way), "")) for way in WAYS.values()]
            everything += both
            for measured in both:
                if not measured.reason:
                    measured.start(length, limits, PARTS if layer == OURS else ())
            note_hopeless(both, length, hopeless)
            if layer not in (OURS, PLAIN):  # of these two both ways are of interest
                max(both, key=lambda measured: measured.typical).stop()
            advance()
        for measured in everything:
            measured.forget_first_timings()
        for _ in range(rounds):
            for measured in everything:
                measured.time_round()
            advance()
    finally:
        for measured in everything:
            measured.stop()
    return everything


def note_hopeless(both: list[Measured], length: int, hopeless: dict[tuple[str, str], str]) -> None:
    """Remembers which of two ways of compilation need not be tried again."""
    slower, faster = sorted(both, key=lambda measured: measured.typical, reverse=True)
    if slower.seconds and slower.typical > HOPELESS * faster.typical:
        times = slower.typical / faster.typical
        hopeless[slower.layer, slower.way] = f"{times:.0f} times as slow as by {faster.way} at {length:,} samples"


def best(measurements: list[Measured], layer: str) -> Measured:
    """The faster of the two ways; of what was not timed in rounds, only if neither was."""
    both = (measured for measured in measurements if measured.layer == layer)
    return min(both, key=lambda measured: (-len(measured.seconds.get("step", ())), measured.typical))


def step_figures(length: int, measurements: list[Measured]) -> Iterator[Figure]:
    """Our step against those of the others, and its parts."""
    ours = best(measurements, OURS)
    for layer in LAYERS:
        other = best(measurements, layer)
        at_most = MOST_OF_A_STEP.get((layer, length))
        if layer != OURS and (other.seconds or at_most):
            of_other = ratio(ours.seconds.get("step", ()), other.seconds.get("step", ()))
            yield Figure(f"step at {length:,}, of {layer}", of_other, at_most=at_most)
    if not ours.seconds:
        return
    step, parts = ours.seconds["step"], ours.seconds
    at_most = 0.15 if length >= 4096 else None
    yield Figure(f"kernel generation at {length:,}, of the step", ratio(parts["kernel"], step), at_most=at_most)
    yield Figure(f"bare transforms at {length:,}, of the step", ratio(parts["transforms"], step))
    beside = ratio(parts["convolution"], parts["transforms"])
    yield Figure(f"convolution at {length:,}, of the bare transforms", beside)
    beside = ratio(parts["transforms"], parts["transforms, scipy"])
    yield Figure(f"bare transforms at {length:,}, of scipy's", beside)
    if length >= 784:  # below, compilation takes more than the arrays
        for way in WAYS.values():
            one, plain = (next(m for m in measurements if (m.layer, m.way) == (name, way)) for name in (OURS, PLAIN))
            at_most = 0.7 if length == 4096 and way == ours.way else None  # of the way that is faster
            name, of_plain = f"peak memory at {length:,}, {way}", "of the plain kernel's"
            yield Figure(f"{name}, {of_plain}", one.peak_memory / plain.peak_memory, at_most=at_most)
            yield Figure(f"{name}, once compiled, {of_plain}", one.memory / plain.memory, at_most=at_most)


def measure_growth(ways: dict[int, str], rounds: int, limits: Limits) -> dict[str, dict[int, list[float]]]:
    """Seconds of our step, and of transforms alone, at several lengths, in turns: part -> length -> rounds."""
    all_lengths = {length: Measured(OURS, way) for length, way in ways.items()}
    try:
        for length, measured in all_lengths.items():
            measured.start(length, dataclasses.replace(limits, step=float("inf")), BARE_TRANSFORMS)
            measured.forget_first_timings()
        for _ in range(rounds):
            for measured in all_lengths.values():
                measured.time_round()
    finally:
        for measured in all_lengths.values():
            measured.stop()
    return {
        part: {length: measured.seconds.get(part, []) for length, measured in all_lengths.items()}
        for part in ("step", *BARE_TRANSFORMS)
    }


def growth_figures(growth: dict[str, dict[int, list[float]]]) -> Iterator[Figure]:
    """What the longest sequence costs, compared with 784 samples if there are longer ones, or with the shortest."""
    for part, seconds in growth.items():
        longest, base = max(seconds), 784 if 784 in sorted(seconds)[:-1] else min(seconds)
        at_most = 24.0 if (part, base, longest) == ("step", 784, 16384) else None
        times = ratio(seconds[longest], seconds[base])
        title = f"{part} at {longest:,}, of that at {base:,} ({longest / base:.3g} times as long)"
        yield Figure(title, times, at_most)


def measure_streams(rounds: int, limits: Limits) -> Measurement:
    """Steps of the demo's classifier, 8 states left, by `StreamingModel.compiled_step`."""
    details, figures = {}, []
    for compiled, way in WAYS.items():
        worker = Worker("stream_tasks", (compiled, BATCHES), limits.seconds, available_memory() - RESERVE)
        try:
            first_calls = {batch: worker.run(f"step, {batch}").seconds for batch in BATCHES}
            traced = worker.run("traces").value
            timings = {batch: [] for batch in BATCHES}
            for _ in range(rounds):
                for batch, seconds in timings.items():
                    seconds.append(worker.run(f"step, {batch}", 100).seconds)
            traced = worker.run("traces").value - traced
        finally:
            worker.close()
        steps = {batch: 1 / statistics.median(seconds) for batch, seconds in timings.items()}
        details[way] = {
            f"{batch} streams": {
                "first_call_seconds": first_calls[batch],
                "steps_per_second": rate,
                "streams_times_steps_per_second": rate * batch,
            }
            for batch, rate in steps.items()
        }
        largest = max(BATCHES)
        figures.append(Figure(f"streams, {way}: traces after the first call", traced, at_most=0))
        figures.append(Figure(f"streams, {way}: {largest:,} at once", steps[largest] * largest, unit=" steps/s"))
        figures.append(Figure(f"streams, {way}: one alone", steps[1], unit=" steps/s"))
    return Measurement(figures, details)


def measure_length(
    length: int, rounds: int, limits: Limits, hopeless: dict[tuple[str, str], str], progress: Progress
) -> Measurement:
    """All layers at one length; the details also say what need not be tried at the next one."""
    task = progress.add_task(f"{length:,} samples", total=len(LAYERS) + rounds)
    measured = measure_layers(length, rounds, limits, hopeless, lambda: progress.advance(task))
    layers = {layer: {m.way: m.to_json() for m in measured if m.layer == layer} for layer in LAYERS}
    given_up = [[*key, reason] for key, reason in hopeless.items()]
    details = {"layers": layers, "way": best(measured, OURS).way, "hopeless": given_up}
    return Measurement(list(step_figures(length, measured)), details)


def compute(
    cache: Path,
    lengths: Annotated[list[int], typer.Option(help="Samples of a sequence; may be repeated.", min=2)] = LENGTHS,
    rounds: Annotated[int, typer.Option(help="Timings of each layer.", min=1)] = 5,
    time_limit: Annotated[float, typer.Option(help="Seconds that a first step, or two more, may take.")] = 40.0,
    step_limit: Annotated[float, typer.Option(help="Seconds of a step that is repeated in rounds.")] = 5.0,
    streams: Annotated[bool, typer.Option(help="Also measure step mode.")] = True,
) -> Measurement:
    """A training step of the DSS layer, and step mode."""
    limits = Limits(time_limit, step_limit)
    options = {"rounds": rounds, "limits": limits}
    figures, details, hopeless, ways = [], {}, {}, {}
    with Progress(transient=True) as progress, finished_parts(cache, **options) as part:
        stepped = Measurement([])
        if streams:
            stepped = Measurement.from_json(part("streams", lambda: measure_streams(rounds, limits).to_json()))
        for length in sorted(set(lengths)):
            measure = functools.partial(measure_length, length, rounds, limits, hopeless, progress)
            found = Measurement.from_json(part(f"length {length}", lambda measure=measure: measure().to_json()))
            hopeless |= {(layer, way): reason for layer, way, reason in found.details["hopeless"]}
            figures += found.figures
            ways[length], details[length] = found.details["way"], found.details["layers"]
        growth = measure_growth(ways, rounds, limits) if len(ways) > 1 else {}
    figures += growth_figures(growth)
    return Measurement(
        figures + stepped.figures,
        {
            "processor": describe_processor(),
            "rounds": rounds,
            "lengths": details,
            "growth_milliseconds": {
                part: {length: 1e3 * statistics.median(timed) for length, timed in seconds.items() if timed}
                for part, seconds in growth.items()
            },
            "streams": stepped.details,
        },
    )


EXPERIMENT = Experiment(
    title="A training step, forward and backward, of 32 sequences of 64 channels",
    result=Path(__file__).parents[1] / "results" / "layers.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "keras-lmu", "numpy", "scipy"),
    cache=Path("runs/layers"),
    tables=tables,
    needs={"keras_lmu": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
