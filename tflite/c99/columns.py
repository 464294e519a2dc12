"""Generated text within 120 columns: long comments, directives and statements go on in the next line."""

from __future__ import annotations

import dataclasses
import itertools
import re
import textwrap
from collections.abc import Iterator

COLUMNS = 120
# A continuation stands below its bracket, but not further to the right than this: less, where names are long.
_DEEPEST = (60, 24, 0)
_TRAILING = re.compile(r"(?P<code>.*\S) +(?P<comment>/\*.*\*/|// .*)")


def within_columns(text: str) -> str:
    """C or C++ whose lines have at most `COLUMNS` columns; names alone may be longer."""
    return "\n".join(part for line in text.split("\n") for part in _parts(line))


def paragraphs_within_columns(text: str) -> str:
    """The same for Markdown: paragraphs with a longer line are filled anew; rows of tables and code stay."""
    lines: list[str] = []
    for is_prose, group in itertools.groupby(_with_prose(text.split("\n")), key=lambda pair: pair[0]):
        part = [line for _, line in group]
        if is_prose and max(map(len, part)) > COLUMNS:
            part = textwrap.wrap(" ".join(part), COLUMNS, break_long_words=False, break_on_hyphens=False)
        lines += part
    return "\n".join(lines)


def _with_prose(lines: list[str]) -> Iterator[tuple[bool, str]]:
    """Each line of Markdown with whether it belongs to a paragraph."""
    is_code = False
    for line in lines:
        is_code ^= line.startswith("```")
        yield not is_code and bool(line) and not line.startswith(("|", "#", "-", "    ", "```")), line


def comment(text: str, indent: str = "") -> list[str]:
    """A comment of C, in one line where it fits."""
    single = f"{indent}/* {text} */"
    if len(single) <= COLUMNS:
        return [single]
    return [f"{indent}/*", *_fill(text, f"{indent} * "), f"{indent} */"]


def _parts(line: str) -> list[str]:
    if len(line) <= COLUMNS:
        return [line]
    code = line.lstrip()
    indent = line[: len(line) - len(code)]
    if code.startswith("//"):
        return _fill(code.removeprefix("//").strip(), f"{indent}// ")
    if line.startswith(" * "):
        return _fill(line.removeprefix(" * "), " * ")
    if code.startswith("/*") and code.endswith("*/"):
        return comment(code[2:-2].strip(), indent)
    if found := _TRAILING.fullmatch(line):
        return [*_parts(f"{indent}{found['comment']}"), *_parts(found["code"])]
    if code.startswith("#"):
        return _directive(line)
    layouts = [list(_statement(code, indent, deepest)) for deepest in _DEEPEST]
    return next((lines for lines in layouts if max(map(len, lines)) <= COLUMNS), layouts[-1])


def _fill(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _directive(line: str) -> list[str]:
    """A macro over several lines, each but the last with a backslash."""
    lines = textwrap.wrap(line, COLUMNS - 2, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def _statement(code: str, indent: str, deepest: int) -> Iterator[str]:
    """Lines of a statement, broken where the fewest brackets are open; none is indented beyond a column."""
    while len(indent) + len(code) > COLUMNS and (place := _find_break(code, COLUMNS - len(indent))):
        yield (indent + code[: place.end]).rstrip()
        code = code[place.end :].lstrip()
        below = len(indent) + place.bracket + 1
        indent = " " * below if place.bracket < 0 or below <= deepest else indent + " " * 4
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
    """The best place: behind a comma, in front of an operator, or behind an equals sign or a bracket."""
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
        elif code.startswith((" + ", " - ", " ? ", " : ", " || ", " && "), position):
            found.append(_Break(-depth - 0.5, position, bracket))
        elif code[position : position + 3] == " = " and not brackets:
            fits = len(code) - position < room
            found.append(_Break(-1.25 if fits else -2.25, position + 2, bracket, is_assignment=True))
        elif letter == "(":
            found.append(_Break(-depth - 0.75, position + 1, bracket))
    return max(found, default=None)
