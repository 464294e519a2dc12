"""Texts from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from keras_s4.tflite.c99.columns import paragraphs_within_columns, within_columns


def render(template: Path, **context: Any) -> str:
    """A template with its variables filled in; a variable that is missing is an error.

    The lines of C, C++ and Markdown have at most 120 columns.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C and Markdown, not HTML
    )
    text = environment.get_template(template.name).render(context)
    kind = Path(template.stem).suffix
    if kind in (".c", ".h", ".cc", ".cpp", ".ino"):
        return within_columns(text)
    return paragraphs_within_columns(text) if kind == ".md" else text
