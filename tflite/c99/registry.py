"""Which function translates which operation into C, and what its loops allow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.tensors import Tensor

# Gets the operation and the `Translation`.
Translate = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Translator:
    """How operations of a class become C.

    Args:
        translate: appends statements and constants.
        does: what an operation does, for a comment; or a function that says so of an operation.
        looks_up: whether the elements of the output are stored one by one, by `Translation.assignment`, so that a table
            behind them can be looked up in the same loop; or a function that says so of an operation.
        inlined: whether an element can be computed where it is read, and is then stored nowhere.
        inlines: whether each element of an input is read once, in the loop that stores the element of the output: the
            place for those that are `inlined`.
        helper: from an operation to the array that it needs while it runs, None if it needs none.
    """

    translate: Translate
    does: str | Callable[..., str]
    looks_up: bool | Callable[..., bool] = False
    inlined: bool = False
    inlines: bool = False
    helper: Callable[[Operation], Tensor | None] | None = None

    def describe(self, operation: Operation) -> str:
        """What an operation does."""
        return self.does if isinstance(self.does, str) else self.does(operation)

    def can_look_up(self, operation: Operation) -> bool:
        """Whether a table behind an operation can be looked up in its loop."""
        return self.looks_up if isinstance(self.looks_up, bool) else self.looks_up(operation)


TRANSLATORS: dict[type[Operation], Translator] = {}


def translates(
    *operations: type[Operation],
    does: str | Callable[..., str],
    looks_up: bool | Callable[..., bool] = False,
    inlined: bool = False,
    inlines: bool = False,
    helper: Callable[[Operation], Tensor | None] | None = None,
) -> Callable[[Translate], Translate]:
    """Decorator: this function translates operations of these classes; see `Translator` for the arguments."""

    def add(function: Translate) -> Translate:
        TRANSLATORS.update(dict.fromkeys(operations, Translator(function, does, looks_up, inlined, inlines, helper)))
        return function

    return add


def translator_of(operation: Operation) -> Translator:
    """How an operation becomes C."""
    return TRANSLATORS[type(operation)]


def helper_of(operation: Operation) -> Tensor | None:
    """What an operation needs an array for while it runs."""
    find = translator_of(operation).helper
    return None if find is None else find(operation)
