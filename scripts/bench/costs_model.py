"""The cost model that `keras-s4 estimate` and searches use, which needs no compiler, and how far it is from one.

Coefficients are fitted to what is counted of networks of all kinds of `keras_s4.architectures`, of models that mix all
layers, of networks of shared modes and with weights of 4 bits, and of single operations cut out of these; then the
model is tried on networks and mixed models that it was not fitted to. All of them run on a Cortex-M4; on the other
cores a part of them does, and what these do not tell is taken from the Cortex-M4. Compilers are GCC for Arm and RISC-V
and avr-gcc, as the record names them.

`--rerun` writes keras_s4/costs/coefficients.json as well. A run over takes some twenty minutes on two cores; an
interrupted one continues with the same `--cache`.
"""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from costs_programs import (
    CORES,
    FIGURES,
    KERNELS,
    bytes_of_kernels,
    choose_programs,
    cost_on,
    export_int4,
    export_kinds,
    export_modes,
    export_operations,
    export_random,
)
from rich.table import Table

from keras_s4.files import write_bytes
from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart

FIRST = "m4"  # the core that all programs run on
LIMIT = 5  # percent
# What errors are of, as `keras-s4` says it: six kinds of architectures, and by the names of programs what else.
SIX = "networks of six kinds"
GROUPS = {
    "random": "models that mix all layers",
    "modes": "networks of shared modes",
    "int4": "networks with weights of 4 bits",
}
TITLES = {"random": "mixed layers", "modes": "shared modes", "int4": "weights of 4 bits"}
# What users ask for, in the order of the tables.
ASKED = ("instructions", "cycles", "code", "flash", "RAM")


def compute(
    cache: Path,
    networks: Annotated[int, typer.Option(help="Of all kinds in turn, to fit to.")] = 60,
    mixed: Annotated[int, typer.Option(help="Models that mix all layers, to fit to.")] = 10,
    held_out: Annotated[int, typer.Option(help="Further networks, for the errors.")] = 14,
    held_out_mixed: Annotated[int, typer.Option(help="Further mixed models, for the errors.")] = 6,
    others: Annotated[int, typer.Option(help="Networks of shared modes, and of 4-bit weights, to fit to.")] = 10,
    held_out_others: Annotated[int, typer.Option(help="Further ones of each, for the errors.")] = 4,
) -> Measurement:
    """The cost model and its errors."""
    from keras_s4.costs import model

    cache.mkdir(parents=True, exist_ok=True)
    run_apart(export_kinds, {"networks": (0, networks + held_out, cache)}, jobs=1)
    run_apart(export_random, {"mixed": (0, mixed + held_out_mixed, cache)}, jobs=1)
    run_apart(export_modes, {"shared modes": (0, others + held_out_others, cache)}, jobs=1)
    run_apart(export_int4, {"weights of 4 bits": (0, others + held_out_others, cache)}, jobs=1)
    run_apart(export_operations, {"operations": (cache,)}, jobs=1)
    # Which index is the first that is held out; of the others `networks`.
    first = {"random": mixed, "modes": others, "int4": others}
    names = sorted(path.stem for path in cache.glob("*.pickle"))
    held = {
        name for name in names if not name.startswith("operation_") and _index(name) >= first.get(_kind(name), networks)
    }
    rows = {FIRST: measured_rows(cache, FIRST, names)}
    for core in (core for core in CORES if core != FIRST):
        chosen = cache_json(cache / f"chosen.{core}.json", lambda core=core: choose_programs(rows[FIRST], held, core))
        rows[core] = measured_rows(cache, core, chosen)
    add_features(rows)
    table = fit_table(
        cache, {core: {n: row for n, row in found.items() if n not in held} for core, found in rows.items()}
    )
    write_bytes(model.TABLE, render_table(table).encode())
    model.coefficients.cache_clear()
    model.coefficients_of.cache_clear()
    errors = {core: errors_of(core, {n: row for n, row in found.items() if n in held}) for core, found in rows.items()}
    for core, found in errors.items():
        table["cores"][core]["errors"] = {
            words: _summary([row["cycles"] for name, row in found.items() if GROUPS.get(_kind(name), SIX) == words])
            for words in (SIX, *GROUPS.values())
        }
    write_bytes(model.TABLE, render_table(table).encode())
    details = {
        "errors": errors,
        "fitted_to": {core: table["cores"][core]["fitted_to"] for core in CORES},
        "compilers": {core: table["cores"][core]["compiler"] for core in CORES},
    }
    return Measurement(figures_of_errors(errors), details)


