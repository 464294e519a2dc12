"""One process of a search: `main`, to be run in a process of its own.

Every training of a trial adds a line to `FOLDER/trainings.log`. `hang=N` never ends the N-th training of this process;
`together=N` waits in the first for the first trainings of N processes.
"""

import functools
import os
import time
from pathlib import Path

from search_models import matrix_model, windows

from keras_s4.compression.search import search

CHOICES = {"first/kernel": (1, 2, 8), "second/kernel": (1, 2, 8), "head/kernel": (2,)}
BUDGETS = {"bytes": 400}


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def logged_training(log, model, epochs, hang=0, together=1):
    """Takes down which model is trained where."""
    mine = [line for line in lines(log) if line.startswith(f"{os.getpid()} ")]
    shapes = " ".join("x".join(map(str, weight.shape)) for weight in model.weights)
    with log.open("a") as file:
        file.write(f"{os.getpid()} {shapes}\n")
    if len(mine) + 1 == hang:
        time.sleep(600)
    if not mine:
        give_up = time.monotonic() + 120
        while len({line.split()[0] for line in lines(log)}) < together and time.monotonic() < give_up:
            time.sleep(0.1)


def counted(model):
    return {"bytes": model.count_params()}


def run(folder, tuner, trials, **options):
    log = Path(folder) / "trainings.log"
    return search(
        matrix_model(),
        *windows(16, 0),
        validation_data=windows(16, 1),
        folder=folder,
        tuner=tuner,
        trials=trials,
        choices=CHOICES,
        budgets=BUDGETS,
        measure=counted,
        metric="loss",
        retrain=functools.partial(logged_training, log, **options),
        time_limit=400,
    )


def main(output, variables, folder, tuner, trials, *options):
    """A search in a folder, with environment variables and options such as "hang=3"; what it says goes into a file."""
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(variables)
    options = dict(option.split("=") for option in options)
    print(run(folder, tuner, int(trials), **{name: int(value) for name, value in options.items()}))
