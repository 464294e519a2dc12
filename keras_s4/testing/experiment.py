"""The one shape of an experiment: what it computes, figures with targets, tables, a committed record, four flags.

A script makes an `Experiment` and runs it. Without `--rerun` the committed record is shown; `--check` holds its figures
to their targets and ends with 1 where one falls short; `--json` writes the record to a file; `--cache` says where what
a run finishes is kept, so that an interrupted one continues. What else `compute` takes are further options, for which
`--rerun` is needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from keras_s4.files import write_bytes
from keras_s4.tables import whole_width

Part = Callable[[str, Callable[[], Any]], Any]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured number.

    Args:
        name: what was measured.
        value: the number.
        at_most: the target that it must not exceed, or None.
        at_least: the target that it must reach, or None. Without a target the figure is only told.
        unit: text that is printed behind the number.
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
        """The target in words, or an empty string."""
        bounds = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {bound:g}{self.unit}" for word, bound in bounds if bound is not None)

    @property
    def measured(self) -> str:
        """The value with its unit: whole and large numbers in full, others with four digits."""
        in_full = float(self.value).is_integer() or 1e3 <= abs(self.value) < 1e12
        return f"{self.value:,.0f}{self.unit}" if in_full else f"{self.value:.4g}{self.unit}"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What an experiment, or a part of it, has found.

    Args:
        figures: numbers, with their targets.
        details: what else the record holds, ready for JSON.
    """

    figures: list[Figure]
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The measurement as what JSON can hold."""
        return {"figures": [dataclasses.asdict(figure) for figure in self.figures], "details": self.details}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measurement:
        """The measurement that `to_json` gave."""
        return cls([Figure(**row) for row in value["figures"]], value["details"])


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a script measures, and how it is shown.

    Args:
        title: heading of the figures.
        result: JSON file of the committed record, which a run over with the default options replaces.
        compute: function of the folder `cache` and of the script's own options, annotated for typer, all with defaults.
        packages: distributions whose versions the record holds.
        cache: default folder for what is finished and for trained models.
        tables: function from a record to what is shown above its figures.
        draw: function that draws a record into a file, for the option `--figure`.
        needs: extra of keras-s4 that installs it, by the name of each module that only a run over needs.
    """

    title: str
    result: Path
    compute: Callable[..., Measurement]
    packages: tuple[str, ...]
    cache: Path
    tables: Callable[[dict[str, Any]], Iterable[Table]] = lambda record: ()
    draw: Callable[[dict[str, Any], Path], None] | None = None
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def run(self) -> None:
        """Runs as a program."""
        typer.run(self.command())

    def command(self) -> Callable[..., None]:
        """The function that typer makes a program of: the common flags, then the options of `compute`."""
        common = inspect.signature(_flags, eval_str=True).parameters
        own = inspect.signature(self.compute, eval_str=True).parameters
        parameters = [
            common["rerun"],
            common["json_file"],
            common["check"],
            common["cache"].replace(default=self.cache),
        ]
        parameters += [common["figure"]] if self.draw else []
        parameters += [parameter for name, parameter in own.items() if name != "cache"]

        def main(**values: Any) -> None:
            self._run(**values)

        main.__signature__ = inspect.Signature(
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        main.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        main.__doc__ = f"{self.title}."
        return main

    def record_of(self, found: Measurement) -> dict[str, Any]:
        """What was found as the record that is written."""
        rows = [
            dataclasses.asdict(figure) | {"value": float(figure.value), "holds": figure.holds}
            for figure in found.figures
        ]
        versions = {name: importlib.metadata.version(name) for name in self.packages}
        return {
            "figures": rows,
            **found.details,
            "versions": {"python": platform.python_version(), **versions},
            "machine": platform.machine(),
            "date": datetime.date.today().isoformat(),
        }

    def _run(
        self,
        *,
        rerun: bool,
        json_file: Path | None,
        check: bool,
        cache: Path,
        figure: Path | None = None,
        **options: Any,
    ) -> None:
        changed = self._changed(options)
        if changed and not rerun:
            raise typer.BadParameter(
                f"{', '.join(changed)} needs --rerun; the committed results are those of the default options."
            )
        if rerun:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            try:
                require(self.needs)
            except ModuleNotFoundError as missing:
                print(missing, file=sys.stderr)
                raise typer.Exit(2) from None
            record = self.record_of(self.compute(cache, **options))
            json_file = json_file or (None if changed else self.result)
        else:
            record = read_result(self.result)
        for table in self.tables(record):
            show_whole(table)
        if figure is not None:
            self.draw(record, figure)
        if json_file is not None:
            write_bytes(json_file, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
        elif changed:
            sentence = "Options were changed: the committed results stay as they are; --json FILE keeps these."
            Console().print(sentence, soft_wrap=True)
        conclude(self.title, figures_of(record), check)

    def _changed(self, options: dict[str, Any]) -> list[str]:
        """The options that differ from their defaults, as they are written."""
        parameters = inspect.signature(self.compute).parameters
        names = [name for name, value in options.items() if value != parameters[name].default]
        return ["--" + name.replace("_", "-") for name in names]


def _flags(
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute the results anew instead of reading them.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a figure falls short of its target.")] = False,
    cache: Annotated[Path, typer.Option(help="Where finished parts and trained models are kept.")] = Path("runs"),
    figure: Annotated[Path | None, typer.Option(help="Draw the results into this file (.svg, .png).")] = None,
) -> None:
    """The flags that every experiment has; `--figure` only those that draw."""


def require(needs: Mapping[str, str]) -> None:
    """Refuses to begin without modules.

    Args:
        needs: extra of keras-s4 that installs it, by the name of each module.

    Raises:
        ModuleNotFoundError: some are not installed; says which extras to install.
    """
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(needs[name] for name in missing))
        modules = ", ".join(missing)
        raise ModuleNotFoundError(
            f"This needs {modules}, which {'is' if len(missing) == 1 else 'are'} not installed. Install what is "
            f"missing, in the checkout, with: pip install -e '.[{extras}]'"
        )


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


def show_whole(table: Table) -> None:
    """Prints a table as wide as it is: in 80 columns, as in a file or a pipe, rich would cut its cells off."""
    Console(width=max(Console().width, whole_width(table))).print(table)


def conclude(title: str, figures: list[Figure], check: bool) -> None:
    """Prints figures beside their targets.

    Raises:
        typer.Exit: with 1, where `check` is true and a figure falls short.
    """
    table = Table("figure", "measured", "target", "", title=title)
    for figure in figures:
        verdict = "" if not figure.target else "[green]holds[/]" if figure.holds else "[red]falls short[/]"
        table.add_row(figure.name, figure.measured, figure.target, verdict)
    show_whole(table)
    short = [figure for figure in figures if not figure.holds]
    for figure in short if check else ():
        sentence = f"[red]falls short[/]: {figure.name}: {figure.measured}, target {figure.target}"
        Console().print(sentence, soft_wrap=True)
    raise typer.Exit(1 if check and short else 0)


def seeds_by_task(text: str) -> dict[str, int]:
    """How many seeds each task has, from text such as "rows:5,smartwatch:3"."""
    return {name: int(count) for name, _, count in (task.partition(":") for task in text.split(","))}


def load_experiments(folder: Path) -> dict[Path, Experiment]:
    """The experiments of the scripts in a folder and its subfolders, by the path of the script.

    A script is a file that makes an `EXPERIMENT`; modules beside it, which it imports, make none.
    """
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if "\nEXPERIMENT = " not in path.read_text():
            continue
        sys.path.insert(0, str(path.parent))  # as Python does for a program
        try:
            found[path] = runpy.run_path(str(path))["EXPERIMENT"]
        finally:
            sys.path.remove(str(path.parent))
    return found


def cache_json(path: Path, compute: Callable[[], Any]) -> Any:
    """What a JSON file holds, or where there is none what `compute` returns, which it then holds."""
    if not path.exists():
        found = compute()
        write_bytes(path, json.dumps(found).encode())
        print(f"{path.parent.name}: {path.stem} {found if isinstance(found, float) else ''}", flush=True)
    return json.loads(path.read_text())


@contextlib.contextmanager
def finished_parts(cache: Path, **options: Any) -> Iterator[Part]:
    """A function `part(name, compute)` that does not compute again what an interrupted run with these options has.

    A run that comes to its end forgets its parts: the next one measures the code as it is then.

    Args:
        cache: folder of the parts.
        options: all that the parts depend on.
    """
    digest = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:8]
    used: list[Path] = []

    def part(name: str, compute: Callable[[], Any]) -> Any:
        used.append(cache / f"{name.replace(' ', '_').replace('/', '_')}-{digest}.json")
        return cache_json(used[-1], compute)

    yield part
    for path in used:
        path.unlink(missing_ok=True)


def measure_parts(part: Part, parts: Mapping[str, Callable[[], Measurement]]) -> dict[str, Measurement]:
    """The measurements of several parts by name, in their order."""
    return {
        name: Measurement.from_json(part(name, lambda measure=measure: measure().to_json()))
        for name, measure in parts.items()
    }
