"""How a CSV file is written, found out from its first lines: encoding, separators, comments, header, units."""

from __future__ import annotations

import csv
import dataclasses
import functools
import re
from collections import Counter
from pathlib import Path

from keras_s4.recordings.frame import MISSING, join_names
from keras_s4.recordings.layout import Source

# What a source may say of it.
ASKED = ("delimiter", "decimal", "encoding", "header", "comment", "skip_lines")
# Bytes and lines that are looked at.
LOOKED_AT, LINES = 1 << 16, 100
SPACES = r"\s+"
# In the order in which they are preferred: a comma may be a decimal one.
DELIMITERS = ("\t", ";", "|", ",", SPACES)
COMMENTS = ("#", "%", "//")
_BOMS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d|\d{1,2}:\d{2}")
_UNIT = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^)\]]*)[)\]]$")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Args:
        encoding: of its text.
        delimiter: between fields; `\\s+` for any spaces.
        decimal: point or comma.
        skipped: lines before the data.
        names: of the columns.
        units: of columns, where a line or the header says them.
        comment: what begins a line that is no data; "" if nothing does.
        trailing: whether each line ends in a character that is no data.
    """

    encoding: str
    delimiter: str
    decimal: str
    skipped: int
    names: tuple[str, ...]
    units: dict[str, str]
    comment: str
    trailing: str = ""


def read_text(path: Path, encoding: str, size: int = -1) -> tuple[str, str]:
    """The text of a file, or its beginning, and its encoding.

    Raises:
        ValueError: it is no text in this encoding.
    """
    with path.open("rb") as file:
        content = file.read(size)
    if encoding:
        try:
            return content.decode(encoding, "ignore" if size >= 0 else "strict"), encoding
        except (UnicodeDecodeError, LookupError) as error:
            raise ValueError(f"{path.name} cannot be read in encoding {encoding!r}: {error}.") from error
    for bom, found in _BOMS.items():
        if content.startswith(bom):
            return content.decode(found, "ignore"), found
    if b"\0" in content:
        raise ValueError(f"{path.name} is no text: it holds zero bytes. Give a CSV file, or [recordings] encoding.")
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        if 0 <= size <= error.end + 4:  # the end of what was read cuts a character
            return content.decode("utf-8", "ignore"), "utf-8"
        return content.decode("cp1252", "replace"), "cp1252"


def find_dialect(path: Path, source: Source) -> Dialect:
    """How a file is written; what the source says of it is taken as it is.

    Raises:
        ValueError: it is empty, or no table of text.
    """
    status = path.stat()
    asked = Source(**{name: getattr(source, name) for name in ASKED})
    return _find_dialect(path, asked, (status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=20_000)
def _find_dialect(path: Path, source: Source, version: tuple[int, int]) -> Dialect:
    """How a file of a version is written: a survey asks several times."""
    complete, encoding = _first_lines(path, source.encoding, version[0])
    comment = source.comment or next((c for c in COMMENTS if any(line.startswith(c) for line in complete[:20])), "")
    numbered = [
        (number, line)
        for number, line in enumerate(complete)
        if number >= source.skip_lines and line.strip() and not (comment and line.lstrip().startswith(comment))
    ]
    if not numbered:
        raise ValueError(f"{path.name} is empty: it holds no line of data.")
    numbered = numbered[:LINES]
    lines = [line for _, line in numbered]
    delimiter = source.delimiter or _find_delimiter(lines)
    trailing = next(
        (c for c in (";", ",") if c != delimiter and all(line.rstrip().endswith(c) for line in lines[1:])), ""
    )
    rows = [_fields(line.rstrip().removesuffix(trailing) if trailing else line, delimiter) for line in lines]
    decimal = source.decimal or _find_decimal(rows, delimiter)
    first = _find_first(rows)
    is_header = source.header if source.header is not None else _is_header(rows[first:], decimal)
    names = rows[first] if is_header else _named_in_comment(complete, comment, rows[first], numbered[first][0])
    if names is None and first and source.header is None and not source.skip_lines:
        names = _names_above(path, rows[first - 1], rows[first:], decimal)
    skipped = first + bool(is_header)
    width = Counter(len(row) for row in rows[skipped:] or [names or ()]).most_common(1)[0][0]
    width = max(width, len(names or ()))
    units = {}
    if is_header and _is_units(rows[skipped : skipped + 3], decimal):
        units = dict(zip(names, (unit.strip("()[] ") for unit in rows[skipped]), strict=False))
        skipped += 1
    names = _complete_names(names or (), width)
    before = numbered[skipped][0] if skipped < len(numbered) else len(complete)
    units |= {name: found["unit"] for name in names if (found := _UNIT.match(name))}
    return Dialect(encoding, delimiter, decimal, before, names, units, comment, trailing)


def _first_lines(path: Path, encoding: str, size: int) -> tuple[list[str], str]:
    """Lines from the beginning of a file, none of them cut off, and its encoding."""
    text, found = read_text(path, encoding, LOOKED_AT)
    if size <= LOOKED_AT:
        return text.splitlines(), found
    lines = text.splitlines()[:-1]
    if encoding or found != "utf-8" or not lines:  # what is not UTF-8 may come late, and one line may be long
        return lines or read_text(path, encoding)[0].splitlines(), found
    return lines, read_text(path, "")[1]


def _fields(line: str, delimiter: str) -> list[str]:
    """The fields of a line; an empty last one is none."""
    if delimiter == SPACES:
        return line.split()
    quoted = '"' in line
    fields = (
        next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), []) if quoted else line.split(delimiter)
    )
    fields = [field.strip() for field in fields]
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


def _find_delimiter(lines: list[str]) -> str:
    """The delimiter by which most lines have equally many fields, more than one of them."""
    best, chosen = 0.0, ","
    for delimiter in DELIMITERS:
        if delimiter != SPACES and not any(delimiter in line for line in lines):
            continue
        counts = Counter(len(_fields(line, delimiter)) for line in lines)
        width, share = next(((w, n / len(lines)) for w, n in counts.most_common() if w > 1), (1, 0.0))
        # A decimal comma splits numbers, and spaces stand in dates: a later delimiter must be clearly better.
        if width > 1 and share > best + 0.05:
            best, chosen = share, delimiter
    return chosen


def _find_decimal(rows: list[list[str]], delimiter: str) -> str:
    """Point or comma. Between commas a field has one only in quotes, and then it may part thousands."""
    fields = [field for row in rows for field in row]
    commas = [field for field in fields if _COMMA.fullmatch(field)]
    points = sum("." in field and bool(_POINT.fullmatch(field)) for field in fields)
    if delimiter == "," and all(len(field.partition(",")[2]) == 3 for field in commas):
        return "."
    return "," if len(commas) > points else "."


def _find_first(rows: list[list[str]]) -> int:
    """The first of the rows that have as many fields as most: before it may stand what a logger says of itself."""
    width = Counter(map(len, rows)).most_common(1)[0][0]
    first = next(index for index, row in enumerate(rows) if len(row) == width)
    # Of a last column without any value only the header shows that it is there.
    above = rows[first - 1] if first else []
    return first - 1 if len(above) == width + 1 and not any(_POINT.fullmatch(field) for field in above) else first


def _is_numeric(field: str, decimal: str) -> bool:
    return bool(_POINT.fullmatch(field.replace(",", ".") if decimal == "," else field))


def _is_missing(field: str) -> bool:
    return field.casefold() in MISSING


def _is_header(rows: list[list[str]], decimal: str) -> bool:
    """Whether the first row names columns: it has no number where the rows below have some, or it counts from 0."""
    head, below = rows[0], rows[1:50]
    if head == [str(index) for index in range(len(head))] and len(head) > 3 and below:
        return True
    columns = [[row[index] for row in below if index < len(row)] for index in range(len(head))]
    for name, column in zip(head, columns, strict=True):
        numbers = sum(_is_numeric(field, decimal) for field in column)
        if numbers > len(column) / 2 and not _is_numeric(name, decimal) and not _is_missing(name):
            return True
    has_numbers = any(_is_numeric(name, decimal) for name in head)
    texts = [set(column) for column in columns]
    # Tables of texts alone: names of columns do not come again below.
    return not has_numbers and all(name and name not in found for name, found in zip(head, texts, strict=True))


def _is_units(rows: list[list[str]], decimal: str) -> bool:
    """Whether the first row below the header has no number, but the next ones have them where it has texts."""
    if len(rows) < 2:
        return False
    first, second = rows[0], rows[1]
    numeric = [index for index, field in enumerate(second) if _is_numeric(field, decimal)]
    above = [first[index] for index in numeric if index < len(first)]
    return bool(above) and not any(_is_numeric(field, decimal) or _is_missing(field) for field in above)


def _named_in_comment(lines: list[str], comment: str, first: list[str], number: int) -> list[str] | None:
    """The names in the comment just above data without a header, as numpy.savetxt writes them."""
    above = [line for line in lines[:number] if line.strip()]
    if not comment or not above or not above[-1].lstrip().startswith(comment):
        return None
    text = above[-1].lstrip().removeprefix(comment).strip()
    for delimiter in DELIMITERS:
        names = _fields(text, delimiter)
        if len(names) == len(first):
            return names
    return None


def _names_above(path: Path, above: list[str], rows: list[list[str]], decimal: str) -> list[str] | None:
    """The names in a line of another width than the data below it: R leaves out that of the names of rows.

    Raises:
        ValueError: they are not those of the fields, as where decimal commas split numbers.
    """
    width = len(rows[0])
    if any(_is_numeric(field, decimal) or _is_missing(field) for field in above):
        return None
    first = [row[0] for row in rows]
    if len(above) == width - 1 > 1 and len(set(first)) == len(first) and not any(map(_DATE.match, first)):
        return ["row", *above]
    raise ValueError(
        f"{path.name} has {width} fields a line below {len(above)} names ({join_names(above)}). If numbers or times "
        "have decimal commas, write it with another delimiter, such as a semicolon. If that line names no columns, say "
        "[recordings] header = false."
    )


def _complete_names(names: list[str] | tuple[str, ...], width: int) -> tuple[str, ...]:
    """A name for each column, none of them twice."""
    names = list(names)
    names = [name or f"column {index + 1}" for index, name in enumerate(names)]
    names += [f"column {index + 1}" for index in range(len(names), width)]
    seen: Counter = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name} {seen[name]}"
    return tuple(names)
