"""What every measuring script shares: figures beside their targets, a table, a JSON file, and the verdict."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib.metadata
import json
import multiprocessing
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from keras_s4.files import write_bytes

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        name: what was measured.
        value: the number.
        at_most: the target that it must not exceed, or None.
        at_least: the target that it must reach, or None. Without a target the figure is only told.
        unit: printed behind the number.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the target is met; never for NaN."""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return bool(above and below and self.value == self.value)

    @property
    def target(self) -> str:
        """The target in words."""
        bounds = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {bound:g}{self.unit}" for word, bound in bounds if bound is not None)


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of these packages."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def record_of(figures: Iterable[Figure], packages: Iterable[str], **details: Any) -> dict[str, Any]:
    """Figures and details as what is written to JSON."""
    rows = [dataclasses.asdict(figure) | {"value": float(figure.value), "holds": figure.holds} for figure in figures]
    return {"figures": rows, **details, "versions": versions(*packages), "machine": platform.machine()}


def read_result(path: Path) -> dict[str, Any]:
    """A committed record.

    Raises:
        FileNotFoundError: there is none yet.
    """
    if not path.exists():
        raise FileNotFoundError(f"There are no results in {path} yet; compute them with --rerun.")
    return json.loads(path.read_text())


def figures_of(record: dict[str, Any]) -> list[Figure]:
    """The figures of a record."""
    return [Figure(**{key: value for key, value in row.items() if key != "holds"}) for row in record["figures"]]


def seeds_by_task(text: str) -> dict[str, int]:
    """How many seeds each task has, from text such as "rows:5,smartwatch:3"."""
    return {name: int(count) for name, _, count in (task.partition(":") for task in text.split(","))}


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """What a JSON file holds, or where there is none what `compute` returns, which it then holds."""
    if not path.exists():
        found = compute()
        write_bytes(path, json.dumps(found).encode())
        print(f"{path.parent.name}: {path.stem} {found if isinstance(found, float) else ''}", flush=True)
    return json.loads(path.read_text())


def run_apart(run: Callable[..., Any], arguments: Mapping[str, tuple], jobs: int) -> dict[str, Any]:
    """The results of `run(*arguments[name])` by name, each in a process of its own, several at a time.

    TensorFlow does not give back what it holds.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = {name: pool.submit(run, *values) for name, values in arguments.items()}
        return {name: future.result() for name, future in waiting.items()}


def conclude(title: str, record: dict[str, Any], json_file: Path | None, check: bool) -> None:
    """Prints the figures, writes the record, and under `--check` exits with 1 naming what falls short."""
    console = Console()
    figures = figures_of(record)
    table = Table("figure", "measured", "target", "", title=title)
    for figure in figures:
        verdict = "" if not figure.target else "[green]holds[/]" if figure.holds else "[red]falls short[/]"
        table.add_row(figure.name, f"{figure.value:.4g}{figure.unit}", figure.target, verdict)
    console.print(table)
    if json_file is not None:
        write_bytes(json_file, (json.dumps(record, indent=2) + "\n").encode())
    short = [figure for figure in figures if not figure.holds]
    for figure in short if check else ():
        console.print(f"[red]falls short[/]: {figure.name}: {figure.value:g}{figure.unit}, target {figure.target}")
    raise typer.Exit(1 if check and short else 0)
