"""The command `keras-s4`. What it imports first is little, so that Ctrl-C is one line from the beginning."""

from __future__ import annotations

import importlib

from keras_s4.cli import interruption


def main() -> None:
    """What the command `keras-s4` runs."""
    interruption.leave_at_once()
    importlib.import_module("keras_s4.cli.commands").run()


def __getattr__(name: str):
    if name == "app":
        return importlib.import_module("keras_s4.cli.commands").app
    raise AttributeError(f"module 'keras_s4.cli' has no attribute {name!r}")
