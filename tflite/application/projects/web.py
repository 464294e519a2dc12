"""`web`: a page that runs the model, and a README that says what it does and how to get it onto a phone."""

from __future__ import annotations

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.parts import licence
from keras_s4.tflite.application.web.page import TEMPLATES, render_page
from keras_s4.tflite.c99.rendering import render


def web_project(export: Export) -> dict[str, bytes]:
    """The page, its README and the licence of its C.

    Raises:
        ModuleNotFoundError, TypeError, ValueError, NotImplementedError: see `render_page`.
    """
    page = render_page(export, recordings=export.recordings)
    readme = render(TEMPLATES / "README.md.jinja", title=export.title)
    return {"index.html": page.encode(), "README.md": readme.encode(), "LICENSE": licence().encode()}
