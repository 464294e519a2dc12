"""Modules that commands load when they need them: the rest of the command is quick then, above all its --help."""

from __future__ import annotations

import importlib
from types import ModuleType

from keras_s4.cli.console import console, hide_start_messages


def load(name: str) -> ModuleType:
    """A module of `keras_s4.cli`."""
    return importlib.import_module(f"keras_s4.cli.{name}")


def start(command: str) -> ModuleType:
    """The module that does the work of a command, and with it Keras, which takes some seconds."""
    with console().status("Starting TensorFlow ..."), hide_start_messages():
        return load(f"actions.{command}")
