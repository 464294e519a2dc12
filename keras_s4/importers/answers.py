"""What a checkpoint does not say, and its user does; what is missing is asked for by name, all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keras_s4.checks import quote
from keras_s4.importers.checkpoint import CheckpointError


class Answers:
    """Options that were given, questions that came up, and what was assumed.

    Args:
        options: arguments of `load` that describe the model, None where not given.
        settings: arguments of published layers, by their names there.
    """

    def __init__(self, options: Mapping[str, Any], settings: Mapping[str, Any]):
        self._options = {name: value for name, value in options.items() if value is not None}
        self._settings = dict(settings)
        self._used: set[str] = set()
        self._asked: dict[str, str] = {}
        self.notes: list[str] = []

    def ask(self, name: str, what: str, choices: Iterable[Any], meanwhile: Any = None) -> Any:
        """An option that must be given.

        Args:
            name: of the argument of `load`.
            what: it says, and who needs it.
            choices: what it may be; empty for any whole number of at least 1.
            meanwhile: what to go on with until all questions are known; by default the first choice, or 1.
        """
        choices = tuple(choices)
        if name in self._options:
            self._used.add(name)
            return _checked(name, self._options[name], choices)
        expected = " or ".join(repr(each) for each in choices) if choices else "a number of steps"
        self._asked.setdefault(name, f"{name}={expected} ({what})")
        return meanwhile if meanwhile is not None else choices[0] if choices else 1

    def option(self, name: str, default: Any, choices: Iterable[Any]) -> Any:
        """An option that need not be given."""
        self._used.add(name)
        return _checked(name, self._options.get(name, default), tuple(choices))

    def setting(self, name: str, what: str, choices: Iterable[Any]) -> Any:
        """An argument of a published layer that must be given."""
        choices = tuple(choices)
        if name in self._settings:
            self._used.add(f"settings {name}")
            return _checked(f"settings[{name!r}]", self._settings[name], choices)
        self._asked.setdefault(name, f"settings={{{name!r}: {' or '.join(repr(each) for each in choices)}}} ({what})")
        return choices[0]

    def default(self, name: str, default: Any, who: str, choices: Iterable[Any] = ()) -> Any:
        """An argument of a published layer that is taken for its default where nobody says otherwise.

        Args:
            name: of the argument there.
            default: its value there.
            who: has this default.
            choices: what it may be; empty for any number, or None.
        """
        choices = tuple(choices)
        if name in self._settings:
            self._used.add(f"settings {name}")
            value = self._settings[name]
            if not choices and not (value is None or (isinstance(value, (int, float)) and value >= 0)):
                raise CheckpointError(f"settings[{name!r}] is {quote(value)}; expected a number, or None.")
            return _checked(f"settings[{name!r}]", value, choices)
        note = f"{name}={default!r}, as {who} has it by default"
        if note not in self.notes:
            self.notes.append(note)
        return default

    def note(self, text: str) -> None:
        """Says something that was assumed, once."""
        if text not in self.notes:
            self.notes.append(text)

    def finish(self, model: str) -> None:
        """Refuses questions without answers, and answers without questions.

        Raises:
            ValueError: with the names of all.
        """
        if self._asked:
            asked = "; ".join(self._asked.values())
            raise CheckpointError(f"The checkpoint is {model}, but does not say all of it. Give {asked}.")
        unused = [name for name in self._options if name not in self._used]
        unused += [f"settings[{name!r}]" for name in self._settings if f"settings {name}" not in self._used]
        if unused:
            raise CheckpointError(f"{', '.join(unused)} was given, but {model} has no use for it.")


def _checked(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if choices and (value not in choices or (isinstance(value, bool) != isinstance(choices[0], bool))):
        raise CheckpointError(f"{name} is {quote(value)}; expected {' or '.join(repr(each) for each in choices)}.")
    if not choices and name == "training_length" and (type(value) is not int or value < 1):
        raise CheckpointError(f"{name} is {quote(value)}; expected a whole number of steps of at least 1.")
    return value
