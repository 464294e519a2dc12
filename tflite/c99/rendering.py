"""Texts from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render(template: Path, **context: Any) -> str:
    """A template with its variables filled in, as plain text; a variable that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C and Markdown, not HTML
    )
    return environment.get_template(template.name).render(context)
