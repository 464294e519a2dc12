"""The command `keras-s4`. What it imports first is little, so that Ctrl-C is one line from the beginning."""

from __future__ import annotations

from keras_s4.cli import interruption


def main() -> None:
    """What the command `keras-s4` runs."""
    interruption.leave_at_once()
    from keras_s4.cli.commands import app
    from keras_s4.cli.console import plain_streams, written_output

    plain_streams()
    with written_output():
        app()


def __getattr__(name: str):
    if name == "app":
        from keras_s4.cli.commands import app

        return app
    raise AttributeError(f"module 'keras_s4.cli' has no attribute {name!r}")
