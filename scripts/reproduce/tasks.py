"""From recordings to firmware by commands alone: the built-in tasks, and two folders that nobody prepared.

A built-in task goes through `keras-s4 run NAME`. Of the folders, one holds the appliance currents as CSV (a file a
recording with its time in seconds, folders for the published split and for the classes), the other the keywords as WAV
(a file a word, a folder for each, speakers by number in the names). From them three commands lead to running firmware:
`keras-s4 new FOLDER`, `keras-s4 run TASK.toml`, and `make run`, whose own check compares results and decisions with
those of Python. Nobody edits anything in between.

Labels are compared on all test windows between the Keras model that was converted, after aware training, and the device
(the emulator, which TensorFlow Lite Micro and C equal). Accuracies are of the test data; nothing is chosen by them.
Where a task has tens of thousands of windows, trainings are shorter and networks smaller than those of the defaults;
the record says what they were.

A run over takes some two hours on one core; interrupt it whenever you like, it continues where it was. Data that is
not on this computer is named before anything runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart

# Options of `keras-s4 run` for each built-in task whose data can be had without asking anybody. Fashion-MNIST by pixel,
# whose training takes hours, is in `export.py`.
SHORT = ("--epochs", "3", "--retrain-epochs", "2", "--aware-epochs", "1")
SMALL = ("--epochs", "1", "--retrain-epochs", "1", "--aware-epochs", "1", "--channels", "8", "--states", "8")
TASKS: dict[str, tuple[str, ...]] = {
    "smartwatch": (),
    "appliances": (),
    "drums": (),
    "keywords": (),
    "fashion-mnist-rows": SHORT,
    "mnist-pixels": SMALL,
}
SETTINGS = ("channels", "states", "epochs", "retrain_epochs", "aware_epochs")
LEAST_EQUAL = 99.0
COMPARISON = re.compile(r"(\d+) [^.\n]*, (\d+) of them differ\.")


def write_csv(folder: Path) -> None:
    """The appliance currents, a file a recording."""
    from keras_s4.datasets import appliances_task
    from keras_s4.datasets.appliances import APPLIANCE_RATE, APPLIANCES

    splits = appliances_task().splits
    parts = {"train": (splits[0], splits[1]), "test": (splits[2],)}
    for part, members in parts.items():
        for recordings in members:
            for signal, label, number in zip(recordings.signals, recordings.labels, recordings.sources, strict=True):
                path = folder / part / APPLIANCES[label] / f"{number:04d}.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                table = np.column_stack([np.arange(len(signal)) / APPLIANCE_RATE, signal])
                np.savetxt(path, table, ["%.7f", "%.6g"], ",", header="time_s,current", comments="")


def write_wav(folder: Path) -> None:
    """One utterance of each keyword by each speaker, a file each."""
    import scipy.io.wavfile

    from keras_s4.datasets.speech import KEYWORD_RATE, KEYWORDS, keywords_task

    for recordings in keywords_task(frames=False, utterances=1).splits:
        for signal, label, speaker in zip(recordings.signals, recordings.labels, recordings.subjects, strict=True):
            path = folder / KEYWORDS[label] / f"speaker{speaker:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            scipy.io.wavfile.write(path, KEYWORD_RATE, np.round(32767 * signal.ravel()).astype(np.int16))


FOLDERS: dict[str, Callable[[Path], None]] = {"appliances_csv": write_csv, "keywords_wav": write_wav}


def command(*arguments: str | Path, within: Path) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed; the end of what it said.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "120"}
    done = subprocess.run(
        list(map(str, arguments)), cwd=within, capture_output=True, text=True, env=os.environ | quiet, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def keras_s4(*arguments: str | Path, within: Path) -> str:
    """What `keras-s4` of this environment prints."""
    return command(Path(sys.executable).with_name("keras-s4"), *arguments, within=within)


def run_task(name: str, options: Sequence[str], cache: Path) -> dict[str, Any]:
    """The figures of a built-in task."""
    keras_s4("run", name, *options, "--out", name, within=cache)
    return figures_of_run(cache / name)


def run_folder(name: str, options: Sequence[str], cache: Path) -> dict[str, Any]:
    """The figures of a folder of files, by three commands."""
    if not (cache / name).exists():
        FOLDERS[name](cache / f"{name}.part")
        (cache / f"{name}.part").rename(cache / name)
    (cache / f"{name}.toml").unlink(missing_ok=True)
    keras_s4("new", name, within=cache)
    keras_s4("run", f"{name}.toml", *options, within=cache)
    result = cache / "runs" / name
    said = command("make", "-C", result / "firmware" / "firmware", "run", within=cache)
    checks = [list(map(int, found.groups())) for found in COMPARISON.finditer(said)]
    compared, differing = (sum(column) for column in zip(*checks, strict=True))
    return figures_of_run(result) | {"firmware_compared": compared, "firmware_differing": differing}


def figures_of_run(folder: Path) -> dict[str, Any]:
    """What the record keeps of a `summary.json`, shares as fractions."""
    summary = json.loads((folder / "summary.json").read_text())
    rows = {row["row"]: row for row in summary["table"]}
    streams = summary["streams"] or {}
    return {
        "windows": summary["test_windows"],
        "settings": {key: summary["settings"][key] for key in SETTINGS},
        **{name.lower(): rows[f"Keras {name}"]["accuracy"] for name in ("trained", "retrained", "aware")},
        "device": rows["emulator"]["accuracy"],
        "equal": rows["emulator"]["agreement"],
        "engines": {name: rows[name]["agreement"] for name in ("emulator", "TFLM", "C99") if name in rows},
        "settled": {way: streams[way]["settled_accuracy"] for way in ("keras", "device") if way in streams},
    }


RUNS = {name: run_task for name in TASKS} | {name: run_folder for name in FOLDERS}


def run_once(name: str, options: tuple[str, ...], cache: Path) -> dict[str, Any]:
    """The figures of a run, from the cache where it is finished."""
    return cache_json(cache / f"{name}.json", lambda: RUNS[name](name, options, cache))


def read_data(name: str) -> None:
    """Reads a built-in task's data, so that what is missing is known before anything runs."""
    from keras_s4.datasets import BUILT_IN

    BUILT_IN[name]().splits  # noqa: B018


