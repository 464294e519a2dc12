"""Generated text within 120 columns: long comments, directives and statements go on in the next line."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator

COLUMNS = 120
# A continuation stands below its bracket, but not further to the right than this.
_DEEPEST = 60
_TRAILING = re.compile(r"(?P<code>.*\S) +(?P<comment>/\*.*\*/|// .*)")


def within_columns(text: str) -> str:
    """C or C++ whose lines have at most `COLUMNS` columns; names alone may be longer."""
    return "\n".join(part for line in text.split("\n") for part in _parts(line))


def paragraphs_within_columns(text: str) -> str:
    """The same for Markdown: prose is wrapped; rows of tables and lines of code stay."""
    lines, is_code = [], False
    for line in text.split("\n"):
        is_code ^= line.startswith("```")
        stays = is_code or len(line) <= COLUMNS or line.startswith(("|", "    "))
        lines += [line] if stays else textwrap.wrap(line, COLUMNS, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def comment(text: str, indent: str = "") -> list[str]:
    """A comment of C, in one line where it fits."""
    single = f"{indent}/* {text} */"
    if len(single) <= COLUMNS:
        return [single]
    return [f"{indent}/*", *_filled(text, f"{indent} * "), f"{indent} */"]


def _parts(line: str) -> list[str]:
    if len(line) <= COLUMNS:
        return [line]
    code = line.lstrip()
    indent = line[: len(line) - len(code)]
    if code.startswith("//"):
        return _filled(code.removeprefix("//").strip(), f"{indent}// ")
    if line.startswith(" * "):
        return _filled(line.removeprefix(" * "), " * ")
    if code.startswith("/*") and code.endswith("*/"):
        return comment(code[2:-2].strip(), indent)
    if found := _TRAILING.fullmatch(line):
        return [*_parts(f"{indent}{found['comment']}"), *_parts(found["code"])]
    if code.startswith("#"):
        return _directive(line)
    return list(_statement(code, indent))


def _filled(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _directive(line: str) -> list[str]:
    """A macro over several lines, each but the last with a backslash."""
    lines = textwrap.wrap(line, COLUMNS - 2, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def _statement(code: str, indent: str) -> Iterator[str]:
    """Lines of a statement, broken where the fewest brackets are open."""
    while len(indent) + len(code) > COLUMNS and (place := _find_break(code, COLUMNS - len(indent))):
        yield (indent + code[: place.end]).rstrip()
        code = code[place.end :].lstrip()
        below = len(indent) + place.bracket + 1
        indent = " " * below if place.bracket < 0 or below <= _DEEPEST else indent + " " * 8
        indent += " " * 4 * place.is_assignment
    yield indent + code


@dataclasses.dataclass(frozen=True, order=True)
class _Break:
    """A place to break a statement; the largest one is best.

    Args:
        rank: minus the brackets that are open, and less for what reads worse.
        end: length of the part in front.
        bracket: column of the innermost bracket that is open, -1 without one.
        is_assignment: whether it is behind an equals sign.
    """

    rank: float
    end: int
    bracket: int
    is_assignment: bool = False


def _find_break(code: str, room: int) -> _Break | None:
    """The best place: behind a comma, in front of an operator, or behind an equals sign."""
    found: list[_Break] = []
    brackets: list[int] = []
    in_string = False
    for position, letter in enumerate(code[:room]):
        if letter == '"' and code[position - 1] != "\\":
            in_string = not in_string
        if in_string:
            continue
        if letter in "([{":
            brackets.append(position)
        elif letter in ")]}" and brackets:
            brackets.pop()
        depth, bracket = len(brackets), brackets[-1] if brackets else -1
        if letter in ",;" and code[position + 1 : position + 2] == " ":
            found.append(_Break(-depth, position + 1, bracket))
        elif code[position : position + 3] in (" + ", " - ", " ? ", " : "):
            found.append(_Break(-depth - 0.5, position, bracket))
        elif code[position : position + 3] == " = " and not brackets and len(code) - position < room:
            found.append(_Break(-1.25, position + 2, bracket, is_assignment=True))
    return max(found, default=None)
