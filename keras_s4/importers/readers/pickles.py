"""Pickles as PyTorch writes them, read without running what they say.

A pickle is a program for a stack machine, and Python's own reader calls whatever function it names. This reader knows
the instructions that plain containers are made of; what a pickle calls is never imported, but looked up by name among
a few constructors that the caller gives, and refused if it is not there.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras_s4.importers.checkpoint import CheckpointError

# Instructions of the largest pickle that is read; a state dictionary takes some thirty for each array.
MOST_INSTRUCTIONS = 4_000_000


class Name(NamedTuple):
    """A function or class that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Plain(dict):
    """What stands for an object of a class that is not needed: its values by name, if it has any."""


class _Mark:
    """Where the items of a container begin on the stack."""


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "BINBYTES", "SHORT_BINBYTES", "FLOAT",
}  # fmt: skip
_SILENT = {"PROTO", "FRAME"}


def load(
    content: bytes,
    what: str,
    constructors: Mapping[Name, Callable[..., Any]],
    values: Mapping[Name, Any],
    find: Callable[[Any], Any],
) -> Any:
    """The value that a pickle makes.

    Args:
        content: the pickle.
        what: it is called in messages.
        constructors: what a pickle may call.
        values: what a pickle may name without calling it.
        find: gives what a persistent identifier stands for.

    Raises:
        ValueError: it is damaged, names something else, or has instructions that plain data need not.
    """
    machine = _Machine(what, constructors, values, find)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_INSTRUCTIONS:
                raise CheckpointError(f"{what} has more than {MOST_INSTRUCTIONS:,} instructions.")
            if instruction.name == "STOP":
                return machine.stack.pop()
            machine.run(instruction.name, argument)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"{what} is damaged: {error}.") from error
    raise CheckpointError(f"{what} is damaged: it ends in the middle.")


class _Machine:
    """The stack and memory of a pickle."""

    def __init__(self, what, constructors, values, find):
        self.what, self.constructors, self.values, self.find = what, constructors, values, find
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """One instruction."""
        if name in _SILENT:
            return
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memory[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memory[len(self.memory)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memory[int(argument)])
        elif (do := getattr(self, f"_{name.lower()}", None)) is not None:
            do(argument)
        else:
            raise CheckpointError(f"{self.what} has the instruction {name}, which plain data do not need.")

    def _items(self) -> list[Any]:
        place = next(index for index in range(len(self.stack) - 1, -1, -1) if self.stack[index] is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _mark(self, _) -> None:
        self.stack.append(_MARK)

    def _pop(self, _) -> None:
        self.stack.pop()

    def _tuple(self, _) -> None:
        self.stack.append(tuple(self._items()))

    def _tuple1(self, _) -> None:
        self._last(1)

    def _tuple2(self, _) -> None:
        self._last(2)

    def _tuple3(self, _) -> None:
        self._last(3)

    def _last(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise IndexError("too few values")
        del self.stack[-count:]
        self.stack.append(items)

    def _list(self, _) -> None:
        self.stack.append(self._items())

    def _dict(self, _) -> None:
        items = self._items()
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def _append(self, _) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _) -> None:
        self._extend(self._items())

    def _additems(self, _) -> None:
        self._extend(self._items())

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("values are appended to what is no list")
        self.stack[-1].extend(items)

    def _setitem(self, _) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _) -> None:
        self._set(self._items())

    def _set(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise TypeError("entries are put into what is no dictionary")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _global(self, argument: str) -> None:
        self._push_name(*argument.split(" ", 1))

    def _stack_global(self, _) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._push_name(str(module), str(name))

    def _push_name(self, module: str, name: str) -> None:
        named = Name(module, name)
        if named not in self.constructors and named not in self.values:
            raise CheckpointError(
                f"{self.what} names {str(named)[:200]!r}, and a file that names code is not read: only arrays and "
                "plain values are. Save the state dictionary alone: torch.save(model.state_dict(), 'NAME.pt')."
            )
        self.stack.append(self.values.get(named, named))

    def _reduce(self, _) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("something is called that is no function")
        self.stack.append(self.constructors[function](*arguments))

    _newobj = _reduce

    def _build(self, _) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Plain):
            self.stack[-1].update(state if isinstance(state, dict) else {})
        elif not isinstance(self.stack[-1], dict):  # a state dictionary's `_metadata` is not needed
            raise TypeError("attributes are set of something else than a dictionary")

    def _binpersid(self, _) -> None:
        self.stack.append(self.find(self.stack.pop()))
