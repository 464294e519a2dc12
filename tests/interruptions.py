"""Processes that hear Ctrl-C, whatever started the tests: shells have what is in the background ignore it."""

import signal


def hear_interruptions():
    """For `preexec_fn` of a new process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
