"""Where a run is kept if nobody says so. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("runs")
TOML = ".toml"


def is_file_name(task: str) -> bool:
    """Whether a task is named by a file, rather than a built-in one by its name."""
    return Path(task).suffix.lower() == TOML or len(Path(task).parts) > 1


def folder_of(task: str) -> Path:
    """`runs/NAME`, of a built-in task or a file `NAME.toml`."""
    return RUNS / (Path(task).stem if is_file_name(task) else task)