def measured_rows(cache: Path, core: str, names: Iterable[str]) -> dict[str, Any]:
    """What is counted of programs on a core, and the programs; none that it has no room for."""
    found = {}
    for name in names:
        program = pickle.loads((cache / f"{name}.pickle").read_bytes())
        cost = cache_json(cache / f"{name}.{core}.json", lambda program=program: cost_on(program, core))
        if cost is not None:
            found[name] = {"cost": cost, "steps": program.steps, "program": program}
    return found


def add_features(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """What the cost model may know of the programs, to the rows of each core."""
    from keras_s4.costs.features import count_code, count_work, source_of

    for name in sorted({name for found in rows.values() for name in found}):
        have = {core: found[name] for core, found in rows.items() if name in found}
        source = source_of(next(iter(have.values()))["program"])
        for core, row in have.items():
            row |= {"work": count_work(source, core), "code": count_code(source, core)}


def fit_table(cache: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The coefficients of all cores; what few programs do not tell is as on the first."""
    from keras_s4.costs import model

    fitted: dict[str, dict[str, Any]] = {}
    for core in (FIRST, *(core for core in CORES if core != FIRST)):
        have = list(rows[core].values())
        like = fitted.get(FIRST, {})
        fitted[core] = {}
        for figure in FIGURES:
            if have[0]["cost"][figure] is not None:
                values = [row["cost"][figure] * row["steps"] for row in have]
                work = [Counter(row["work"]) for row in have]
                fitted[core][figure] = model.fit_figure(
                    work, values, model.guess_of_work, like=like.get("instructions")
                )
        known = cache_json(cache / f"{KERNELS}.{core}.json", lambda core=core: bytes_of_kernels(cache, core))
        code, values = [Counter(row["code"]) for row in have], [row["cost"]["code_bytes"] for row in have]
        fitted[core]["code"] = model.fit_figure(code, values, model.guess_of_code, known, like.get("code"))
    names = {
        "work": sorted({name for found in fitted.values() for f in FIGURES if f in found for name in found[f].known}),
        "code": sorted({name for found in fitted.values() for name in found["code"].known}),
    }
    names["words of work"] = sorted({word for name in names["work"] for word in model.words_of(name)})
    names["words of code"] = sorted({word for name in names["code"] for word in model.words_of(name)})
    table: dict[str, Any] = {"names": names, "cores": {}}
    for core in CORES:
        columns = {}
        for figure, found in fitted[core].items():
            kind = "code" if figure == "code" else "work"
            columns[figure] = {
                "known": [_short(found.known.get(name)) for name in names[kind]],
                "words": [_short(found.words.get(word)) for word in names[f"words of {kind}"]],
            }
        compiler = next(iter(rows[core].values()))["cost"]["compiler"]
        table["cores"][core] = {
            "compiler": compiler,
            "fitted_to": len(rows[core]),
            "errors": {},
            "coefficients": columns,
        }
    return table


def render_table(table: Mapping[str, Any]) -> str:
    """JSON with a line for each name and each list of numbers."""
    text = json.dumps(table, indent=1)
    return re.sub(r"\[\s+([-+.,\de\snul]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def errors_of(core: str, rows: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Relative errors, by the program's name and what is asked for."""
    from keras_s4.costs import model

    found = {}
    for name, row in rows.items():
        told, cost = model.predict(row["program"], core), row["cost"]
        pairs = {
            "instructions": (told.instructions, cost["instructions"]),
            "cycles": (told.likely_cycles, cost["likely"]),
            "code": (told.code_bytes, cost["code_bytes"]),
            "flash": (told.flash_bytes, cost["code_bytes"] + cost["constant_bytes"]),
            "RAM": (told.ram_bytes, cost["ram_bytes"]),
        }
        found[name] = {what: guess / true - 1 for what, (guess, true) in pairs.items() if true}
    return found


def figures_of_errors(errors: Mapping[str, Any]) -> list[Figure]:
    """What is asked for: on the first core for every kind, on the others for all networks."""
    figures = []
    for kind, found in by_kind(errors[FIRST]).items():
        for what in ("instructions", "cycles", "flash", "RAM"):
            median, worst = _percent([row[what] for row in found])
            figures.append(Figure(f"{FIRST.upper()}, {kind}: median error of {what}", median, at_most=LIMIT, unit="%"))
            figures.append(Figure(f"{FIRST.upper()}, {kind}: worst error of {what}", worst, unit="%"))
    for core in CORES:
        found = [row for name, row in errors[core].items() if _kind(name) != "random"]
        for what in ("cycles", "flash") if core != FIRST and found else ():
            median, worst = _percent([row[what] for row in found])
            figures.append(Figure(f"{core.upper()}, networks: median error of {what}", median, at_most=LIMIT, unit="%"))
            figures.append(Figure(f"{core.upper()}, networks: worst error of {what}", worst, unit="%"))
    return figures


def by_kind(errors: Mapping[str, Mapping[str, float]]) -> dict[str, list[Mapping[str, float]]]:
    """Errors of programs of one kind together, under the name that the tables have for it."""
    found = defaultdict(list)
    for name, row in errors.items():
        found[TITLES.get(_kind(name), _kind(name).upper())].append(row)
    return dict(sorted(found.items()))


def tables(record: dict[str, Any]) -> list[Table]:
    """Errors by kind on the first core, and by core."""
    heads = [head for what in ASKED for head in (f"{what}: median", "worst")]
    title = f"Errors of the cost model on programs that it was not fitted to, {FIRST.upper()}, by kind (median, worst)"
    kinds = Table("networks", "", *heads, title=title)
    for kind, found in by_kind(record["errors"][FIRST]).items():
        kinds.add_row(kind, str(len(found)), *_cells(found))
    cores = Table(
        "core", "fitted to", "tried on", *heads, "compiler", title="The same on every core, all kinds together"
    )
    for core, errors in record["errors"].items():
        cells = _cells(list(errors.values()))
        cores.add_row(core.upper(), str(record["fitted_to"][core]), str(len(errors)), *cells, record["compilers"][core])
    return [kinds, cores]


def _cells(found: list[Mapping[str, float]]) -> list[str]:
    cells = []
    for what in ASKED:
        values = [row[what] for row in found if what in row]
        cells += [f"{value:.1f}%" for value in _percent(values)] if values else ["", ""]
    return cells


def _percent(errors: list[float]) -> tuple[float, float]:
    """The median and the worst, without signs."""
    sizes = 100 * np.abs(errors)
    return float(np.median(sizes)), float(np.max(sizes))


def _summary(errors: list[float]) -> list[float]:
    """For the table: the median, the worst, and of how many; empty of fewer than two."""
    return [*(value / 100 for value in _percent(errors)), len(errors)] if len(errors) > 1 else []


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _kind(name: str) -> str:
    return name.rpartition("_")[0]


def _index(name: str) -> int:
    return int(name.rpartition("_")[2])


EXPERIMENT = Experiment(
    title="Errors of the cost model",
    result=Path(__file__).parents[1] / "results" / "bench_cost_model.json",
    compute=compute,
    packages=("keras-s4", "keras", "numpy", "scipy", "unicorn"),
    cache=Path("runs/cost_model"),
    tables=tables,
    needs={"unicorn": "bench", "elftools": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
