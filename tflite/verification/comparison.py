"""One program on all engines of this computer: are they equal, bit for bit, in every output and state?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.brief import Brief
from keras_s4.samples import as_list
from keras_s4.tflite import engines, runtimes
from keras_s4.tflite.c99 import CRunner
from keras_s4.tflite.c99.host import CompilerError
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.program.interface import Interface
from keras_s4.tflite.program.own_lengths import group_by_length, hold_last, run_to_own_lengths
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.verification.first_difference import find_differing_tensor

Progress = Callable[[str, int, int], None]
Integers = Sequence[np.ndarray]
# Runs some sequences: the outputs, and the explicit states after every step, none if they are inside.
Runner = Callable[[list[np.ndarray]], tuple[list[np.ndarray], list[np.ndarray]]]

TENSORFLOW_SEQUENCES = 20
# The states of all steps of all sequences can take gigabytes.
SEQUENCES_AT_ONCE = 32
TITLES = {"tflm": "TFLM", "c": "C"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison(Brief):
    """What the engines gave.

    Args:
        outputs: by engine, the integers of each output `[B, L, ...]`; of TensorFlow's interpreter for fewer sequences.
        steps: samples compared.
        first_difference: "" if all engines but TensorFlow's give the emulator's integers; or else where one does not.
        largest_accumulator: of the emulator, as a part of what 32 bits hold.
        tensorflow_sequences: how many TensorFlow's interpreter ran.
        tensorflow_difference: the largest difference of an output integer between it and the emulator.
        missing: by engine that is not on this computer, or cannot run the program, why.
    """

    outputs: dict[str, Integers]
    steps: int
    first_difference: str
    largest_accumulator: float
    tensorflow_sequences: int
    tensorflow_difference: int
    missing: dict[str, str]

    @property
    def judge(self) -> str:
        """The engine nearest to the device."""
        return next(name for name in ("tflm", "c", "emulator") if name in self.outputs)


def compare_engines(
    converted: Interface, integers: list[np.ndarray], report: Progress, counts: np.ndarray | None = None
) -> Comparison:
    """Runs a program on the emulator, TensorFlow Lite Micro, compiled C and TensorFlow's interpreter.

    Args:
        converted: what `convert` returned.
        integers: for each input `[B, L, ...]`.
        report: called as `report(engine, done, all)`.
        counts: of sequences that end earlier, how many of their `L` are run, `[B]`; the last outputs stay behind.

    Raises:
        OverflowError: a 32-bit accumulator or state of the emulator would wrap.
    """
    program = converted.program
    emulator = Emulator(program, check_overflow=True)
    runners, missing = _make_runners(converted)
    names = [tensor.name for tensor in (*program.outputs, *(state.after for state in program.states))]
    parts: dict[str, list[Integers]] = {name: [] for name in ("emulator", *runners)}
    difference, done = "", 0
    size, length = integers[0].shape[:2]
    counts = np.full(size, length) if counts is None else counts
    groups = group_by_length(counts, SEQUENCES_AT_ONCE)
    for rows in groups:
        chunk = [array[rows, : counts[rows[0]]] for array in integers]
        trace = emulator.trace(chunk, record=names)
        expected = [trace.tensors[name] for name in names]
        parts["emulator"].append([hold_last(array, length) for array in expected[: len(program.outputs)]])
        for engine, run in runners.items():
            outputs, states = run(chunk)
            parts[engine].append([hold_last(array, length) for array in outputs])
            found = (
                None
                if difference
                else find_first_difference(names, expected, [*outputs, *states], rows, TITLES[engine])
            )
            if found:
                sequence, step, difference = found
                if engine == "tflm":
                    inside = [array[sequence] for array in chunk]
                    difference += f". {find_differing_tensor(converted.tflite, program, inside, step)}"
        done += len(rows)
        report("tflm", done, size)
    order = np.argsort(np.concatenate(groups))
    outputs = {
        engine: [np.concatenate(arrays)[order] for arrays in zip(*found, strict=True)]
        for engine, found in parts.items()
    }
    opinion = _second_opinion(converted, integers, counts, report, missing)
    sequences, apart = 0, 0
    if opinion:
        sequences = len(opinion[0])
        pairs = zip(opinion, outputs["emulator"], strict=True)
        apart = max(int(np.abs(a.astype(np.int64) - b[:sequences]).max()) for a, b in pairs)
        outputs["tensorflow"] = opinion
    return Comparison(
        outputs,
        steps=int(counts.sum()) * program.steps,
        first_difference=difference,
        largest_accumulator=max(emulator.peaks.values(), default=0) / 2**31,
        tensorflow_sequences=sequences,
        tensorflow_difference=apart,
        missing=missing,
    )


def find_first_difference(
    names: list[str], expected: list[np.ndarray], received: list[np.ndarray], rows: Sequence[int], engine: str
) -> tuple[int, int, str] | None:
    """The earliest step, over these sequences, at which a tensor differs.

    Args:
        names: of the outputs, then of the states.
        expected: the emulator's integers of each `[B, L, ...]`.
        received: those of the engine; of explicit states alone, so that there may be fewer.
        rows: the numbers of the sequences.
        engine: its name.

    Returns:
        The sequence among these, the step, and a sentence with the sequence's number; None if nothing differs.
    """
    found = []
    for name, ours, theirs in zip(names, expected, received, strict=False):
        places = np.argwhere(ours != theirs)
        if len(places):
            place = tuple(int(index) for index in places[places[:, 1].argmin()])
            found.append((place[1], name, place, ours[place], theirs[place]))
    if not found:
        return None
    step, name, place, ours, theirs = min(found, key=lambda entry: entry[0])
    where = f"{name}{list(place[2:])} of sequence {rows[place[0]]} at step {step}"
    return place[0], step, f"{where}: emulator {ours}, {engine} {theirs}"


def _make_runners(converted: Interface) -> tuple[dict[str, Runner], dict[str, str]]:
    """The engines that must be equal to the emulator, and why others are missing."""
    runners: dict[str, Runner] = {}
    missing = {engine: reason for engine in TITLES if (reason := engines.why_missing(engine))}
    if "tflm" not in missing:
        runners["tflm"] = _run_tflm(converted.tflite)
    if "c" not in missing:
        try:
            runners["c"] = _run_c(converted.program)
        except (CompilerError, NotImplementedError) as error:
            missing["c"] = str(error)
    return runners, missing


def _run_tflm(tflite: bytes) -> Runner:
    runner = runtimes.TflmRunner(tflite)
    explicit = not runner.summary.variables

    def run(chunk: list[np.ndarray]):
        outputs, states = runner.run(chunk, keep_states=True) if explicit else (runner.run(chunk), ())
        return as_list(outputs), list(states)

    return run


def _run_c(program: Program) -> Runner:
    runner = CRunner(program)

    def run(chunk: list[np.ndarray]):
        outputs, states = runner.run(chunk, keep_states=True)
        return as_list(outputs), list(states)

    return run


def _second_opinion(
    converted: Interface,
    integers: list[np.ndarray],
    counts: np.ndarray,
    report: Progress,
    missing: dict[str, str],
) -> list[np.ndarray]:
    """The outputs of TensorFlow's interpreter on the first sequences; none where it is not installed."""
    try:
        runner = runtimes.TensorFlowRunner(converted.tflite)
    except ImportError as error:
        missing["tensorflow"] = f"TensorFlow is not installed ({error}): pip install tensorflow."
        return []
    few = [array[:TENSORFLOW_SEQUENCES] for array in integers]
    report("tensorflow", 0, len(few[0]))
    return run_to_own_lengths(lambda part: as_list(runner.run(part)), few, counts[: len(few[0])], len(few[0]))
