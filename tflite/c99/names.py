"""Names of Keras layers as identifiers of C and C++, names of files, and text that is safe in a comment."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

# Keywords of C and C++.
_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class
    co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int
    long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename typeof union unsigned using virtual void
    volatile wchar_t while xor xor_eq
"""
# Functions that compilers know by themselves, macros in lower case, and what generated sources name otherwise.
_FUNCTIONS = """
    abort abs acos alloca asin assert atan atan2 bcmp bcopy bzero calloc ceil cos cosh errno exit exp exp2 expm1
    fabs far ffs floor fma fmax fmin fmod free frexp gamma hypot index isalpha isdigit isinf isnan isspace j0 j1 jn
    labs ldexp lgamma linux log log10 log1p log2 main malloc max memchr memcmp memcpy memmove memset min modf near
    nearbyint offsetof pow printf putchar puts realloc remainder rindex rint round scanf signbit significand sin
    sinh sqrt stderr stdin stdout strcat strchr strcmp strcpy strlen strncmp strncpy strstr tan tanh tolower toupper
    trunc unix y0 y1 yn int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t ptrdiff_t intptr_t
    uintptr_t null eof accumulator channel entry largest model_data model_reset model_state model_step nothing partial
    root row start state tap
"""
_TAKEN = frozenset((_KEYWORDS + _FUNCTIONS).split())
# Loop counters and working memory of generated C, and its files.
_OURS = re.compile(r"i\d*|work_[a-z]\d*|keras_s4.*", re.IGNORECASE)
LIBRARY = Path(__file__).parent / "library"
# C promises to tell names apart by so many characters, and functions by 31; theirs end in "_reset".
_LONGEST, _LONGEST_STEM = 63, 24

# NAME.h would hide headers that C sources include, NAME.c another file of ours, or neither can be made on Windows.
_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
    stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype arm_acle
    arm_bf16 arm_fp16 arm_mve arm_neon alloca elf endian features malloc memory poll pthread sched semaphore strings
    unistd arduino cmsis_gcc cmsis_compiler
"""
_FILES = """
    application board board_host decision decisions golden main sample_ring sensor_scale sensors model_data aux con nul
    prn clock$ com1 com2 com3 com4 com5 com6 com7 com8 com9 lpt1 lpt2 lpt3 lpt4 lpt5 lpt6 lpt7 lpt8 lpt9
"""
_TAKEN_FILES = frozenset((_KEYWORDS + _HEADERS + _FILES).split())


def identifiers(names: Iterable[str]) -> list[str]:
    """An identifier for each name, in order; no two are equal, not even in camel case or in capitals.

    Names in capitals become small ones: those are macros of some board.
    """
    used: set[str] = set()
    result = []
    for name in names:
        stem = _stem(name)
        candidate, count = stem, 1
        while camel_case(candidate).lower() in used:
            count += 1
            candidate = f"{stem[: _LONGEST - len(str(count)) - 1]}_{count}"
        used.add(camel_case(candidate).lower())
        result.append(candidate)
    return result


def _stem(name: str) -> str:
    """The identifier of a name that no other is equal to."""
    stem = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "tensor"
    stem = stem if any(letter.islower() for letter in stem) else stem.lower()
    if stem[0].isdigit() or stem.lower() in _TAKEN | _names_of_kernels() or _OURS.fullmatch(stem):
        stem = f"tensor_{stem}"
    return stem[:_LONGEST].rstrip("_")


@functools.cache
def _names_of_kernels() -> frozenset[str]:
    """Functions, types and macros of the kernels, in small letters."""
    words = (re.findall(r"\bs4_\w+", path.read_text().lower()) for path in LIBRARY.iterdir())
    return frozenset(itertools.chain.from_iterable(words))


def short_name(tensor: str) -> str:
    """The name of a tensor without the word for what its layer makes in the end: `head` for `head/product`."""
    return re.sub(r"/(output|product)(?=\[|$)", "", tensor)


def file_stem(name: str) -> str:
    """What the two files and functions of a model are called in C: its name where it can be.

    They hide no header and no other file of this package, on file systems that know no case either.
    """
    stem = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "model"
    stem = f"model_{stem}" if stem[0].isdigit() or _is_taken_file(stem) else stem
    stem = stem[:_LONGEST_STEM].rstrip("_")
    return f"model_{stem}" if _is_taken_file(stem) else stem


def check_file_stem(name: str) -> None:
    """Refuse a name that the files and functions of a model cannot have.

    Raises:
        ValueError: it is no identifier, is longer than 63 characters, or is taken, in capitals or not.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name):
        raise ValueError(f"Received name={name!r}; expected an identifier of C, such as {file_stem(str(name))!r}.")
    if len(name) > _LONGEST:
        raise ValueError(f"Received a name of {len(name)} characters; expected {_LONGEST} at most.")
    if _is_taken_file(name):
        raise ValueError(
            f"Received name={name!r}, which C, its headers, or other files of this package have already; choose "
            f"another, such as {file_stem(name)!r}."
        )


def _is_taken_file(name: str) -> bool:
    return name.lower() in _TAKEN_FILES or bool(re.match("s4_|keras_s4", name, re.IGNORECASE))


def camel_case(identifier: str) -> str:
    """`head_logits` as `HeadLogits`."""
    return "".join(part[:1].upper() + part[1:] for part in identifier.split("_"))


def printable(text: str) -> str:
    """Text that stays inside a comment or a string of C++, whatever a layer is called."""
    return re.sub(r'[^ -~]|[\\"*?]', "_", text)
