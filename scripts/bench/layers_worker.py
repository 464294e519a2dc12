"""Processes that `layers.py` measures in: one for each layer, length and way of compilation.

A process of its own shows what memory a step takes, can be stopped when it takes too long, and may die for lack of
memory without taking the others along. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import ctypes
import dataclasses
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_s4.testing.processes import read_kibibytes

MEBIBYTE = 2**20
# A request that is no task.
FORGET_PEAK = "forget peak"
# TensorFlow is imported once for all processes. Not `layers_steps`: the server does not look into this folder.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["keras_s4.streaming"])


class NotRun(Exception):  # noqa: N818 it is a result, told in the table
    """Why something could not be measured."""


@dataclasses.dataclass(frozen=True)
class Reply:
    """What came of some calls.

    Args:
        seconds: mean time of a call.
        memory: largest resident memory since the peak was last forgotten, beyond that before the first call, in MiB.
        value: what the last call returned.
    """

    seconds: float
    memory: float
    value: Any


class Worker:
    """A process that runs tasks on request.

    Args:
        make: name of a function of `layers_steps` that returns the tasks by name.
        arguments: its arguments.
        time_limit: of one request, in seconds.
        memory_limit: of the tasks, in MiB.

    Raises:
        NotRun: the tasks could not be made.
    """

    def __init__(self, make: str, arguments: tuple, time_limit: float, memory_limit: float):
        self.alive = True
        self._time_limit, self._memory_limit = time_limit, memory_limit
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, make, arguments, memory_limit), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def run(self, task: str, calls: int = 1) -> Reply:
        """Calls a task some times in a row.

        Raises:
            NotRun: it took too long, or too much memory, or failed; the process is gone then.
        """
        self._connection.send((task, calls))
        return self._receive()

    def forget_peak(self) -> None:
        """What follows is judged by its own peak of memory."""
        self._connection.send((FORGET_PEAK, 0))
        self._receive()

    def close(self) -> None:
        """Ends the process."""
        self.alive = False
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _receive(self) -> Reply | None:
        if not self._connection.poll(self._time_limit):
            self.close()
            raise NotRun(f"took more than {self._time_limit:g} s")
        try:
            reply = self._connection.recv()
        except EOFError:
            reply = NotRun(self._cause_of_death())
        if isinstance(reply, NotRun):
            self.close()
            raise reply
        return reply

    def _cause_of_death(self) -> str:
        self._process.join()
        code = self._process.exitcode
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"died ({name}) under a limit of {self._memory_limit:,.0f} MiB"


def available_memory() -> float:
    """Memory that new processes may take, in MiB."""
    return read_kibibytes("/proc/meminfo", "MemAvailable") / 1024


def _serve(connection, make: str, arguments: tuple, memory_limit: float) -> None:
    """The process: makes the tasks, then answers requests until the other end is closed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # each TensorFlow greets on stderr
    try:
        import layers_steps

        _limit_memory(memory_limit)
        tasks = getattr(layers_steps, make)(*arguments)
        _forget_peak()
        before = read_kibibytes("/proc/self/status", "VmRSS")
        connection.send(None)
        while True:
            name, calls = connection.recv()
            if name == FORGET_PEAK:
                _forget_peak()
                connection.send(None)
                continue
            seconds, value = _timed(tasks[name], calls)
            peak = read_kibibytes("/proc/self/status", "VmHWM")
            connection.send(Reply(seconds, (peak - before) / 1024, value))
    except EOFError:
        return
    except Exception as error:
        _lift_memory_limit()  # the answer needs some
        connection.send(NotRun(_in_short(error, memory_limit)))


def _forget_peak() -> None:
    """The largest resident memory starts anew, and what was freed and is held for later goes back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _timed(function: Callable, calls: int) -> tuple[float, Any]:
    start = time.perf_counter()
    for _ in range(calls):
        value = function()
    return (time.perf_counter() - start) / calls, value


def _limit_memory(mebibytes: float) -> None:
    """Lets allocations fail that would take the process beyond so much more than it has."""
    limit = int(read_kibibytes("/proc/self/status", "VmData") * 1024 + mebibytes * MEBIBYTE)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


def _lift_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _in_short(error: Exception, memory_limit: float) -> str:
    text = f"{type(error).__name__}: {error}"
    if "ResourceExhausted" in text or isinstance(error, MemoryError):
        return f"does not fit into {memory_limit:,.0f} MiB"
    return text.strip().splitlines()[0][:200]
