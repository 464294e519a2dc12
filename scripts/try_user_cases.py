"""What users bring: models, padding, units, heads, files, boards. Each case has a right answer that we did not choose.

The cases stand in `user_cases/`, by kind (A: wrong results without a word; B: what did not work at all; C: TensorFlow
Lite Micro; E: words). A case ends right, refused (with a message that says what to do, where that is an answer), wrong
or crashed. References are Keras' own outputs, numpy, and files looked into.

It takes some minutes on two cores, and ends with 1 if a case was wrong or crashed.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from measuring import RESULTS
from rich.console import Console
from rich.table import Table

from keras_s4.files import write_bytes

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
RESULT = RESULTS / "user_cases.json"


def main(
    only: Annotated[str, typer.Option(help="Kinds, separated by commas, as in A1,B2.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the verdicts are written.")] = RESULT,
) -> None:
    """Tries the cases."""
    from user_cases.case import CASES, judge

    warnings.simplefilter("ignore")
    for name in MODULES:
        importlib.import_module(f"user_cases.{name}")
    kinds = set(only.split(",")) - {""}
    chosen = [case for case in CASES if not kinds or case.kind in kinds]
    rows = []
    for case in chosen:
        outcome = judge(case)
        rows.append({"kind": case.kind, "case": case.title, "verdict": outcome.verdict, "detail": outcome.detail})
        print(f"{case.kind:<4}{outcome.verdict:<9}{case.title}", flush=True)
    bad = show(rows)
    if json_file is not None and not kinds:
        write_bytes(json_file, (json.dumps({"cases": rows}, indent=2, ensure_ascii=False) + "\n").encode())
    raise typer.Exit(1 if bad else 0)


def show(rows: list[dict[str, str]]) -> int:
    """Prints counts by kind, and every case that is not right; how many are wrong or crashed."""
    console, verdicts = Console(), ("right", "refused", "wrong", "crashed")
    table = Table("kind", *verdicts, title="What users bring")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        counts = Counter(row["verdict"] for row in rows if row["kind"] == kind)
        table.add_row(kind, *(str(counts[verdict] or "") for verdict in verdicts))
    counts = Counter(row["verdict"] for row in rows)
    table.add_row("all", *(str(counts[verdict] or "") for verdict in verdicts), style="bold")
    console.print(table)
    for row in rows:
        if row["verdict"] != "right":
            console.print(
                f"{row['kind']} {row['verdict']}: {row['case']}: {row['detail']}", markup=False, highlight=False
            )
    return counts["wrong"] + counts["crashed"]


if __name__ == "__main__":
    typer.run(main)
