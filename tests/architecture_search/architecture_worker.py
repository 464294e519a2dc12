"""One process of a search over architectures: `main`, to be run in a process of its own.

Every training of a trial adds a line to `FOLDER/trainings.log`. `hang=N` never ends the N-th training of this process;
`together=N` waits in the first for the first trainings of N processes.
"""

import os
import time
from pathlib import Path

from networks import Untrained, search

from keras_s4 import plots
from keras_s4.architecture_search import searching


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def main(output, variables, folder, trials, *options):
    """A search in a folder, with environment variables and options such as "hang=3"; what it says goes into a file."""
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(variables)
    settings = {"hang": 0, "together": 1} | {name: int(value) for name, value in (each.split("=") for each in options)}
    log = Path(folder) / "trainings.log"

    class Logged(Untrained):
        def train(self, model, past, epochs):
            super().train(model, past, epochs)
            mine = [line for line in lines(log) if line.startswith(f"{os.getpid()} ")]
            with log.open("a") as file:
                file.write(f"{os.getpid()} {self.log[-1]}\n")
            if len(mine) + 1 == settings["hang"]:
                time.sleep(600)
            give_up = time.monotonic() + 120
            while (
                not mine
                and len({line.split()[0] for line in lines(log)}) < settings["together"]
                and time.monotonic() < give_up
            ):
                time.sleep(0.1)

    searching.Trainer = Logged
    plots.can_draw = lambda: False
    print(search(folder, trials=int(trials), time_limit=400))
