"""Checkpoints read without running code: a module a format, all giving arrays by name."""

from __future__ import annotations

from pathlib import Path

from keras_s4.importers.checkpoint import Checkpoint, CheckpointError, as_numbers
from keras_s4.importers.readers import message_pack, numpy_arrays, orbax, pytorch, safetensors

ADVICE = "Expected .pt, .pth or .ckpt of PyTorch, .safetensors, a Flax or Orbax checkpoint, or .npz."
_ZIP, _OLD_PICKLE = b"PK\x03\x04", b"\x80"


def read(path: Path, entry: str | None = None) -> Checkpoint:
    """The arrays of a checkpoint, whose format its first bytes tell.

    Args:
        path: of a file, or of the folder of an Orbax checkpoint.
        entry: of a PyTorch file, under which the weights stand.

    Raises:
        ValueError: there is no such file, it is none of these or damaged, or names code.
    """
    found = _read(path, entry)
    arrays = {name: as_numbers(array, f"{path}: {name!r}") for name, array in found.arrays.items()}
    return Checkpoint(arrays, found.format, found.others)


def _read(path: Path, entry: str | None) -> Checkpoint:
    if path.is_dir():
        folder = orbax.find(path)
        if folder is None:
            raise CheckpointError(f"{path} is a folder, but no Orbax checkpoint. {ADVICE}")
        return orbax.read(folder)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}. {ADVICE}")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(_ZIP):
        return numpy_arrays.read(path) if path.suffix == ".npz" else pytorch.read(path, entry)
    if not start:
        raise CheckpointError(f"{path} is empty. {ADVICE}")
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return safetensors.read(path)
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin") and start.startswith(_OLD_PICKLE):
        raise CheckpointError(
            f"{path} is a bare pickle, as PyTorch before 1.6 wrote it, which cannot be read without running it. Save "
            "the state dictionary again, with PyTorch 1.6 or later."
        )
    if path.suffix in (".pt", ".pth", ".ckpt", ".npz"):
        raise CheckpointError(f"{path} is damaged: it is no zip archive. {ADVICE}")
    return message_pack.read(path)
