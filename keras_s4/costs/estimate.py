"""What a program takes on a named board: memory, time a step, load, energy. Always estimated, and it says how."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from keras_s4.checks import choice, is_real, quote
from keras_s4.costs import model
from keras_s4.costs.boards import Board, Source, board_named
from keras_s4.costs.ranges import Range
from keras_s4.costs.step_cost import METHODS, MODELLED, SIMULATED, StepCost
from keras_s4.costs.timings import ASSUMED, TIMINGS
from keras_s4.tflite.program.interface import Interface
from keras_s4.tflite.program.program import Program

COUNTING = ("auto", "counted", "modelled")
CORES = (*TIMINGS, "avr", "rv32")
UNKNOWN = "not known"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A program on a board.

    Args:
        board: where it runs.
        cost: what a step takes on the board's core, without wait states.
        rate: steps of the signal a second, or None if it is not known.
        note: why instructions were not counted, or "".
    """

    board: Board
    cost: StepCost
    rate: float | None = None
    note: str = ""

    @property
    def word(self) -> str:
        """What goes with every time: "estimated", or "simulated" on an AVR."""
        return "simulated" if self.cost.method == SIMULATED else "estimated"

    @property
    def is_modelled(self) -> bool:
        """Whether the cost model said it, and nothing was counted."""
        return self.cost.method == MODELLED

    @property
    def cycles(self) -> Range:
        """Of a step, what code and data in slow memory add included."""
        waits = self.board.wait_states
        return Range(self.cost.cycles.low * waits.low, self.cost.cycles.high * waits.high)

    @property
    def likely_cycles(self) -> float:
        """Within `cycles`."""
        return self.cost.likely_cycles * self.board.wait_states.middle

    @property
    def microseconds(self) -> Range:
        """Of a step."""
        return self.cycles / self.board.clock_mhz

    @property
    def likely_microseconds(self) -> float:
        """Within `microseconds`."""
        return self.likely_cycles / self.board.clock_mhz

    @property
    def load(self) -> Range | None:
        """The part of the time that the core computes; above 1 it does not keep up. None without a rate."""
        return None if self.rate is None else self.microseconds * (self.rate / 1e6)

    @property
    def likely_load(self) -> float | None:
        """Within `load`."""
        return None if self.rate is None else self.likely_microseconds * self.rate / 1e6

    @property
    def microjoules(self) -> float | None:
        """Energy of a step while the core runs, at `likely_cycles`; None where the board's is not known."""
        each = self.board.nanojoules_a_cycle
        return None if each is None else self.likely_cycles * each / 1e3

    @property
    def average_microamperes(self) -> float | None:
        """Current of a chip that sleeps between steps, without its sensor; None where it cannot, or it is not known.

        Waking up takes time and energy as well, which datasheets tell and this does not.
        """
        board, load = self.board, self.likely_load
        if load is None or load >= 1 or board.sleep_microamperes is None or board.volts is None:
            return None
        if self.microjoules is None:
            return None
        running = self.microjoules * self.rate / board.volts  # microwatts by volts
        return running + (1 - load) * board.sleep_microamperes

    @property
    def fits(self) -> bool:
        """Whether code, constants and the state of one stream fit the board's memory, beside nothing else."""
        stack = self.cost.stack_bytes or 0
        return self.cost.flash_bytes <= self.board.flash_bytes and self.cost.ram_bytes + stack <= self.board.ram_bytes

    @property
    def keeps_up(self) -> bool | None:
        """Whether a step is done before the next sample, in the worst case; None without a rate."""
        return None if self.load is None else self.load.high < 1

    def table(self) -> Table:
        """For the console."""
        return estimates_table([self])

    def to_json(self) -> dict[str, Any]:
        """All figures, JSON-ready."""
        return {
            "board": self.board.name,
            "core": self.board.core,
            "clock_mhz": self.board.clock_mhz,
            "method": METHODS[self.cost.method],
            "note": self.note,
            "compiler": self.cost.compiler,
            "rate": self.rate,
            "flash_bytes": self.cost.flash_bytes,
            "code_bytes": self.cost.code_bytes,
            "constant_bytes": self.cost.constant_bytes,
            "ram_bytes": self.cost.ram_bytes,
            "stack_bytes": self.cost.stack_bytes,
            "fits": self.fits,
            "instructions": self.cost.instructions,
            f"{self.word}_cycles": list(self.cycles),
            f"{self.word}_likely_cycles": self.likely_cycles,
            f"{self.word}_microseconds": list(self.microseconds),
            f"{self.word}_likely_microseconds": self.likely_microseconds,
            f"{self.word}_load": None if self.load is None else list(self.load),
            f"{self.word}_likely_load": self.likely_load,
            "keeps_up": self.keeps_up,
            "estimated_microjoules": self.microjoules,
            "estimated_average_microamperes": self.average_microamperes,
            "wait_states": list(self.board.wait_states),
            "sources": [str(source) for source in self.board.sources],
            "assumed": assumptions(self),
        }

    def __str__(self) -> str:
        low, high = self.microseconds
        found = (
            f"{self.board.title}: {self.cost.flash_bytes:,} bytes of flash, {self.cost.ram_bytes:,} of RAM, "
            f"{short(self.likely_microseconds)} us a step ({short(low)} to {short(high)}, {self.word})"
        )
        return (
            found if self.load is None else f"{found}, load {percent(self.likely_load)} at {self.rate:g} steps a second"
        )


