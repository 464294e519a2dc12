"""Work in processes of its own, and the processor that all of it runs on."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def run_apart(run: Callable[..., Any], arguments: Mapping[str, tuple], jobs: int) -> dict[str, Any]:
    """The results of `run(*arguments[name])` by name, each in a process of its own, several at a time.

    TensorFlow does not give back what it holds.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = {name: pool.submit(run, *values) for name, values in arguments.items()}
        return {name: future.result() for name, future in waiting.items()}


def read_kibibytes(file: str, key: str) -> int:
    """A number of Linux's /proc, such as that of "VmRSS" in /proc/self/status."""
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


def describe_processor() -> dict[str, Any]:
    """Model and number of cores, and the memory in MiB."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": read_kibibytes("/proc/meminfo", "MemTotal") // 1024,
    }
