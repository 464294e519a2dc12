"""What the guides name exists: names of Python, files, commands."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("*/*/README.md"), ROOT / ".github/CONTRIBUTING.md"]
MOST_BYTES = 8192  # of the first page
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(guide: Path) -> str:
    return guide.read_text()


def resolve(name: str) -> object:
    """What a dotted name below keras_s4 stands for."""
    package, *rest = name.split(".")
    found = importlib.import_module(package)
    for index, part in enumerate(rest):
        if not hasattr(found, part):
            importlib.import_module(".".join([package, *rest[: index + 1]]))
        found = getattr(found, part)
    return found


def dotted_names(tree: ast.AST) -> set[str]:
    """`keras_s4.a.b` of an expression, and what `from keras_s4.a import b` names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (text := ast.unparse(node)).startswith("keras_s4."):
            found.add(text)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_s4"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if re.fullmatch(r"[\w.]+", name)}


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_python_exist(guide):
    named = set().union(*(dotted_names(ast.parse(block)) for block in BLOCK.findall(read(guide))))
    named |= set(re.findall(r"`(keras_s4(?:\.\w+)+)(?:\(.*?\))?`", read(guide)))
    for name in named:
        resolve(name)
    assert named or guide.parent != ROOT


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_links_exist(guide):
    for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[\w-]*)?\)", read(guide)):
        assert (guide.parent / link).exists(), link
    for command in re.findall(r"(?:bash|python) ((?:scripts|firmware_tests|tests)/[\w/.-]+)", read(guide)):
        assert (ROOT / command).exists(), command
    for path in re.findall(r"`((?:keras_s4|tflite|tests|scripts|firmware_tests)/[\w/.-]*)`", read(guide)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_are_headings(guide):
    for link, anchor in re.findall(r"\]\((?!http)([^)#]*)#([\w-]+)\)", read(guide)):
        headings = re.findall(r"^#+ (.*)$", read(guide.parent / link if link else guide), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{link}#{anchor}"


@functools.cache
def commands() -> set[str]:
    from typer.main import get_command

    from keras_s4.cli.commands import app

    return set(get_command(app).list_commands(None))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(guide):
    assert set(re.findall(r"keras-s4 ([a-z]+)\b", read(guide))) <= commands()
