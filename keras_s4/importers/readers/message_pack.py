"""Flax checkpoints: dictionaries and arrays in MessagePack, https://github.com/msgpack/msgpack/blob/master/spec.md."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.importers.checkpoint import DEEPEST, Checkpoint, CheckpointError, count_numbers, flatten

# What Flax marks: an array, a complex number, a number of numpy; and arrays that were cut in pieces.
ARRAY, COMPLEX, SCALAR = 1, 2, 3
CHUNKED = "__msgpack_chunked_array__"
_TYPES = (
    "float16 float32 float64 complex64 complex128 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()  # noqa: SIM905
)
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
    0xD3: ">q",
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def read(path: Path) -> Checkpoint:
    """The arrays of a file that `flax.serialization` or `flax.training.checkpoints` wrote.

    Raises:
        ValueError: it is damaged, or holds something else than dictionaries and arrays.
    """
    return checkpoint_of(unpack(path.read_bytes(), str(path)), str(path), "Flax")


def unpack(content: bytes, what: str) -> Any:
    """What MessagePack bytes hold."""
    unpacker = _Unpacker(content, what)
    value = unpacker.value(0)
    if unpacker.place != len(content):
        raise CheckpointError(f"{what} is damaged: {len(content) - unpacker.place:,} bytes stand behind its end.")
    return value


def checkpoint_of(tree: Any, what: str, format: str) -> Checkpoint:
    """The arrays of the parameters of a training state, or of a dictionary of parameters.

    Statistics of normalisations (`batch_stats`) join the parameters of their layers.
    """
    if not isinstance(tree, dict):
        raise CheckpointError(f"{what} holds no dictionary; expected the parameters of a model.")
    rest = {}
    while isinstance(tree.get("params"), dict):
        rest = {**{name: value for name, value in tree.items() if name != "params"}, **rest}
        tree = tree["params"]
    arrays = flatten(tree, what)
    if isinstance(statistics := rest.pop("batch_stats", None), dict):
        arrays |= flatten(statistics, what)
    others = {name: value for name, value in arrays.items() if not isinstance(value, np.ndarray)}
    arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise CheckpointError(f"{what} holds no arrays.")
    return Checkpoint(arrays, format, {**rest, **others})


class _Unpacker:
    def __init__(self, content: bytes, what: str):
        self.content, self.what, self.place = content, what, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        taken = self.content[self.place : self.place + count]
        if len(taken) != count:
            raise CheckpointError(f"{self.what} is damaged: it ends in the middle. Copy it again.")
        self.place += count
        return taken

    def length(self, width: int) -> int:
        """A length of so many bytes."""
        return int.from_bytes(self.take(width), "big")

    def value(self, depth: int) -> Any:
        """The next value."""
        if depth > DEEPEST:
            raise CheckpointError(f"{self.what} holds values of more than {DEEPEST} levels.")
        head = self.take(1)[0]
        if head < 0x80 or head >= 0xE0:
            return head if head < 0x80 else head - 256
        if head in _CONSTANTS:
            return _CONSTANTS[head]
        if head in _NUMBERS:
            return struct.unpack(_NUMBERS[head], self.take(struct.calcsize(_NUMBERS[head])))[0]
        if 0xA0 <= head < 0xC0:
            return self.text(head & 31)
        if head in (0xD9, 0xDA, 0xDB):
            return self.text(self.length(1 << (head - 0xD9)))
        if head in (0xC4, 0xC5, 0xC6):
            return self.take(self.length(1 << (head - 0xC4)))
        if head < 0x90 or head in (0xDE, 0xDF):
            return self.dictionary(head & 15 if head < 0x90 else self.length(2 << (head - 0xDE)), depth)
        if head < 0xA0 or head in (0xDC, 0xDD):
            count = head & 15 if head < 0xA0 else self.length(2 << (head - 0xDC))
            return [self.value(depth + 1) for _ in range(self.possible(count))]
        if 0xD4 <= head <= 0xD8:
            return self.extension(1 << (head - 0xD4))
        if 0xC7 <= head <= 0xC9:
            return self.extension(self.length(1 << (head - 0xC7)))
        raise CheckpointError(f"{self.what} is damaged, or no MessagePack: byte {head:#x} at {self.place - 1:,}.")

    def possible(self, count: int) -> int:
        """A number of values, each of which takes a byte at least."""
        if count > len(self.content) - self.place:
            raise CheckpointError(f"{self.what} is damaged: {count:,} values in {len(self.content):,} bytes.")
        return count

    def text(self, length: int) -> str:
        """The next text."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.what} is damaged: {error}.") from error

    def dictionary(self, count: int, depth: int) -> Any:
        """The next dictionary, or the array that its pieces make."""
        found: dict[str, Any] = {}
        for _ in range(self.possible(count)):
            name = self.value(depth + 1)
            if not isinstance(name, (str, int)) or name in found:
                raise CheckpointError(f"{self.what} holds an entry under {name!r:.80}, or two of them.")
            found[name] = self.value(depth + 1)
        return self.joined(found) if CHUNKED in found else found

    def joined(self, pieces: dict[str, Any]) -> np.ndarray:
        """An array that was cut."""
        shape, chunks = pieces.get("shape"), pieces.get("chunks")
        if not isinstance(shape, dict) or not isinstance(chunks, dict):
            raise CheckpointError(f"{self.what} is damaged: pieces of an array without a shape.")
        shape = tuple(shape[str(axis)] for axis in range(len(shape)) if str(axis) in shape)
        parts = [chunks[str(number)] for number in range(len(chunks)) if str(number) in chunks]
        if not parts or not all(isinstance(part, np.ndarray) for part in parts):
            raise CheckpointError(f"{self.what} is damaged: pieces of an array are missing.")
        if sum(part.size for part in parts) != count_numbers(shape, self.what):
            raise CheckpointError(f"{self.what} is damaged: the pieces of an array do not make its shape {shape}.")
        return np.concatenate([part.ravel() for part in parts]).reshape(shape)

    def extension(self, length: int) -> Any:
        """The next array, or number."""
        kind, content = self.take(1)[0], self.take(length)
        if kind == COMPLEX:
            parts = unpack(content, self.what)
            if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(x, (int, float)) for x in parts):
                raise CheckpointError(f"{self.what} is damaged: a complex number of {parts!r:.80}.")
            return complex(*parts)
        if kind not in (ARRAY, SCALAR):
            raise CheckpointError(f"{self.what} holds a value of the kind {kind}, which Flax does not write.")
        return self.array(unpack(content, self.what))

    def array(self, described: Any) -> np.ndarray:
        """An array of `[shape, type, bytes]`."""
        if not isinstance(described, list) or len(described) != 3 or not isinstance(described[0], list):
            raise CheckpointError(f"{self.what} is damaged: an array is not described as Flax does.")
        shape, dtype, content = tuple(described[0]), described[1], described[2]
        short = dtype == "bfloat16"
        if (dtype not in _TYPES and not short) or not isinstance(content, bytes):
            raise CheckpointError(f"{self.what} holds an array of {dtype!r:.40}; expected numbers.")
        kind = np.dtype("<u2" if short else dtype)
        if count_numbers(shape, self.what) * kind.itemsize != len(content):
            raise CheckpointError(f"{self.what} is damaged: an array of shape {shape} has {len(content):,} bytes.")
        numbers = np.frombuffer(content, kind)
        return (numbers.astype(np.uint32) << 16).view(np.float32).reshape(shape) if short else numbers.reshape(shape)