def estimate(
    program: Program | Interface,
    board: str | Board,
    rate: float | None = None,
    method: str = "auto",
    inputs: Sequence[np.ndarray] | None = None,
) -> Estimate:
    """Estimates what a program takes on a board.

    Args:
        program: of integers, or what `keras_s4.tflite.convert` returns.
        board: a name of `keras_s4.costs.boards`, or a board of your own.
        rate: steps of the signal a second; load and average current need it.
        method: "counted": the C is compiled and run on an emulated core (simavr for an AVR); "modelled": by the cost
            model, which needs no compiler; "auto": counted where the tools are installed.
        inputs: for each input, integers `[B, L, ...]` to count with; random ones when omitted.

    Raises:
        TypeError: no program.
        ValueError: an unknown board, core or method, or a rate that is not above 0.
        RuntimeError: `method="counted"` and a tool is missing.
    """
    return estimate_boards(program, [board], rate, method, inputs)[0]


def estimate_boards(
    program: Program | Interface,
    boards: Sequence[str | Board],
    rate: float | None = None,
    method: str = "auto",
    inputs: Sequence[np.ndarray] | None = None,
) -> list[Estimate]:
    """What `estimate` says of several boards; the steps are counted once for each core.

    Args:
        program: see `estimate`.
        boards: names, or boards of your own.
        rate, method, inputs: see `estimate`.

    Raises:
        TypeError, ValueError, RuntimeError: see `estimate`.
    """
    program = getattr(program, "program", program)
    if not isinstance(program, Program):
        given = type(program).__name__
        raise TypeError(f"estimate got {given}; expected an integer program, or what keras_s4.tflite.convert gives.")
    named = check_request(boards, rate, method)
    costs = {core: _cost_on(program, core, method, inputs) for core in dict.fromkeys(board.core for board in named)}
    return [Estimate(board, costs[board.core][0], rate and float(rate), costs[board.core][1]) for board in named]


def check_request(boards: Sequence[str | Board], rate: float | None, method: str) -> list[Board]:
    """The boards that are meant.

    Raises:
        ValueError: see `estimate`.
    """
    choice(method, "estimate got method=", COUNTING)
    if rate is not None and not (is_real(rate) and math.isfinite(rate) and rate > 0):
        raise ValueError(f"estimate got rate={quote(rate)}; expected steps a second, above 0.")
    named = [board_named(board) for board in boards]
    for board in named:
        choice(board.core, f"board {board.name} has core=", CORES)
    return named


def estimates_table(estimates: Sequence[Estimate]) -> Table:
    """Boards beside each other, for the console."""
    words = " and ".join(dict.fromkeys(each.word for each in estimates))
    table = Table("", *(each.board.title for each in estimates), title=f"On boards, {words}")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, show in _ROWS.items():
        cells = [show(each) for each in estimates]
        if any(cells):
            table.add_row(name, *cells)
    return table


