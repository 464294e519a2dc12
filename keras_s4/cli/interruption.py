"""Ctrl-C while everything is imported: nothing is begun yet, and exceptions do not get through every import."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130
_terminal = 2


def leave_at_once() -> None:
    """From now on Ctrl-C is one line and the end, unless the command was started so that it does not hear it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def raise_again() -> None:
    """From now on Ctrl-C is an exception again: work has begun that must be ended."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def speak_to(descriptor: int) -> None:
    """Where the line goes, while the standard error is caught."""
    global _terminal
    _terminal = descriptor


def _leave(number: int, frame: object) -> None:
    shown = "\x1b[?25h\n" if os.isatty(_terminal) else ""  # the cursor, which a progress display may have hidden
    os.write(_terminal, f"{shown}Interrupted.\n".encode())
    os._exit(INTERRUPTED)