def compute(
    cache: Path,
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(RUNS)}, with commas between.")] = ",".join(RUNS),
    jobs: Annotated[int, typer.Option(help="Runs at a time.", min=1)] = 1,
) -> Measurement:
    """Every task by the command, each in a process of its own."""
    names = only.split(",")
    unknown = set(names) - set(RUNS)
    if unknown:
        raise typer.BadParameter(f"--only got {', '.join(sorted(unknown))}; expected some of {', '.join(RUNS)}.")
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if name in TASKS and not (cache / f"{name}.json").exists()]
    run_apart(read_data, {name: (name,) for name in missing}, jobs)
    runs = run_apart(run_once, {name: (name, TASKS.get(name, ()), cache) for name in names}, jobs)
    return Measurement(summarise(runs), {"runs": runs})


def summarise(runs: dict[str, dict[str, Any]]) -> list[Figure]:
    """Equal labels of each, and what the firmware's own check says."""
    figures = [
        Figure(f"{name}: equal labels on the device", 100 * run["equal"], at_least=LEAST_EQUAL, unit="%")
        for name, run in runs.items()
    ]
    for name, run in runs.items():
        if name in FOLDERS:
            figures.append(Figure(f"{name}: results that the firmware's check compared", run["firmware_compared"]))
            figures.append(Figure(f"{name}: of these differ", run["firmware_differing"], at_most=0))
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """Accuracies on test data, by run."""
    columns = ("trained", "retrained", "aware", "device")
    heads = (*(f"{name}, %" if name == "device" else f"Keras {name}, %" for name in columns), "equal labels, %")
    table = Table("run", "width, states, epochs", "test windows", *heads, "settled in streams, %", title="Test data")
    for name, run in record["runs"].items():
        width, states, *epochs = run["settings"].values()
        sizes = f"{width}, {states}, {' + '.join(map(str, epochs))}"
        shares = [f"{100 * run[column]:.1f}" for column in (*columns, "equal")]
        settled = " -> ".join(f"{100 * share:.1f}" for share in run["settled"].values())
        table.add_row(name, sizes, f"{run['windows']:,}", *shares, settled)
    return [table]


EXPERIMENT = Experiment(
    title="From recordings to firmware",
    result=Path(__file__).parents[1] / "results" / "tasks.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "tflite-micro", "numpy", "scipy"),
    cache=Path("runs/reproduce_tasks"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
