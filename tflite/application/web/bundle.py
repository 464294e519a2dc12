"""The modules of a page's JavaScript as one script, since a page that is a file can load no others."""

from __future__ import annotations

import re
from pathlib import Path

IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def bundle(folder: Path, start: str) -> str:
    """The module of a name and all that it imports, each in a function of its own, those that are needed first.

    Args:
        folder: of modules that import names of each other, in one line each.
        start: the module that runs the page.
    """
    parts: dict[str, str] = {}
    _add(folder, start, parts)
    return "\n".join(parts.values())


def _add(folder: Path, name: str, parts: dict[str, str]) -> None:
    text = (folder / f"{name}.js").read_text(encoding="utf-8")
    for _, needed in IMPORT.findall(text):
        if needed not in parts:
            _add(folder, needed, parts)
    body = IMPORT.sub(lambda found: f"const {{ {found[1]} }} = {found[2]}Module;\n", text)
    names = ", ".join(exported for _, exported in EXPORT.findall(text))
    body = EXPORT.sub(r"\1", body)
    parts[name] = f"const {name}Module = (() => {{\n{body}\nreturn {{ {names} }};\n}})();"