def notes(estimates: Sequence[Estimate]) -> list[str]:
    """What must be said below the table."""
    found = []
    for each in estimates:
        waits = each.board.wait_states
        if each.note:
            found.append(f"{each.board.title}: {each.note}")
        if not each.fits:
            found.append(f"{each.board.title}: the model does not fit its memory.")
        if each.keeps_up is False:
            found.append(f"{each.board.title}: may not keep up with {each.rate:g} steps a second.")
        if waits.high > 1:
            slower = f"{each.board.memory}, assumed to cost up to {waits.high:g} times the cycles"
            found.append(f"{each.board.title}: {slower}.")
        found += [f"{each.board.title}: {source}." for source in each.board.assumptions if _is_of_energy(source)]
        if each.microjoules is None:
            found.append(f"{each.board.title}: its energy is not known, for want of a source for its current.")
        elif each.rate is not None and each.board.sleep_microamperes is None:
            found.append(f"{each.board.title}: its average current is not known, for want of a source for its sleep.")
    found += [f"Cycles of {core.upper()}, assumed: {ASSUMED[core]}." for core in _cores_with_assumptions(estimates)]
    return list(dict.fromkeys(found))


def assumptions(estimate: Estimate) -> list[str]:
    """What no source tells of a board and its core."""
    found = [str(source) for source in estimate.board.assumptions]
    return found + [f"cycles, assumed: {ASSUMED[core]}" for core in _cores_with_assumptions([estimate])]


def _cores_with_assumptions(estimates: Sequence[Estimate]) -> list[str]:
    return [core for core in dict.fromkeys(each.board.core for each in estimates) if ASSUMED.get(core)]


def _is_of_energy(source: Source) -> bool:
    return not {"volts", "run_milliamperes", "picojoules_a_cycle", "sleep_microamperes"}.isdisjoint(source.facts)


def short(number: float) -> str:
    """Three digits are more than is known."""
    if number >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number >= 0.001 else f"{number:.1e}"


def percent(part: float) -> str:
    """A load."""
    return f"{100 * part:.3g}%"


def span(numbers: Range, show=short) -> str:
    """A range, or one number where both ends are shown alike."""
    low, high = map(show, numbers)
    return low if low == high else f"{low} to {high}"


def _average(each: Estimate) -> str:
    """The current, where a board can sleep at all."""
    if each.likely_load >= 1:
        return ""
    return UNKNOWN if each.average_microamperes is None else short(each.average_microamperes)


def _method(each: Estimate) -> str:
    return {MODELLED: "cost model", SIMULATED: "simavr"}.get(each.cost.method, "counted")


_ROWS = {
    "core": lambda each: f"{each.board.core.upper()}, {each.board.clock_mhz:g} MHz",
    "found by": _method,
    "flash, bytes": lambda each: f"{each.cost.flash_bytes:,} of {each.board.flash_bytes:,}",
    "RAM, bytes": lambda each: f"{each.cost.ram_bytes:,} of {each.board.ram_bytes:,}",
    "instructions a step": lambda each: "" if each.cost.instructions is None else f"{each.cost.instructions:,.0f}",
    "cycles a step": lambda each: span(each.cycles),
    "microseconds a step": lambda each: span(each.microseconds),
    "likely": lambda each: short(each.likely_microseconds),
    "load": lambda each: "" if each.load is None else span(each.load, percent),
    "likely load": lambda each: "" if each.load is None else percent(each.likely_load),
    "energy a step, uJ": lambda each: UNKNOWN if each.microjoules is None else short(each.microjoules),
    "average current, uA": lambda each: "" if each.rate is None else _average(each),
}


def _cost_on(program: Program, core: str, method: str, inputs: Sequence[np.ndarray] | None) -> tuple[StepCost, str]:
    """A step's cost, and why it was not counted."""
    if method == "modelled":
        return model.predict(program, core), ""
    try:
        if core == "avr":
            return importlib.import_module("keras_s4.costs.avr").measure_on_avr(program), ""
        if core == "rv32":
            return importlib.import_module("keras_s4.costs.riscv").measure_on_riscv(program), ""
        counted = importlib.import_module("keras_s4.costs.counted")
        return counted.measure_on_cortex_m(program, core, inputs=inputs), ""
    except (ImportError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, ImportError):
            reason += "; pip install 'keras-s4[bench]'"
        if method == "counted":
            raise RuntimeError(f"The steps cannot be counted: {reason}") from error
        return model.predict(program, core), f"not counted, but by the cost model: {reason}"
