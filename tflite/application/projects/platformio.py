"""`platformio`: a project whose `lib/` holds two libraries, the model and the kernels."""

from __future__ import annotations

import json

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.names import version
from keras_s4.tflite.application.projects.parts import (
    KERNELS,
    KEYWORDS,
    URL,
    Parts,
    encoded,
    licence,
    under,
)
from keras_s4.tflite.c99.files import kernel_files


def platformio_project(export: Export) -> dict[str, bytes]:
    """`platformio.ini` that builds the examples of the model's library, `lib/NAME/` and `lib/keras_s4_kernels/`."""
    parts = Parts(export, suffix=".cpp", tells_avr=True)
    sources = parts.sources()
    headers = [f"{export.name}.h", *sorted(name for name in sources if name.endswith("application.h"))]
    model = under("src", sources) | {
        "library.json": _manifest(export.name, f"Model {export.title} as integers in C99, by keras-s4", headers),
        "README.md": parts.render("platformio.md"),
        "LICENSE": licence(),
    }
    sensor = parts.sensor("platformio_sensor.cpp", "arduino_board.cpp", as_main="main.cpp")
    selfcheck = parts.selfcheck("platformio_selfcheck.cpp", "arduino_selfcheck.cpp", as_main="main.cpp")
    model |= under("examples/sensor", sensor) | under("examples/selfcheck", selfcheck)
    own = sorted(name for name in kernel_files() if name.endswith(".h"))
    kernels = under("src", kernel_files()) | {
        "library.json": _manifest(KERNELS, "Kernels of models in integers that keras-s4 has exported", own),
        "README.md": parts.render("kernels.md"),
        "LICENSE": licence(),
    }
    project = {
        "platformio.ini": parts.render("platformio.ini"),
        "README.md": parts.render("platformio.md"),
        "LICENSE": licence(),
    }
    return encoded(project | under(f"lib/{export.name}", model) | under(f"lib/{KERNELS}", kernels))


def _manifest(name: str, description: str, headers: list[str]) -> str:
    """`library.json`: without dependencies, since PlatformIO finds the other library by its headers."""
    facts = {
        "name": name,
        "version": version(),
        "description": description,
        "keywords": list(KEYWORDS),
        "homepage": URL,
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": headers,
        "build": {"srcDir": "src", "includeDir": "src"},
    }
    return json.dumps(facts, indent=2) + "\n"
