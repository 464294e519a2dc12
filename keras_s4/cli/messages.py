"""Errors as what a reader needs of them."""

from __future__ import annotations

import errno
import re
import tempfile

LONGEST = 2000
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
# Keras puts what went wrong between the call and its arguments, TensorFlow between places in its graph.
_BEFORE = (
    re.compile(r"\A.*\bException encountered: ", re.DOTALL),
    re.compile(r"\AException encountered when calling [^\n]*\n+"),
    re.compile(r"\AGraph execution error:\s*"),
    re.compile(r"\ADetected at node .*?(?:<stack traces unavailable>|\n(?![<\s]))\s*", re.DOTALL),
)
_AFTER = (
    re.compile(r"\n+Arguments received by .*\Z", re.DOTALL),
    re.compile(r"\s*\[\[\{\{node .*\Z", re.DOTALL),
    re.compile(r"\s*\[Op:[^\]]*\].*\Z", re.DOTALL),
)
_INSIDE = re.compile(r"\{\{function_node [^}]*\}\} ?")


def message_of(error: BaseException) -> str:
    """What an error says; of an `OSError` the reason and the file, without the number; of Keras' pages the heart."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return f"{error.strerror}, on the disk of the output or of {tempfile.gettempdir()}. Make room there."
    if isinstance(error, OSError) and error.strerror:
        named = error.filename is None or str(error.filename) in error.strerror
        return error.strerror if named else f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError) and len(error.args) == 1:
        return str(error.args[0])
    text = _ESCAPES.sub("", str(error)).strip()
    for pattern in (*_BEFORE, *_AFTER):
        text = pattern.sub("", text) or text
    text = _INSIDE.sub("", text).strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text):,} characters in all)"
