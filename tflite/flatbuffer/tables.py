"""Reads a flatbuffer's tables and vectors at checked places, as the verifier of the flatbuffers library does.

Runtimes trust every offset in a file. So nothing here lies outside the file or off its alignment, fields lie within
their tables, texts end in a zero, and tables have no fields but the expected ones: what a runtime reads is then what
was checked.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable

import numpy as np

# More of these than any file of this package has: parts of a small file that are named again and again would take long.
MOST_TABLES, MOST_FIELDS, LONGEST_TEXT = 2**16, 2**7, 2**14


class Table:
    """A table of a flatbuffer.

    Args:
        data: the file.
        place: the byte at which the table begins.
        kind: a word for the table, for messages.
        fields: the slots that it may have; any when omitted.

    Raises:
        ValueError: the table leaves the file, is not aligned, or has other fields.
    """

    def __init__(self, data: bytes, place: int, kind: str, fields: Collection[int] | None = None):
        self.place = place
        self._data = data
        self._kind = kind
        layout = place - number(data, "i", place)
        layout_size, self._size = number(data, "H", layout), number(data, "H", layout + 2)
        if layout_size < 4 or layout_size % 2 or layout + layout_size > len(data) or place + self._size > len(data):
            raise _damaged(f"a {kind} at {place} leaves the file of {len(data)} bytes")
        if layout_size > 4 + 2 * MOST_FIELDS:
            raise _damaged(f"a {kind} has {layout_size // 2 - 2} fields; at most {MOST_FIELDS} are read")
        self._offsets = struct.unpack_from(f"<{layout_size // 2 - 2}H", data, layout + 4)
        for slot, offset in enumerate(self._offsets):
            if offset and not 4 <= offset < self._size:
                raise _damaged(f"field {slot} of a {kind} lies outside of it")
            if offset and fields is not None and slot not in fields:
                raise _damaged(f"a {kind} has a field {slot}, which keras-s4 does not write")

    def scalar(self, slot: int, format: str, default: int | float = 0) -> int | float:
        """A number of a format of `struct`; the default when the field is missing."""
        offset = self._offset(slot)
        if not offset:
            return default
        if offset + struct.calcsize(format) > self._size:
            raise _damaged(f"field {slot} of a {self._kind} lies outside of it")
        return number(self._data, format, self.place + offset)

    def has(self, slot: int) -> bool:
        """Whether the field is there."""
        return bool(self._offset(slot))

    def require(self, slots: Iterable[int]) -> None:
        """Refuses a table without these fields, as runtimes read them without a look whether they are there.

        Raises:
            ValueError: one of them is missing.
        """
        if missing := [slot for slot in slots if not self.has(slot)]:
            raise _damaged(f"a {self._kind} has no field {missing[0]}")

    def field(self, slot: int) -> int | None:
        """Where the field is, None when it is missing."""
        return self.place + self._offset(slot) if self.has(slot) else None

    def child(self, slot: int, kind: str, fields: Collection[int] | None = None) -> Table | None:
        """The table of a field, None when it is missing."""
        place = self._target(slot)
        return None if place is None else Table(self._data, place, kind, fields)

    def tables(self, slot: int, kind: str, fields: Collection[int] | None = None) -> list[Table]:
        """The tables of a vector; none when the field is missing."""
        start, count = self._vector(slot, 4, 4)
        if count > MOST_TABLES:
            raise _damaged(f"it has {count} times a {kind}; at most {MOST_TABLES} are read")
        places = [place + number(self._data, "I", place) for place in range(start, start + 4 * count, 4)]
        return [Table(self._data, place, kind, fields) for place in places]

    def numbers(self, slot: int, type: str, most: int | None = None) -> tuple[int, ...] | tuple[float, ...]:
        """The numbers of a vector of a numpy type; none when the field is missing.

        Raises:
            ValueError: there are more than `most`, or they leave the file.
        """
        size = np.dtype(type).itemsize
        start, count = self._vector(slot, size, size)
        if most is not None and count > most:
            raise _damaged(f"field {slot} of a {self._kind} has {count} entries; expected {most} at most")
        return tuple(np.frombuffer(self._data, np.dtype(type).newbyteorder("<"), count, start).tolist())

    def bytes(self, slot: int, alignment: int = 1) -> bytes:
        """The bytes of a vector; none when the field is missing."""
        start, count = self._vector(slot, 1, alignment)
        return self._data[start : start + count]

    def text(self, slot: int) -> str:
        """A text, which ends in a zero that does not count; empty when the field is missing."""
        start, count = self._vector(slot, 1, 1)
        if not start:
            return ""
        if count > LONGEST_TEXT:
            raise _damaged(f"a text of a {self._kind} has {count} bytes; at most {LONGEST_TEXT} are read")
        if self._data[start + count : start + count + 1] != b"\0":
            raise _damaged(f"a text of a {self._kind} does not end")
        return self._data[start : start + count].decode("utf-8", "replace")

    def start(self, slot: int) -> int:
        """Where the elements of a vector begin; 0 when the field is missing."""
        return self._vector(slot, 1, 1)[0]

    def _offset(self, slot: int) -> int:
        return self._offsets[slot] if slot < len(self._offsets) else 0

    def _target(self, slot: int) -> int | None:
        offset = self.scalar(slot, "I")
        return self.place + self._offset(slot) + offset if self.has(slot) else None

    def _vector(self, slot: int, size: int, alignment: int) -> tuple[int, int]:
        """Where its elements begin, and how many there are; zeros when the field is missing."""
        place = self._target(slot)
        if place is None:
            return 0, 0
        count, start = number(self._data, "I", place), place + 4
        if start + count * size > len(self._data):
            raise _damaged(f"a list of {count} entries at {place} ends outside the file of {len(self._data)} bytes")
        if count and start % alignment:
            raise _damaged(f"a list at {place} is not at a multiple of {alignment} bytes")
        return start, count


def root_of(data: bytes, kind: str, fields: Collection[int] | None = None) -> Table:
    """The table that a file begins with.

    Raises:
        ValueError: see `Table`.
    """
    return Table(data, number(data, "I", 0), kind, fields)


def number(data: bytes, format: str, place: int) -> int | float:
    """A number of a format of `struct` in little-endian order.

    Raises:
        ValueError: it is outside the file, or not aligned.
    """
    size = struct.calcsize(format)
    if not 0 <= place <= len(data) - size:
        raise _damaged(f"offset {place} is outside the file of {len(data)} bytes")
    if place % size:
        raise _damaged(f"a number at {place} is not at a multiple of {size} bytes")
    return struct.unpack_from("<" + format, data, place)[0]


def _damaged(reason: str) -> ValueError:
    return ValueError(f"damaged .tflite: {reason}.")
