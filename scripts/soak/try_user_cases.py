"""What users bring: models, padding, units, heads, files, boards. Each case has a right answer that we did not choose.

The cases stand in `user_cases/`, by kind (A: wrong results without a word; B: what did not work at all; C: TensorFlow
Lite Micro; E: words). A case ends right, refused (with a message that says what to do, where that is an answer), wrong
or crashed. References are Keras' own outputs, numpy, and files looked into.

A run over takes some minutes on two cores.
"""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts

MODULES = (
    "copies",
    "padding",
    "units",
    "heads",
    "parts",
    "saving",
    "arguments",
    "graphs",
    "backends",
    "micro",
    "neighbours",
)
VERDICTS = ("right", "refused", "wrong", "crashed")
Row = dict[str, str]


def compute(
    cache: Path,
    only: Annotated[str, typer.Option(help="Kinds, separated by commas, as in A1,B2.")] = "",
) -> Measurement:
    """Tries the cases."""
    from user_cases.case import CASES

    warnings.simplefilter("ignore")
    for name in MODULES:
        importlib.import_module(f"user_cases.{name}")
    kinds = set(only.split(",")) - {""}
    known = {case.kind for case in CASES}
    if kinds - known:
        raise typer.BadParameter(f"Received --only {only}; the kinds are {', '.join(sorted(known))}.")
    rows: list[Row] = []
    with finished_parts(cache, only=only) as part:
        for name in MODULES:
            chosen = [case for case in CASES if case.run.__module__.endswith(f".{name}")]
            chosen = [case for case in chosen if not kinds or case.kind in kinds]
            rows += part(name, lambda chosen=chosen: try_cases(chosen))
    return Measurement(figures_of_cases(rows), {"cases": rows})


def try_cases(cases: list[Any]) -> list[Row]:
    """The verdict on each case, which is also printed."""
    from user_cases.case import judge

    rows = []
    for case in cases:
        outcome = judge(case)
        rows.append({"kind": case.kind, "case": case.title, "verdict": outcome.verdict, "detail": outcome.detail})
        print(f"{case.kind:<4}{outcome.verdict:<9}{case.title}", flush=True)
    return rows


def figures_of_cases(rows: list[Row]) -> list[Figure]:
    """How many cases ended how."""
    counts = Counter(row["verdict"] for row in rows)
    words = {
        "right": "give what the reference gives",
        "refused": "refused, with what to do",
        "wrong": "wrong without a word",
        "crashed": "crashed, or refused without what to do",
    }
    targets = {"wrong": 0, "crashed": 0}
    return [
        Figure(f"{len(rows)} cases: {words[verdict]}", counts[verdict], at_most=targets.get(verdict))
        for verdict in VERDICTS
    ]


def tables(record: dict[str, Any]) -> list[Table]:
    """Counts by kind, and every case that is not right."""
    rows = record["cases"]
    counts = Table("kind", *VERDICTS, title="What users bring, by kind")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        found = Counter(row["verdict"] for row in rows if row["kind"] == kind)
        counts.add_row(kind, *(str(found[verdict] or "") for verdict in VERDICTS))
    others = Table("kind", "verdict", "case", title="Cases that did not end right")
    for row in rows:
        if row["verdict"] != "right":
            others.add_row(row["kind"], row["verdict"], row["case"])
    return [counts, others]


EXPERIMENT = Experiment(
    title="What users bring",
    result=Path(__file__).parents[1] / "results" / "user_cases.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "tflite-micro"),
    cache=Path("runs/user_cases"),
    tables=tables,
)

if __name__ == "__main__":
    EXPERIMENT.run()
