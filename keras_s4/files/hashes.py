"""SHA-256 of bytes and files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def hash_bytes(content: bytes) -> str:
    """The SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str | None:
    """The SHA-256 of a file, or None where there is no regular file; links are not followed."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
