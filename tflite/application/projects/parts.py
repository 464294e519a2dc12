"""What every kind of project holds: the model with its application, the kernels, and examples around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_s4.tflite.application.decisions import ProgramDecision
from keras_s4.tflite.application.ends import ends_of
from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.firmware import render_firmware, windows_of
from keras_s4.tflite.application.own_names import own_names
from keras_s4.tflite.application.projects.memory import memory_of
from keras_s4.tflite.application.projects.names import version
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.files import kernel_files
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render

TEMPLATES = Path(__file__).parent / "templates"
KERNELS = "keras_s4_kernels"
URL = "https://arxiv.org/abs/2203.14343"
KEYWORDS = ("machine learning", "tinyml", "time series", "state space model", "s4", "keras", "quantized", "inference")
# Samples of a second where nobody has said how many there are.
RATE = 100.0


class Parts:
    """The files of a project, by name within the folder that each kind puts them into.

    Args:
        export: the model.
        **context: what templates of the kind take besides.
    """

    def __init__(self, export: Export, **context: Any):
        self.export = export
        application = render_firmware(
            export.program, dict(export.manifest), export.golden, export.name, export.decision, export.sensors
        )
        self._application = own_names(application, export.name)
        window = windows_of(export.program, export.manifest["window_length"]) or None
        self._model = c_source(export.program, export.name, window)
        self.context = {**_context_of(export), "memory": memory_of(self._model, export.name), **context}

    def sources(self) -> dict[str, str]:
        """The model and the application around it."""
        kernels = kernel_files()
        texts = {name: text for name, text in self._model.items() if name not in kernels}
        return texts | {name: text for name, text in self._application.items() if not self._is_of_examples(name)}

    def golden(self) -> dict[str, str]:
        """The samples of the self-check, and what must come of them."""
        name = f"{self.context['p']}golden.h"
        return {name: self._application[name]}

    def render(self, template: str, **more: Any) -> str:
        """A template of the folder `templates`, with what it alone takes."""
        return render(TEMPLATES / f"{template}.jinja", **self.context, **more)

    def selfcheck(self, main: str, board: str = "selfcheck.c", as_main: str = "main.c") -> dict[str, str]:
        """An example that plays known samples: templates of its main file and of its board."""
        p, suffix = self.context["p"], Path(board).suffix
        files = {as_main: self.render(main), f"{p}selfcheck{suffix}": self.render(board)}
        return files | {f"{p}selfcheck.h": self.render("selfcheck.h")} | self.golden()

    def sensor(self, main: str, board: str, as_main: str = "main.c") -> dict[str, str]:
        """An example that reads a sensor: templates of its main file and of its board."""
        return {as_main: self.render(main), f"{self.context['p']}board{Path(board).suffix}": self.render(board)}

    def _is_of_examples(self, name: str) -> bool:
        p = self.context["p"]
        return name in ("Makefile", "main.c", f"{p}board_host.c", f"{p}golden.h")


def licence() -> str:
    """The text of the licence of kernels and generated code."""
    return (TEMPLATES / "LICENSE").read_text()


def under(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """Files in a folder."""
    return {f"{folder}/{name}": text for name, text in files.items()}


def c_files(files: Iterable[str]) -> list[str]:
    """The names of C files among them, in order."""
    return sorted(name for name in files if name.endswith(".c"))


def encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    """The bytes of texts."""
    return {name: text.encode() for name, text in files.items()}


def _context_of(export: Export) -> dict[str, Any]:
    """What all templates take."""
    inputs, outputs, _ = ends_of(export.program)
    decision = export.decision
    settings = decision.decider.decision if decision else None
    rate = settings.rate if settings else None
    p = f"{export.name}_"
    return {
        "title": export.title,
        "name": export.name,
        "p": p,
        "M": p.upper(),
        "names": _names(p),
        "kernels": KERNELS,
        "version": version(),
        "suffix": ".c",
        "tells_avr": False,
        "url": URL,
        "keywords": KEYWORDS,
        "inputs": inputs,
        "outputs": outputs,
        "decision": decision,
        "class_names": _class_names(decision),
        "sensors": export.sensors,
        "samples_per_step": export.program.steps,
        "windows": windows_of(export.program, export.manifest["window_length"]),
        "has_tokens": any(end.is_token for end in inputs),
        "rate": rate,
        "period": max(1, round(1e6 / (rate or RATE))),
    }


def _names(p: str) -> dict[str, str]:
    """Types and macros of the application in C."""
    return {
        "sample": f"{p}sensor_sample",
        "results": f"{p}results",
        "scale": f"{p}sensor_scale",
        "SCALE": f"{p.upper()}SENSOR_SCALE",
        "decided": f"{p}decision_result",
        "decisions": f"{p}decision_state",
    }


def _class_names(decision: ProgramDecision | None) -> list[str]:
    """The classes' names, safe in strings of C; none where they have none."""
    return [printable(name) for name in decision.decider.decision.classes] if decision else []
