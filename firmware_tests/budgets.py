"""What images may cost: figures stored with the version of the compiler that they were measured with."""

from __future__ import annotations

import json
from pathlib import Path

from keras_s4.files import write_bytes

TOLERANCE = 1.05
# Between these lines a README shows a table of budgets.
START, END = "<!-- budgets -->\n", "\n<!-- end of budgets -->"


class Budgets:
    """A JSON file of figures by name.

    Args:
        path: path of the file.
        renew: whether figures are stored by `save` instead of compared.
    """

    def __init__(self, path: Path, renew: bool = False):
        self.path = path
        self.renew = renew
        self.entries: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def hold(self, name: str, compiler: str, figures: dict[str, float]) -> str:
        """Compare figures with the budget of that name, which each may exceed by 5%.

        Args:
            name: name of the budget.
            compiler: name and version; figures of another version are not compared.
            figures: measured values by kind.

        Returns:
            What was done: "held", "renewed", or why nothing was compared.

        Raises:
            AssertionError: a figure exceeds its budget.
            KeyError: there is no budget of that name.
        """
        figures = {key: round(value) for key, value in figures.items()}
        if self.renew:
            self.entries[name] = {"compiler": compiler, **figures}
            return "renewed"
        if name not in self.entries:
            raise KeyError(
                f"No budget {name!r} in {self.path.name}: store it with pytest firmware_tests --renew-budgets."
            )
        budget = dict(self.entries[name])
        if (version := budget.pop("compiler")) != compiler:
            return f"not compared: the budget is of {version}"
        over = [
            f"{key} {figures[key]}, budget {value}" for key, value in budget.items() if figures[key] > value * TOLERANCE
        ]
        if over:
            raise AssertionError(f"{name}: {'; '.join(over)}")
        return "held"

    def table(self, program: str) -> str:
        """The budgets of a program's images as a table of Markdown.

        Args:
            program: last word of the names of its budgets.
        """
        rows = ["| image | compiler | code | constants | RAM | stack | instructions |", "|---|---|---|---|---|---|---|"]
        for name, entry in sorted(self.entries.items()):
            image, _, kind = name.rpartition(" ")
            if kind == program:
                figures = [f"{entry[key]:,}" for key in ("code", "constants", "ram", "stack", "instructions")]
                rows.append(f"| {' | '.join([image, entry['compiler'], *figures])} |")
        return "\n".join(rows)

    def save(self) -> None:
        """Write the file, one line a budget."""
        lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(self.entries.items())]
        write_bytes(self.path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def with_table(text: str, table: str) -> str:
    """The text of a README with another table between `START` and `END`.

    Raises:
        ValueError: it has no such lines.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"Expected the lines {START.strip()!r} and {END.strip()!r} around the table of budgets.")
    return f"{before}{start}{table}{end}{after}"
