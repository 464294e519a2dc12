"""`.pt`, `.pth` and `.ckpt` files: a zip of one pickle and the bytes of its arrays, read without PyTorch."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_s4.importers.checkpoint import Checkpoint, CheckpointError, count_numbers, flatten
from keras_s4.importers.readers import pickles
from keras_s4.importers.readers.archives import open_archive, read_member
from keras_s4.importers.readers.pickles import Name, Plain

LARGEST_PICKLE, LARGEST_STORAGE = 2**27, 2**31
# Entries that hold the weights where a file holds more than them, as trainings call them.
ENTRIES = ("state_dict", "model_state_dict", "model", "net", "params")
# An array may read a number more than once, as an expanded one does, but not build gigabytes from a few bytes.
MOST_REPEATED = 2**22

_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
_DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128", "int64", "int32", "int16", "int8")
# Classes of settings that trainings save beside the weights; they become dictionaries.
_SETTINGS = (
    Name("argparse", "Namespace"),
    Name("pytorch_lightning.utilities.parsing", "AttributeDict"),
    Name("lightning.pytorch.utilities.parsing", "AttributeDict"),
    Name("lightning_fabric.utilities.data", "AttributeDict"),
    Name("lightning.fabric.utilities.data", "AttributeDict"),
)
# Numbers of numpy, such as a best accuracy; no weight is one, and so nobody needs their values.
_NUMPY = (
    Name("numpy", "dtype"),
    Name("numpy", "ndarray"),
    Name("_codecs", "encode"),
    *(Name(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)


class _Storage(NamedTuple):
    dtype: str
    key: str
    count: int


def read(path: Path, entry: str | None = None) -> Checkpoint:
    """The arrays of a state dictionary.

    Args:
        path: of the file.
        entry: under which the weights stand; by default the whole file, or one of `ENTRIES`.

    Raises:
        ValueError: it is damaged, names code, or holds no state dictionary.
    """
    with open_archive(path) as archive:
        tree = _Reader(path, archive).tree()
    state, others = _weights(path, tree, entry)
    leaves = flatten(state, str(path))
    arrays = {name: value for name, value in leaves.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise CheckpointError(f"{path} holds no arrays.")
    others |= {name: value for name, value in leaves.items() if name not in arrays}
    return Checkpoint(arrays, "PyTorch", others)


class _Reader:
    """A file that is open."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path, self.archive = path, archive
        self.members = {member.filename: member for member in archive.infolist()}
        pickled = [name for name in self.members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise CheckpointError(f"{path} is no checkpoint of PyTorch: expected one data.pkl, found {len(pickled)}.")
        self.root = pickled[0].removesuffix("data.pkl")
        if f"{self.root}constants.pkl" in self.members:
            raise CheckpointError(
                f"{path} is a TorchScript program, which is code. Save the state dictionary: "
                "torch.save(model.state_dict(), 'NAME.pt')."
            )
        self.order = self._byte_order()
        self.storages: dict[str, np.ndarray] = {}

    def tree(self) -> Any:
        """What the file holds, arrays of numpy in it."""
        member = self.members[f"{self.root}data.pkl"]
        content = read_member(self.archive, member, LARGEST_PICKLE)
        return pickles.load(content, str(self.path), self._constructors(), _values(), self._find)

    def _constructors(self) -> dict[Name, Any]:
        utilities = {
            "_rebuild_tensor_v2": self._tensor,
            "_rebuild_tensor": self._tensor,
            "_rebuild_parameter": lambda data, *_: data,
            "_rebuild_parameter_with_state": lambda data, *_: data,
        }
        return {Name("torch._utils", name): function for name, function in utilities.items()} | {
            Name("collections", "OrderedDict"): _ordered,
            Name("collections", "defaultdict"): lambda *_: {},
            Name("torch", "Size"): lambda *values: tuple(*values),
            Name("torch", "device"): lambda *values: ":".join(map(str, values)),
            Name("pathlib", "PosixPath"): lambda *parts: "/".join(map(str, parts)),
            **{name: lambda *_: Plain() for name in (*_SETTINGS, *_NUMPY)},
        }

    def _find(self, identifier: Any) -> _Storage:
        """The storage of a persistent identifier `("storage", type, key, place, count)`."""
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise CheckpointError(f"{self.path} names {identifier!r:.80}, which is no storage of an array.")
        _, dtype, key, _, count = identifier
        if not isinstance(dtype, str) or not isinstance(key, str) or not isinstance(count, int):
            raise CheckpointError(f"{self.path} names a storage of {dtype!s:.80}, which is no type of numbers.")
        return _Storage(dtype, key, count)

    def _tensor(self, storage, offset, size, stride, *more) -> np.ndarray:
        """A tensor's numbers, once all that is said of it is found to lie inside its storage."""
        what = f"{self.path}: an array of storage {getattr(storage, 'key', '?')!r:.40}"
        if not isinstance(storage, _Storage) or not all(isinstance(each, tuple) for each in (size, stride)):
            raise CheckpointError(f"{what} is described in another way than arrays are.")
        count = count_numbers(size, what)
        whole = all(isinstance(each, int) and each >= 0 for each in (offset, *stride))
        if not whole or len(stride) != len(size):
            raise CheckpointError(f"{what} has the strides {stride!r:.80} from {offset!r:.40}; expected {len(size)}.")
        numbers = self._numbers(storage)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if count and last >= len(numbers):
            raise CheckpointError(f"{what} reads its number {last:,}, of {len(numbers):,} that there are.")
        if count > max(len(numbers), MOST_REPEATED):
            raise CheckpointError(f"{what} makes {count:,} numbers of {len(numbers):,}.")
        if not count:
            return np.zeros(size, numbers.dtype)
        steps = [step * numbers.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(numbers[offset:], size, steps, writeable=False)
        return _marked(view.copy(), more[2] if len(more) > 2 else None)

    def _numbers(self, storage: _Storage) -> np.ndarray:
        member = self.members.get(f"{self.root}data/{storage.key}")
        if member is None:
            raise CheckpointError(f"{self.path} lacks the storage {storage.key!r:.40}. Copy it again.")
        if member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{self.path} has a compressed storage; PyTorch does not compress.")
        if storage.key not in self.storages:
            content = read_member(self.archive, member, LARGEST_STORAGE)
            self.storages[storage.key] = np.frombuffer(content, np.uint8)
        content = self.storages[storage.key]
        short = storage.dtype == "bfloat16"
        dtype = np.dtype(f"{self.order}{'u2' if short else storage.dtype}")
        if storage.count < 0 or storage.count * dtype.itemsize != len(content):
            raise CheckpointError(
                f"{self.path}: storage {storage.key!r:.40} has {len(content):,} bytes; expected {storage.count:,} "
                f"numbers of {dtype.itemsize} bytes."
            )
        numbers = content.view(dtype)
        return (numbers.astype(np.uint32) << 16).view(np.float32) if short else numbers

    def _byte_order(self) -> str:
        member = self.members.get(f"{self.root}byteorder")
        said = b"little" if member is None else read_member(self.archive, member, 64)
        if said not in (b"little", b"big"):
            raise CheckpointError(f"{self.path} is damaged: its byte order is {said!r:.40}.")
        return "<" if said == b"little" else ">"


def _ordered(*arguments: Any) -> dict:
    """An ordered dictionary, empty or of pairs."""
    return dict(arguments[0]) if arguments else {}


def _values() -> dict[Name, Any]:
    """Types of numbers, by what names them."""
    storages = {Name("torch", name): dtype for name, dtype in _TYPES.items()}
    return storages | {Name("torch", name): name for name in _DTYPES}


def _marked(array: np.ndarray, marks: Any) -> np.ndarray:
    """An array of which PyTorch notes that it is meant conjugated or negated."""
    if isinstance(marks, Mapping) and marks.get("conj"):
        array = array.conj()
    return -array if isinstance(marks, Mapping) and marks.get("neg") else array


def _weights(path: Path, tree: Any, entry: str | None) -> tuple[Any, dict[str, Any]]:
    """The part of a file that holds the weights, and the rest."""
    if not isinstance(tree, Mapping):
        raise CheckpointError(f"{path} holds no dictionary; expected what model.state_dict() gives.")
    if entry is None:
        entry = next((name for name in ENTRIES if isinstance(tree.get(name), Mapping)), None)
        if entry is None:
            return tree, {}
    elif not isinstance(tree.get(entry), Mapping):
        there = ", ".join(str(name)[:40] for name, value in tree.items() if isinstance(value, Mapping)) or "none"
        raise CheckpointError(f"{path} has no dictionary {entry!r}; it has {there}.")
    return tree[entry], {str(name): value for name, value in tree.items() if name != entry}
