"""The page: the compiled application, what it is checked with, what it replays, and all that shows it."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2

from keras_s4.tflite.application.ends import ends_of
from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.firmware import render_firmware, windows_of
from keras_s4.tflite.application.web.bundle import bundle
from keras_s4.tflite.application.web.compiling import compile_wasm
from keras_s4.tflite.application.web.facts import facts_of_model, sizes_of, table_of_facts
from keras_s4.tflite.application.web.golden import golden_of_page
from keras_s4.tflite.application.web.words import Words
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.rendering import render

TEMPLATES = Path(__file__).parent / "templates"
# What the C is called inside of a page, where no other model is.
C_NAME = "model"
# Of the application what belongs to other boards.
OTHERS = ("main.c", "board_host.c", "golden.h", "Makefile")
# Nothing but what stands in the page runs, and nothing is loaded or sent. Microphones hand their samples over in a
# script of the page's own, which they want as an address.
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval' data:; style-src '{style}'; "
    "connect-src 'none'; img-src data:; form-action 'none'; base-uri 'none'"
)


def render_page(export: Export, words: Words | None = None, recordings: Any = None) -> str:
    """One HTML page that runs a model as the device does, and needs no other file and no server.

    Args:
        export: the model, its golden vectors, and how the application decides.
        words: what is shown besides numbers.
        recordings: see `replays_of`.

    Raises:
        ModuleNotFoundError: ziglang is missing.
        TypeError, ValueError: names of other numbers than the model has; recordings that it cannot take.
        NotImplementedError: the program has an operation in a form that C leaves out.
    """
    words = words or Words()
    facts = facts_of_page(export, words, recordings)
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = bundle(TEMPLATES, "page")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=words.title or export.title,
        name=export.title,
        policy=POLICY.format(script=_hash(f"\n{script}\n"), style=_hash(f"\n{style}\n")),
        style=style,
        script=script,
        # Nothing in it may look like the end of the script that it stands in.
        data=json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c"),
        rate=facts["rate"],
        spans=facts["spans"],
        says=bool(facts["classes"]),
        facts=[*table_of_facts(export, facts, base64.b64decode(facts["wasm"])), *words.facts],
    )


def facts_of_page(export: Export, words: Words, recordings: Any = None) -> dict[str, Any]:
    """All that the script of a page reads, JSON-ready."""
    facts = facts_of_model(export, words, recordings)
    wasm = compile_wasm(sources_of_page(export))
    return facts | {"golden": golden_of_page(export), "wasm": base64.b64encode(wasm).decode()}


def sources_of_page(export: Export) -> dict[str, str]:
    """The C of a page, by name: the model, its kernels, the application, and the board that the page is."""
    inputs, outputs, states = ends_of(export.program)
    window = windows_of(export.program, export.manifest["window_length"]) or None
    firmware = render_firmware(
        export.program, dict(export.manifest), export.golden, C_NAME, export.decision, export.sensors
    )
    board = render(
        TEMPLATES / "board_web.c.jinja",
        name=export.title,
        c_name=C_NAME,
        inputs=inputs,
        outputs=outputs,
        states=states,
        samples_per_step=export.program.steps,
        sensors=export.sensors,
        decision=export.decision,
        kind=export.decision.decider.integers.kind if export.decision else None,
        has_tokens=any(end.is_token for end in inputs),
        sizes=sizes_of(export),
    )
    texts = {name: text for name, text in firmware.items() if name not in OTHERS}
    texts |= c_source(export.program, C_NAME, window)
    return texts | {"board_web.c": board} | {name: (TEMPLATES / name).read_text() for name in ("memory.c", "string.h")}


@functools.cache
def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
