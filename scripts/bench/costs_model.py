"""The cost model that `keras-s4 estimate` uses where no compiler or emulator is installed, and its errors.

Coefficients are fitted to the counts of models of random sizes and of random architectures, on every core, and tried
on models that they were not fitted to. `--rerun` writes keras_s4/costs/coefficients.json as well. A run over takes
some twenty minutes on two cores, most of it making the models; an interrupted one continues with the same `--cache`.
"""

from __future__ import annotations

import concurrent.futures
import json
import pickle
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from costs_programs import CORES, FIGURES, costs_of, export_architectures, export_sizes
from rich.table import Table

from keras_s4.files import write_bytes
from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart


def compute(
    cache: Path,
    sizes: Annotated[int, typer.Option(help="Models of random sizes to fit to.")] = 8,
    architectures: Annotated[int, typer.Option(help="Models of random architectures to fit to.")] = 14,
    held_out: Annotated[int, typer.Option(help="Of each kind, for the errors.")] = 6,
    jobs: Annotated[int, typer.Option(help="Programs that are measured at once.")] = 2,
) -> Measurement:
    """The cost model and its errors."""
    from keras_s4.costs import model

    # An interrupted run continues; one that comes to its end forgets, since the next measures the code as it is then.
    cache.mkdir(parents=True, exist_ok=True)
    run_apart(export_sizes, {"sizes": ({}, sizes + held_out, cache)}, jobs=1)
    run_apart(export_architectures, {"architectures": (architectures + held_out, cache)}, jobs=1)
    paths = sorted(cache.glob("*.pickle"))
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        rows = dict(zip([path.stem for path in paths], pool.map(measure_once, paths), strict=True))
    fitted = {
        name: row
        for name, row in rows.items()
        if int(name.rpartition("_")[2]) < (sizes if name.startswith("size_") else architectures)
    }
    others = {name: row for name, row in rows.items() if name not in fitted}
    table = fit_table(fitted)
    errors = {core: errors_of(table["cores"][core], core, others) for core in table["cores"]}
    for core, found in errors.items():
        table["cores"][core]["errors"] = {kind: row["likely"] for kind, row in found.items()}
    write_bytes(model.TABLE, (json.dumps(table, indent=1) + "\n").encode())
    for path in paths:
        path.unlink()
        path.with_suffix(".json").unlink()
    found = {"errors": errors, "fitted_to": len(fitted)}
    return Measurement(figures_of_errors(errors), found)


def measure_once(path: Path) -> dict[str, Any]:
    """What `measure` finds, or what an interrupted run has found."""
    return cache_json(path.with_suffix(".json"), lambda: measure(path))


def measure(path: Path) -> dict[str, Any]:
    """What a program's step costs on every core that can be had, and what the cost model may know of it."""
    from keras_s4.costs.features import count_code, count_work, source_of

    program = pickle.loads(path.read_bytes())
    work, code = count_work(program), count_code(source_of(program))
    return {"work": work, "code": code, "cores": costs_of(program), "steps": program.steps}


def fit_table(rows: Mapping[str, Any]) -> dict[str, Any]:
    """The coefficients of all cores."""
    from keras_s4.costs import model

    table: dict[str, Any] = {"fitted_to": len(rows), "cores": {}}
    for core in CORES:
        have = [row for row in rows.values() if core in row["cores"]]
        work = [Counter(row["work"]) for row in have]
        weights = {}
        for figure in FIGURES:
            if have[0]["cores"][core][figure] is not None:
                weights[figure] = model.fit(
                    work, [row["cores"][core][figure] * row["steps"] for row in have], model.expected_work
                )
        code = [Counter(row["code"]) for row in have]
        weights["code"] = model.fit(code, [row["cores"][core]["code_bytes"] for row in have], model.expected_code)
        table["cores"][core] = {"compiler": have[0]["cores"][core]["compiler"], "coefficients": weights}
    return table


def errors_of(entry: Mapping[str, Any], core: str, rows: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Relative errors on models of known sizes and on random architectures: the median and the worst."""
    from keras_s4.costs import model

    found = {}
    for kind, starts in (("sizes", ("size_",)), ("architectures", ("architecture_",))):
        have = [row for name, row in rows.items() if name.startswith(starts) and core in row["cores"]]
        found[kind] = {}
        for figure in ("likely", "code"):
            weights = entry["coefficients"][figure]
            errors = []
            for row in have:
                true = row["cores"][core]["code_bytes"] if figure == "code" else row["cores"][core][figure]
                features = row["code"] if figure == "code" else row["work"]
                steps = 1 if figure == "code" else row["steps"]
                errors.append(abs(model.apply(weights, features) / steps / true - 1))
            found[kind][figure] = [float(np.median(errors)), float(max(errors)), len(errors)] if errors else []
    return found


def figures_of_errors(errors: Mapping[str, Any]) -> list[Figure]:
    """What is asked for."""
    figures = []
    for kind, words, limit in (("sizes", "models of other sizes", 5), ("architectures", "other architectures", 15)):
        for core, found in errors.items():
            if found[kind]["likely"]:
                name = f"{core.upper()}: median error of cycles, {words}"
                figures.append(Figure(name, 100 * found[kind]["likely"][0], at_most=limit, unit="%"))
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """Errors by core."""
    table = Table(
        "core", "sizes: median", "worst", "architectures: median", "worst", "code: median", "worst",
        title=f"Errors of the cost model's likely cycles, and of its bytes of code, on models that are none of the "
        f"{record['fitted_to']} it was fitted to",
    )  # fmt: skip
    for core, errors in record["errors"].items():
        rows = [errors["sizes"]["likely"], errors["architectures"]["likely"], errors["sizes"]["code"]]
        table.add_row(core.upper(), *(f"{row[i]:.1%}" if row else "" for row in rows for i in (0, 1)))
    return [table]


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
