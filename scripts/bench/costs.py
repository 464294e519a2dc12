"""Instructions, cycles, flash and RAM on every core, and time, load and energy on boards.

- Cores: a step of a model like the demo's (two blocks of 32 channels and 8 modes, 6 inputs, 7 classes) and of the
  classifier that firmware_tests holds to budgets (4 modes), with random weights: instructions counted on emulated
  cores, cycles estimated from published timings as a range with the likely value in it, on the AVR simulated.
- Boards: the first of these models at 50 steps a second on the boards of keras_s4/costs/boards.json.

How far the estimated cycles are from those of real chips stands in keras_s4/costs/README.md. A run over takes some two
minutes.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

from costs_programs import costs_of, export_sizes
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement
from keras_s4.testing.processes import run_apart

RATE = 50.0
SHOWN = {
    "demo": "two blocks of 32 channels and 8 modes, as the demo's",
    "budgets": "two blocks of 32 channels and 4 modes, of the budgets",
}
KNOWN = {"demo": {"states": 8, "steps": 500}, "budgets": {"states": 4, "steps": 150}}


def compute(cache: Path) -> Measurement:
    """Costs on cores and boards."""
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        run_apart(export_sizes, {"sizes": (KNOWN, folder)}, jobs=1)
        programs = {name: pickle.loads((folder / f"{name}.pickle").read_bytes()) for name in SHOWN}
    shown = {name: costs_of(program) for name, program in programs.items()}
    found = {"shown": shown, "boards": estimate_on_boards(programs["demo"])}
    return Measurement(figures_of_costs(shown), found)


def estimate_on_boards(program) -> list[dict[str, Any]]:
    """A program on all boards."""
    from keras_s4.costs import boards, estimate_boards

    return [found.to_json() for found in estimate_boards(program, list(boards()), RATE)]


def figures_of_costs(shown: dict[str, Any]) -> list[Figure]:
    """What is asked for."""
    return [
        Figure("demo's step, Cortex-M4: instructions", shown["demo"]["m4"]["instructions"], at_most=22_000),
        Figure("demo's step, Cortex-M55: instructions", shown["demo"]["m55"]["instructions"], at_most=13_000),
    ]


def tables(record: dict[str, Any]) -> list[Table]:
    """Cores and boards."""
    found = []
    columns = ("core", "instructions", "cycles", "likely", "code", "constants", "RAM", "compiler")
    for name, title in SHOWN.items():
        heading = f"A step of {title}: instructions, cycles (estimated; AVR simulated), bytes"
        table = Table(*columns, title=heading)
        for core, cost in record["shown"][name].items():
            low, high = (f"{cost[end]:,.0f}" for end in ("low", "high"))
            table.add_row(
                core.upper(),
                "" if cost["instructions"] is None else f"{cost['instructions']:,.0f}",
                low if low == high else f"{low} to {high}",
                f"{cost['likely']:,.0f}",
                *(f"{cost[key]:,}" for key in ("code_bytes", "constant_bytes", "ram_bytes")),
                cost["compiler"],
            )
        found.append(table)
    table = Table(
        "board", "core", "MHz", "found by", "us a step", "likely", "load", "uJ a step", "average uA", "fits",
        title=f"The first of these at {RATE:g} steps a second on boards, estimated (AVR simulated)",
    )  # fmt: skip
    for row in record["boards"]:
        word = "simulated" if row["core"] == "avr" and "simulated_cycles" in row else "estimated"
        low, high = (f"{number:,.0f}" for number in row[f"{word}_microseconds"])
        energy, current = row["estimated_microjoules"], row["estimated_average_microamperes"]
        table.add_row(
            row["board"],
            row["core"].upper(),
            f"{row['clock_mhz']:g}",
            "cost model" if row["note"] else "simavr" if word == "simulated" else "counted",
            low if low == high else f"{low} to {high}",
            f"{row[f'{word}_likely_microseconds']:,.0f}",
            f"{row[f'{word}_likely_load']:.2%}",
            "" if energy is None else f"{energy:.3g}",
            "" if current is None else f"{current:.3g}",
            "yes" if row["fits"] else "no",
        )
    found.append(table)
    return found


EXPERIMENT = Experiment(
    title="Cycles, flash and RAM on every core",
    result=Path(__file__).parents[1] / "results" / "bench_costs.json",
    compute=compute,
    packages=("keras-s4", "keras", "numpy", "unicorn"),
    cache=Path("runs/costs"),
    tables=tables,
    needs={"unicorn": "bench", "elftools": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
