"""One process of `keras-s4 tune`: `main`, to be run in a process that has loaded all that it needs."""

import os

import keras_s4.cli.actions.search  # noqa: F401  what takes long to load
from keras_s4.cli.commands import app


def main(output, variables, *arguments):
    """The command with environment variables; what it says goes into a file."""
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(variables)
    app(arguments)
