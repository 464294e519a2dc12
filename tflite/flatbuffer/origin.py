"""Whether a file is one of this package: unaltered, damaged, another converter's, or none of TensorFlow Lite at all."""

from __future__ import annotations

from keras_s4.tflite.flatbuffer.summary import TYPE_NAMES
from keras_s4.tflite.flatbuffer.tables import Table, root_of
from keras_s4.tflite.flatbuffer.writer import DESCRIPTION, IDENTIFIER, SCHEMA_VERSION, checksum

_DIGITS = 8
# How other files begin that stand beside a .tflite.
_OTHERS = {
    b"PK\x03\x04": "a zip archive, such as a .keras or .npz file",
    b"\x89HDF": "an HDF5 file, such as Keras' old .h5",
    b"\x93NUMPY": "a .npy file",
    b"\x7fELF": "a compiled program",
    b"\x80": "a pickle",
    b"{": "a JSON file",
}
# What of a description, besides the digits, may differ in a damaged file of this package.
_FEW = 3


def check_origin(data: bytes, fields: tuple[int, ...]) -> Table:
    """The root table of a file that this package wrote, whose checksum is right.

    Args:
        data: the bytes of a file.
        fields: slots that the root table may have.

    Raises:
        ValueError: "damaged .tflite: ..."; or "not a .tflite: ..." for other kinds of files; or "not a .tflite of
            keras-s4: ..." for a sound one of another converter.
    """
    other = next((what for start, what in _OTHERS.items() if data.startswith(start)), None)
    if other and data[4:8] != IDENTIFIER:
        raise ValueError(f"not a .tflite: the {len(data)} bytes are {other}. Pass what `convert` or `save` wrote.")
    if len(data) < 8:
        raise ValueError(f"damaged .tflite: received {len(data)} bytes; even an empty model has more.")
    if data[4:8] != IDENTIFIER:
        raise ValueError(
            f"damaged .tflite: bytes 4 to 8 are {data[4:8]!r}; expected {IDENTIFIER!r}. Is this a .tflite?"
        )
    text = root_of(data, "model").bytes(3)
    if not text.startswith(DESCRIPTION.encode()) or len(text) != len(DESCRIPTION) + _DIGITS:
        if _was_ours(data, text):
            raise ValueError(
                f"damaged .tflite: no checksum of keras-s4 in its description {text[:40]!r}; export it again."
            )
        raise ValueError(_describe_foreign(data, text))
    root = root_of(data, "model", fields)
    found = text[-_DIGITS:].decode("latin-1")
    expected = checksum(data, root.start(3) + len(DESCRIPTION))
    if found != expected:
        raise ValueError(
            f"damaged .tflite: its checksum is {expected}, and it says {found}; transfer or export it again."
        )
    version = root.scalar(0, "I")
    if version != SCHEMA_VERSION:
        raise ValueError(f"damaged .tflite: schema version {version}; expected {SCHEMA_VERSION}.")
    return root


def _was_ours(data: bytes, text: bytes) -> bool:
    """Whether the file has our description somewhere, or one that is nearly ours."""
    ours = DESCRIPTION.encode()
    near = len(text) == len(ours) + _DIGITS and sum(a != b for a, b in zip(text, ours, strict=False)) <= _FEW
    return near or ours in data


def _describe_foreign(data: bytes, text: bytes) -> str:
    """What is told of another converter's file.

    Raises:
        ValueError: "damaged .tflite: ..." if it is not sound.
    """
    root = root_of(data, "model")
    graphs = root.tables(2, "subgraph")
    operators = sum(len(graph.tables(3, "operator")) for graph in graphs)
    codes = [tensor.scalar(1, "b") for graph in graphs for tensor in graph.tables(0, "tensor")]
    for buffer in root.tables(4, "buffer"):
        buffer.bytes(0)
    if not graphs or not codes:
        raise ValueError("damaged .tflite: it has no description, no operators and no tensors.")
    types = dict.fromkeys(TYPE_NAMES.get(code, f"type {code}") for code in codes)
    writer = repr(text[:40].decode("utf-8", "replace")) if text else "without a description"
    return (
        f"not a .tflite of keras-s4: it is sound, but another converter wrote it ({writer}: {operators} operators on "
        f"tensors of {', '.join(types)}). keras-s4 runs and checks what its own `convert` writes. Convert the Keras "
        "model with keras_s4.tflite.convert, or run this file with tensorflow.lite.Interpreter."
    )
