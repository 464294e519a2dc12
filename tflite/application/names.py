"""Names of Keras layers as C++ identifiers, and as text that is safe in a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What a field cannot be named: the keywords of C++ that layers or inputs might be called, macros of hosted compilers,
# and what the sources have constants for.
_TAKEN = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const constexpr
    continue decltype default delete do double dynamic_cast else enum explicit export extern false float for friend goto
    if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
    register requires return short signed sizeof static struct switch template this throw true try typedef typeid
    typename union unsigned using virtual void volatile while xor xor_eq
    linux unix errno stdin stdout stderr NULL EOF model_data
"""


def identifiers(names: Iterable[str]) -> list[str]:
    """An identifier for each name, in order; no two are equal, not even in camel case."""
    used: set[str] = set()
    result = []
    for name in names:
        stem = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "tensor"
        stem = f"tensor_{stem}" if stem[0].isdigit() or stem in _TAKEN.split() else stem
        candidate, count = stem, 1
        while camel_case(candidate).lower() in used:
            count += 1
            candidate = f"{stem}_{count}"
        used.add(camel_case(candidate).lower())
        result.append(candidate)
    return result


def camel_case(identifier: str) -> str:
    """`head_logits` as `HeadLogits`."""
    return "".join(part[:1].upper() + part[1:] for part in identifier.split("_"))


def printable(text: str) -> str:
    """Text that stays inside a comment or a string of C++, whatever a layer is called."""
    return re.sub(r'[^ -~]|[\\"*?]', "_", text)
