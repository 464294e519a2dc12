"""Processes that are forked from one that has loaded TensorFlow and run nothing: they need not load it again."""

import contextlib
import multiprocessing
import os
from pathlib import Path

import pytest

# Seconds after which a worker hangs.
LIMIT = 420


def process_of(worker):
    """The class of processes that have a worker's module loaded, `multiprocessing.Process` otherwise."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker.__name__])
    with pytest.MonkeyPatch.context() as environment:
        # Where the server finds it: it knows nothing of the search path of this process.
        environment.setenv("PYTHONPATH", str(Path(worker.__file__).parent), os.pathsep)
        context.Process().start()
    return context.Process


@contextlib.contextmanager
def workers_of(process, worker, folder):
    """A function that starts workers, which end with the context.

    It takes arguments of `worker.main`, which gets them as words, and variables of the environment; `output` of the
    process that it returns is the file in the folder that it writes to.
    """
    processes = []

    def start(*arguments, **variables):
        output = folder / f"output_{len(processes)}.txt"
        started = process(target=worker.main, args=(output, variables, *map(str, arguments)))
        started.start()
        started.output = output
        processes.append(started)
        return started

    yield start
    for started in processes:
        started.kill()
        started.join()


def ended(process):
    """Waits for a worker, and asserts that nothing went wrong."""
    process.join(LIMIT)
    assert process.exitcode == 0, process.output.read_text()[-3000:]
