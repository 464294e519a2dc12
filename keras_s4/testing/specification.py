"""The specification of the integer program in `tflite/README.md`, from the operations themselves.

`python -m keras_s4.testing.specification` writes it; a test fails when it is stale.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

from keras_s4.files import write_bytes
from keras_s4.tflite.program import operations
from keras_s4.tflite.program.operations import Operation

GUIDE = Path(__file__).parents[2] / "tflite" / "README.md"
BEGIN, END = "<!-- operations: written by keras_s4.testing.specification -->\n", "<!-- end of operations -->\n"


def specify_operations() -> str:
    """Every operation in Markdown, by family: its exact arithmetic, and what becomes of its tensors."""
    families: dict[str, list[str]] = {}
    for name in operations.__all__:
        kind = getattr(operations, name)
        if kind is not Operation:
            families.setdefault(kind.__module__.rsplit(".", 1)[1], []).append(_specify(kind))
    return "".join(f"### {family}\n\n{''.join(texts)}" for family, texts in sorted(families.items()))


def insert_operations(guide: str) -> str:
    """A guide with the operations as they are now between its two marks."""
    before, _, rest = guide.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{specify_operations()}{END}{after}"


def _specify(kind: type[Operation]) -> str:
    text = inspect.cleandoc(kind.__doc__)
    # Arguments as a list of Markdown, a literal block as one of code.
    text = re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE).replace("Args:\n", "")
    text = re.sub(
        r"^::\n\n((?:    .*\n|\n)+)", lambda found: f"```\n{_dedent(found[1])}\n```\n\n", text, flags=re.MULTILINE
    )
    text = re.sub(r"^        (\S)", r"  \1", text, flags=re.MULTILINE)
    facts = [fact for fact, holds in _facts(kind).items() if holds]
    return f"**{kind.__name__}** — {text}\n\n{'; '.join(facts)}.\n\n"


def _facts(kind: type[Operation]) -> dict[str, bool]:
    uses: dict[str, list[str]] = {}
    for field in dataclasses.fields(kind):
        uses.setdefault(field.metadata.get("use", "parameter"), []).append(f"`{field.name}`")
    words = {"read": "Reads", "written": "writes", "internal": "in between", "parameter": "besides"}
    facts = {f"{words[use]} {', '.join(uses[use])}": True for use in words if use in uses}
    return {**facts, "element by element": kind.elementwise, "holds a state": kind.holds_state}


def _dedent(block: str) -> str:
    return inspect.cleandoc(f"\n{block}").strip("\n")


if __name__ == "__main__":
    write_bytes(GUIDE, insert_operations(GUIDE.read_text()).encode())
