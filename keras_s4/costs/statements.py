"""The statements of a generated step: how often each runs, and what it looks like whatever its names and numbers are.

The C is our own, so what stands here need read no other: loops with constant bounds, conditions on counters of the
state, calls of kernels, copies, and assignments.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Iterator

SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}
_TYPES = "|".join(SIZES)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_LOOP = re.compile(r"for \(uint32_t \w+ = (\w+); \w+ < (\w+); (?:\+\+\w+|\w+ \+= (\w+))\)$")
_EQUAL = re.compile(r"(.+) == (\d+)$")
_LESS = re.compile(r"\S+ < \d+$")
_REFUSED = re.compile(r".*\S < 0 \|\| ")
_STEP = re.compile(r"^\w+ \w+_step\((?P<arguments>.*?)\)\n\{\n(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL)
_ALIAS = re.compile(rf"({_TYPES}) \*const (\w+) = ")
_CONSTANT = re.compile(rf"^static const ({_TYPES}) (\w+)\[", re.MULTILINE)
_FIELD = re.compile(rf"^ +({_TYPES}) (\w+)(?:\[\d+\])?;", re.MULTILINE)
_ARGUMENT = re.compile(rf"(?:const )?({_TYPES}) (\w+)\[")
_NAME = re.compile(r"(?:state->)?[A-Za-z_]\w*|\d+U?")
_KEPT = 4  # files, each asked for its work, code and bytes on several cores
_COUNTERS = re.compile(r"i\d?|row|tap|channel")
_WORDS = {"accumulator", "const", "entry", "largest", "partial", "FACTOR", "SHIFT", "UP", "DOWN", "EVEN"}
_MOVE = re.compile(r"[\w>-]+\[[^\]]*\] = [\w>-]+\[[^\]]*\]$")
_ROUNDS, _WRITTEN = 16, 64  # GCC's limits for what it writes out
_FUNCTION = re.compile(r"\w*$")
_WHOLE = re.compile(r" ?-?\d+$")


@dataclasses.dataclass(frozen=True)
class Statement:
    """Lines that run one after the other, without a loop between them.

    Args:
        text: C without comments, on one line.
        times: how often they run in a call, on the average over many; a fraction where a condition seldom holds.
        rounds: of the innermost loop around them, each time that it is entered; 1 without one.
        written: how often they stand in compiled code: compilers write short loops of nothing but a move out.
    """

    text: str
    times: float
    rounds: int
    written: int = 1


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop.

    Args:
        entries: how often it is entered in a call.
        rounds: how often its body runs in a call.
    """

    entries: float
    rounds: float


@dataclasses.dataclass(frozen=True)
class Step:
    """The body of a generated step.

    Args:
        statements: in their order; what of a body no loop or call interrupts is one.
        loops: those that are not written out.
        types: of what can be indexed, by name: "w16" for int16 in working memory, an argument or the state, "c8" for a
            constant.
    """

    statements: list[Statement]
    loops: list[Loop]
    types: dict[str, str]


@functools.lru_cache(_KEPT)
def read_step(source: str, header: str) -> Step:
    """The step of a generated C file and its header."""
    found = _STEP.search(source)
    if found is None:
        return Step([], [], {})
    body = _COMMENT.sub("", found["body"])
    reader = _Reader(list(_parts(body)))
    reader.read(1.0, 1)
    return Step(reader.statements, reader.loops, _types(source, header, found["arguments"], body))


def normal_form(text: str, types: dict[str, str]) -> str:
    """A statement without the names and numbers on which its cost does not depend.

    Of numbers only those that something is multiplied by are kept apart: powers of two are shifts.
    """
    text = _name_constants(text)

    def general(match: re.Match[str]) -> str:
        word = match[0]
        if word in types:
            return types[word]
        if word[0].isdigit():
            return "N"
        if word.startswith(("s4_", "int", "uint", "S4_", "INT")) or word in _WORDS:
            return word
        return "i" if _COUNTERS.fullmatch(word) else "x"

    text = re.sub(r"-N\b", "N", _NAME.sub(general, text)).replace("- N", "+ N")
    return re.sub(r"\[[iN](?: [*+] [iN])*\]", "[i]", re.sub(r"(?<=\]) \+ N(?=\])", "", text))


