"""Writes README.md beside it: every measured figure, from the committed results of all scripts.

`python scripts/readme.py` writes it; with `--check` it ends with 1 if the file is not what the results give.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from keras_s4.files import write_bytes
from keras_s4.testing.experiment import Experiment, Figure, figures_of, load_experiments, read_result

SCRIPTS = Path(__file__).parent
PAGE = SCRIPTS / "README.md"
BY_HAND = SCRIPTS / "results" / "by_hand.json"
ROOMS = {
    "bench": "Speed, memory, instructions, errors: the library beside other software, and beside what it cannot avoid",
    "reproduce": "Accuracy on data: trainings with seeds, claims of papers, what integers lose",
    "soak": "What could upset an exported program, a file, or a user",
}
INTRODUCTION = """\
# Every measured figure

Written by `python scripts/readme.py` from `scripts/results/*.json`; do not edit. A test fails when it is stale.

Each script has the same four flags. Without any it shows the committed results; `--check` holds them to their targets
and ends with 1 where one falls short; `--rerun` computes them anew, of which `--cache` keeps what is finished, so that
an interrupted run continues; `--json` writes them to a file. Other options need `--rerun`, and leave the committed
results as they are. A script whose packages are missing says which extra to install.

A new experiment is one file in `bench/`, `reproduce/` or `soak/` with an `EXPERIMENT` (see
`keras_s4/testing/experiment.py`): what it computes, figures with targets, tables, packages that only a run over needs.
No script imports another; what several share stands in `keras_s4/testing/`. Beside them, `setup.sh` makes the
environment, `demo.sh` runs the main job and `test.sh` all tests.
"""


def render_page() -> str:
    """The page that the committed results give."""
    experiments = load_experiments(SCRIPTS)
    records = {path: read_result(experiment.result) for path, experiment in experiments.items()}
    parts = [INTRODUCTION, render_overview(experiments, records)]
    for room, purpose in ROOMS.items():
        parts.append(f"## {room}/\n\n{purpose}.\n")
        for path, experiment in experiments.items():
            if path.parent.name == room:
                parts.append(render_experiment(path, experiment, records[path]))
    return "\n".join([*parts, render_by_hand()])


def render_overview(experiments: dict[Path, Experiment], records: dict[Path, dict[str, Any]]) -> str:
    """A row a script: its targets, and how many are met."""
    rows = []
    for path, experiment in experiments.items():
        targeted = [figure for figure in figures_of(records[path]) if figure.target]
        met = f"{sum(figure.holds for figure in targeted)} of {len(targeted)}" if targeted else "none set"
        name = path.relative_to(SCRIPTS).as_posix()
        link = f"[`{name}`](#{re.sub('[^a-z0-9 _-]', '', experiment.title.lower()).replace(' ', '-')})"
        rows.append([link, experiment.title, str(len(records[path]["figures"])), met])
    return markdown_table(["script", "", "figures", "targets met"], rows)


def render_experiment(path: Path, experiment: Experiment, record: dict[str, Any]) -> str:
    """What a script says of itself, its figures, and its tables."""
    name = path.relative_to(SCRIPTS.parent).as_posix()
    made = [f"`python {name}` shows this; `--rerun` computes it anew"]
    if experiment.needs:
        made[0] += f" and needs `pip install -e '.[{','.join(dict.fromkeys(experiment.needs.values()))}]'`"
    made += [f"settings: {told}" for told in [describe_settings(record)] if told]
    made += [f"measured with {describe_versions(record)}"] if "versions" in record else []
    made += [f"on {record['date']}"] if "date" in record else []
    parts = [f"### {experiment.title}\n", ast.get_docstring(ast.parse(path.read_text())) + "\n"]
    parts += ["; ".join(made) + ".\n", render_figures(figures_of(record))]
    drawing = experiment.result.with_suffix(".svg")
    if experiment.draw and drawing.exists():
        parts.append(f"![{experiment.title}](results/{drawing.name})\n")
    return "\n".join([*parts, *(render_table(table) for table in experiment.tables(record))])


def render_figures(figures: Iterable[Figure]) -> str:
    """Figures beside their targets."""
    rows = []
    for figure in figures:
        verdict = "met" if figure.holds else "**missed**"
        rows.append([figure.name, figure.measured, figure.target, verdict if figure.target else ""])
    return markdown_table(["figure", "measured", "target", ""], rows)


def render_table(table: Table) -> str:
    """A table of the console in Markdown; its bold rows are bold."""
    rows = [list(cells) for cells in zip(*(column.cells for column in table.columns), strict=True)]
    for cells, row in zip(rows, table.rows, strict=True):
        if row.style == "bold":
            cells[:] = [f"**{cell}**" if cell else "" for cell in cells]
    heading = [f"{table.title}:\n"] if table.title else []
    caption = [f"{line}\n" for line in str(table.caption or "").splitlines()]
    columns = [str(column.header) for column in table.columns]
    return "\n".join([*heading, markdown_table(columns, rows), *caption])


def render_by_hand() -> str:
    """What no script measures, with where it comes from."""
    parts = ["## Measured by hand\n", "Without a script; kept in `results/by_hand.json` with its source.\n"]
    for table in json.loads(BY_HAND.read_text())["tables"]:
        parts += [f"### {table['title']}\n", f"{table['source']}\n", markdown_table(table["columns"], table["rows"])]
    return "\n".join(parts)


def describe_settings(record: dict[str, Any]) -> str:
    """What a record says of seeds, rounds and sizes, in words."""
    plain = {key: record[key] for key in ("seed", "seeds", "rounds", "put_together") if key in record}
    plain |= record.get("settings", {})
    if isinstance(record.get("processor"), dict):
        plain["processor"] = f"{record['processor']['processor']}, {record['processor']['cores']} cores"
    return ", ".join(f"{key.replace('_', ' ')} {describe(value)}" for key, value in plain.items())


def describe(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {describe(item)}" for key, item in value.items()) + ")"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def describe_versions(record: dict[str, Any]) -> str:
    """Packages and their versions."""
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + f", {record['machine']}"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main(
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if the page is stale, and leave it.")] = False,
) -> None:
    """Writes the page of all figures."""
    page = render_page().encode()
    if not check:
        write_bytes(PAGE, page)
    elif not PAGE.exists() or PAGE.read_bytes() != page:
        print(f"{PAGE} is stale: run python scripts/readme.py")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
