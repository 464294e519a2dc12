"""Sections of a TOML file as dataclasses: names that there are not are refused with the nearest that there is."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_s4.checks import quote

WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
}


def read_section(kind: type, table: Any, where: str) -> Any:
    """A section as an object of a dataclass, whose fields are its keys.

    Args:
        kind: a dataclass, with fields of texts, numbers, truth values, choices (`Literal`), and tuples and dicts of
            texts.
        table: what the TOML file holds.
        where: it stands, for messages: "[labels]".

    Raises:
        ValueError: no table, a key that there is not, one that is missing, or a value of another type; says which.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} is {quote(table)}; expected a table of keys and values.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    check_keys(table, fields, where)
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in needed if name not in table]
    if missing:
        raise ValueError(f"{where} has no {' and no '.join(missing)}; expected {', '.join(needed)}.")
    types_of = typing.get_type_hints(kind)
    return kind(**{name: _value(value, types_of[name], f"{where} {name}") for name, value in table.items()})


def check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuses keys that there are not.

    Raises:
        ValueError: names the key, the nearest that there is, and all.
    """
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where} has no key {key!r}; it has {', '.join(known)}.{meant}")


def _value(value: Any, kind: Any, where: str) -> Any:
    """A value of a type.

    Raises:
        ValueError: it is of another.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool):
            choices = ", ".join(quote(choice) for choice in arguments if choice != "")
            near = difflib.get_close_matches(str(value), [str(choice) for choice in arguments], 1, 0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where} is {quote(value)}; expected one of {choices}.{meant}")
        return value
    if origin in (types.UnionType, typing.Union):
        kinds = [argument for argument in arguments if argument is not type(None)]
        for argument in kinds[:-1]:
            try:
                return _value(value, argument, where)
            except ValueError:
                continue
        return _value(value, kinds[-1], where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} is {quote(value)}; expected a list, such as [{quote(value)}].")
        return tuple(_value(entry, arguments[0], f"{where}, entry {index},") for index, entry in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f'{where} is {quote(value)}; expected a table, such as {{ a = "b" }}.')
        return {str(key): _value(entry, arguments[1], f"{where} {key}") for key, entry in value.items()}
    return _plain(value, kind, where)


def _plain(value: Any, kind: type, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not kind:
        raise ValueError(f"{where} is {quote(value)}; expected {WORDS.get(kind, kind.__name__)}.")
    return value