def _name_constants(text: str) -> str:
    """Calls with the kind of their constant in place of it, where the compiler makes another instruction of each."""
    calls: list[list[int]] = []  # where the open brackets and the commas behind them are
    replaced: list[tuple[int, int, str]] = []
    for place, letter in enumerate(text):
        if letter == "(":
            calls.append([place])
        elif letter == "," and calls:
            calls[-1].append(place)
        elif letter == ")":
            places = calls.pop()
            function, last = _FUNCTION.search(text[: places[0]])[0], text[places[-1] + 1 : place]
            if not _WHOLE.match(last):
                continue
            value, size = int(last), abs(int(last))
            if function == "s4_multiply":
                replaced.append((places[-1] + 1, place, " SHIFT" if size & (size - 1) == 0 else " FACTOR"))
            elif function == "s4_scale":
                replaced.append((places[-1] + 1, place, " UP" if value > 0 else " DOWN" if value else " EVEN"))
    for start, end, word in sorted(replaced, reverse=True):
        text = text[:start] + word + text[end:]
    return text


def _parts(body: str) -> Iterator[str]:
    """Headers with a brace behind them, closing braces, and statements."""
    depth, start, flat = 0, 0, " ".join(body.split()).replace("( ", "(")
    for place, letter in enumerate(flat):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif depth == 0 and letter in ";{}":
            part = flat[start:place].strip()
            yield f"{part}{letter}"
            start = place + 1


class _Reader:
    def __init__(self, parts: list[str]):
        self.parts = parts
        self.place = 0
        self.statements: list[Statement] = []
        self.loops: list[Loop] = []
        self.joined: list[str] = []
        self.least: dict[str, int] = {}
        for part in parts:
            if part.startswith("if (") and (equal := _EQUAL.match(part[4:-1].rstrip(" )"))):
                self.least[equal[1]] = min(int(equal[2]), self.least.get(equal[1], int(equal[2])))

    def read(self, times: float, rounds: int) -> None:
        """Up to the closing brace."""
        share = 1.0
        while self.place < len(self.parts):
            part = self.parts[self.place]
            self.place += 1
            if part == "}":
                break
            if not part.endswith("{"):
                self.add(part, times, rounds)
                continue
            self.flush(times, rounds)
            header = part[:-1].strip()
            if loop := _LOOP.match(header):
                first = int(loop[1]) if loop[1].isdigit() else 0
                inside = -(-(_whole(loop[2]) - first) // _whole(loop[3] or "1"))
                first, loops = len(self.statements), len(self.loops)
                self.read(times * inside, inside)
                if len(self.loops) > loops or not self.write_out(first, inside):
                    self.loops.append(Loop(times, times * inside))
            elif header.startswith("if ("):
                share = self.likelihood(header[4:-1])
                self.read(times * share, rounds)
            else:
                self.read(times * (1 - share if header == "else" else 1), rounds)
        self.flush(times, rounds)

    def add(self, part: str, times: float, rounds: int) -> None:
        text = part.removesuffix(";")
        if _ALIAS.match(text):
            return
        if text.startswith(("(void)memcpy", "s4_")):
            self.flush(times, rounds)
            self.statements.append(Statement(text, times, rounds))
        else:
            self.joined.append(text)

    def flush(self, times: float, rounds: int) -> None:
        if self.joined:
            self.statements.append(Statement("; ".join(self.joined), times, rounds))
        self.joined = []

    def write_out(self, first: int, rounds: int) -> bool:
        """Whether the statements from `first` on, which a loop runs, need no loop; they are then changed."""
        body = self.statements[first:]
        written = rounds * body[0].written if body else 0
        if len(body) != 1 or not _MOVE.match(body[0].text) or rounds > _ROUNDS or written > _WRITTEN:
            return False
        self.statements[first] = dataclasses.replace(body[0], rounds=1, written=written)
        return True

    def likelihood(self, condition: str) -> float:
        """How often a condition holds long after a reset, where outputs are wanted."""
        if equal := _EQUAL.match(condition):
            passed = int(equal[2]) - self.least[equal[1]]
            return 1 / passed if passed else 0.0
        return 0.0 if _REFUSED.match(condition) or _LESS.match(condition) else 1.0


def _whole(text: str) -> int:
    """A constant; of a loop's step that is a number of channels, and so a name, there is none."""
    return int(text.rstrip("U"))


def _types(source: str, header: str, arguments: str, body: str) -> dict[str, str]:
    found = {}
    for letter, pairs in (
        ("c", _CONSTANT.findall(source)),
        ("w", _ARGUMENT.findall(arguments) + _ALIAS.findall(body)),
    ):
        found |= {name: f"{letter}{8 * SIZES[type_]}" for type_, name in pairs}
    fields = {f"state->{name}": f"w{8 * SIZES[type_]}" for type_, name in _FIELD.findall(header)}
    return defaultdict(str, found | fields)
