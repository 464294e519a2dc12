"""How often the loops of the C kernels run in a call: read from what is passed to them in a generated C file.

Each core has one of three forms of a kernel: plain C, DSP instructions, or Helium's vectors.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PLAIN, DSP, HELIUM = "plain", "DSP", "Helium"
_FORMS = {"m4": DSP, "m7": DSP, "m33": DSP, "m55": HELIUM}
_ROWS = 4  # of a matrix at once

_STRUCT = re.compile(r"^static const s4_\w+ (\w+) = \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"^ +([-\w]+), /\* (\w+) \*/$", re.MULTILINE)
_MODE = re.compile(r"S4_MODE\((-?\d+), (-?\d+), (-?\d+), (-?\d+), (-?\d+), ([\w +]+)\)")
_CALL = re.compile(r"(?:const int32_t root = )?(s4_\w+)\((.*)\)$")


@dataclass(frozen=True)
class Modes:
    """What a DSS layer's modes are, `channels * modes` of them in their order.

    Args:
        wide: of each mode whether its decay has 17 bits.
        fed: of each mode whether its rounding errors are fed back.
    """

    wide: Sequence[bool]
    fed: Sequence[bool]


@dataclass(frozen=True)
class Layers:
    """The structs that kernels take, by name: their whole numbers, and of DSS layers the modes."""

    numbers: dict[str, dict[str, int]]
    modes: dict[str, Modes]


def form_on(core: str) -> str:
    """The form of the kernels on a core."""
    return _FORMS.get(core, PLAIN)


@functools.lru_cache(4)
def read_layers(source: str) -> Layers:
    """The structs in a generated C file."""
    numbers, modes = {}, {}
    for name, text in _STRUCT.findall(source):
        members = {member: value for value, member in _MEMBER.findall(text)}
        numbers[name] = {m: int(v.rstrip("U")) for m, v in members.items() if re.fullmatch(r"-?\d+U?", v)}
        if "modes" in members and "constants" in members:
            modes[name] = _read_modes(source, members["constants"])
    return Layers(numbers, modes)


def is_call(statement: str) -> str | None:
    """The kernel that a statement calls, if it is nothing but a call."""
    found = _CALL.match(statement)
    return found[1] if found and (found[1] in _COUNTS or statement.startswith("s4_")) else None


def kernel_work(call: str, layers: Layers, form: str) -> Counter[str]:
    """The rounds of the loops of a kernel.

    Args:
        call: a statement that calls it.
        layers: of the file.
        form: of the kernels.

    Returns:
        How often each of its parts runs, by "FUNCTION, PART"; of a kernel that is not known here, calls alone.
    """
    function, arguments = _CALL.match(call).groups()
    given = [argument.strip() for argument in arguments.split(",")]
    layer = given[0].removeprefix("&")
    parts: dict[str, float] = {"calls": 1}
    if count := _COUNTS.get(function):
        parts |= count(layers, layer, given, form)
    return Counter({f"{function}, {part}": number for part, number in parts.items() if number})


def _read_modes(source: str, constants: str) -> Modes:
    start = source.index(f" {constants}[")
    text = source[start : source.index("\n};", start)]
    found = [(int(mode[2]), "S4_FED_BACK" in mode[5]) for mode in _MODE.findall(text)]
    return Modes([decay < -(2**15) for decay, _ in found], [fed for _, fed in found])


def _dense(vector: dict[str, int]) -> Callable[..., dict[str, float]]:
    """Groups of four rows; in each the inputs of a vector at once, then what is left."""

    def count(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
        sizes = layers.numbers[layer]
        groups, width = -(-sizes["outputs"] // _ROWS), vector[form]
        vectors, rest = divmod(sizes["inputs"], width)
        rests = (rest > 0) if form == HELIUM else rest
        return {"groups": groups, f"groups x {width} inputs": groups * vectors, "groups x rest": groups * rests}

    return count


def _packed_dense(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    """Groups of four rows, in each words of eight weights; DSP instructions take inputs that are unpacked once."""
    sizes = layers.numbers[layer]
    inputs, groups = sizes["inputs"], -(-sizes["outputs"] // _ROWS)
    words, rest = -(-inputs // 8), inputs % 8 > 0
    if form == HELIUM:
        return {
            "groups": groups,
            "groups x 32 inputs": groups * (inputs // 32),
            "groups x rest": groups * (inputs % 32 > 0),
        }
    unpacked = {"words": words, "words with a rest": rest} if form == DSP else {"groups with a rest": groups * rest}
    return {"groups": groups, "groups x words": groups * words, **unpacked}


def _any_dense(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    sizes = layers.numbers[layer]
    return {"outputs": sizes["outputs"], "products": sizes["outputs"] * sizes["inputs"]}


def _depthwise(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    sizes = layers.numbers[layer]
    outputs = sizes["channels"] * sizes["multiplier"]
    return {"outputs": outputs, "channels": sizes["channels"], "products": outputs * sizes["taps"]}


def _diagonal(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    channels, modes = (layers.numbers[layer][name] for name in ("channels", "modes"))
    wide, fed = layers.modes[layer].wide, layers.modes[layer].fed
    parts: Counter[str] = Counter({"channels": channels})
    for first in range(0, channels * modes, modes):
        span = range(first, first + modes)
        count = {PLAIN: _plain_modes, DSP: _dsp_modes, HELIUM: _helium_modes}[form]
        parts.update(count([wide[mode] for mode in span], [fed[mode] for mode in span]))
    return dict(parts)


def _plain_modes(wide: Sequence[bool], fed: Sequence[bool]) -> dict[str, int]:
    return {"modes": len(wide), "modes fed back": sum(fed)}


def _dsp_modes(wide: Sequence[bool], fed: Sequence[bool]) -> dict[str, int]:
    """Modes of the first kind come before one that takes longer."""
    longer = [a or b for a, b in zip(wide, fed, strict=True)]
    plain = longer.index(True) if any(longer) else len(longer)
    return {
        "modes": plain,
        "modes behind": len(wide) - plain,
        "modes with 17 bits": sum(wide),
        "modes fed back": sum(fed),
        "channels of two kinds": 0 < plain < len(wide),
    }


def _helium_modes(wide: Sequence[bool], fed: Sequence[bool]) -> dict[str, int]:
    """Four at once, which are fed back where the last of them is; then what is left."""
    whole = len(fed) // 4 * 4
    fours = [any(fed[first + 3 : first + 4]) for first in range(0, whole, 4)]
    return {
        "fours": len(fours) - sum(fours),
        "fours fed back": sum(fours),
        "channels with a rest": whole < len(fed),
        "modes": len(fed) - whole,
        "modes fed back": sum(fed[whole:]),
    }


def _modal(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    modes, fed = (layers.numbers[layer][name] for name in ("modes", "fed_back"))
    return {"modes": modes - fed, "modes fed back": fed}


def _read_out(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    channels = layers.numbers[layer]["channels"]
    return {"fours": -(-channels // 4)} if form == HELIUM else {"channels": channels}


def _values(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    return {"values": int(given[-1].rstrip("U"))}


def _root(layers: Layers, layer: str, given: Sequence[str], form: str) -> dict[str, float]:
    return {"values": layers.numbers[layer]["size"], "ranges": layers.numbers[layer]["ranges"]}


_COUNTS: dict[str, Callable[[Layers, str, Sequence[str], str], dict[str, float]]] = {
    "s4_dense_int8": _dense({PLAIN: 1, DSP: 4, HELIUM: 16}),
    "s4_dense_int16": _dense({PLAIN: 1, DSP: 4, HELIUM: 8}),
    "s4_dense_int4": _packed_dense,
    "s4_dense_int4_any": lambda layers, layer, given, form: _packed_dense(layers, layer, given, PLAIN),
    "s4_dense_int8_any": _any_dense,
    "s4_dense_int16_any": _any_dense,
    "s4_depthwise_product": _depthwise,
    "s4_diagonal_step": _diagonal,
    "s4_diagonal_step_clamped": _diagonal,
    "s4_diagonal_step_fed_back": _diagonal,
    "s4_modal_step": _modal,
    "s4_modal_step_clamped": _modal,
    "s4_read_out_int8": _read_out,
    "s4_read_out_int16": _read_out,
    "s4_sigmoid": _values,
    "s4_tanh": _values,
    "s4_interpolate": _values,
    "s4_reciprocal_root": _root,
}
