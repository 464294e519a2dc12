"""`arduino`: a folder of two libraries, the model and the kernels, each as the Arduino specification has it."""

from __future__ import annotations

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.names import arduino_name
from keras_s4.tflite.application.projects.parts import KERNELS, Parts, encoded, licence, under
from keras_s4.tflite.c99.files import kernel_files


def arduino_project(export: Export) -> dict[str, bytes]:
    """`NAME/` and `keras_s4_kernels/`: into the folder `libraries` of the sketchbook with both."""
    library = arduino_name(export.name)
    parts = Parts(export, library=library, suffix=".cpp", tells_avr=True)
    model = under("src", parts.sources()) | {
        "library.properties": parts.render("arduino_library.properties"),
        "keywords.txt": parts.render("arduino_keywords.txt"),
        "README.md": parts.render("arduino.md"),
        "LICENSE": licence(),
    }
    if library != export.name:
        # Arduino looks for a header that is called as the library.
        model[f"src/{library}.h"] = f'#include "{export.name}.h"\n'
    sensor = parts.sensor("arduino_sensor.ino", "arduino_board.cpp", as_main="sensor.ino")
    selfcheck = parts.selfcheck("arduino_selfcheck.ino", "arduino_selfcheck.cpp", as_main="selfcheck.ino")
    model |= under("examples/sensor", sensor) | under("examples/selfcheck", selfcheck)
    kernels = under("src", kernel_files()) | {
        "library.properties": parts.render("arduino_kernels.properties"),
        "README.md": parts.render("kernels.md"),
        "LICENSE": licence(),
    }
    project = {"README.md": parts.render("arduino.md"), "LICENSE": licence()}
    return encoded(project | under(library, model) | under(KERNELS, kernels))
