"""`make`: the model, its kernels and a Makefile, for this computer and for Cortex-M."""

from __future__ import annotations

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.firmware import recordings_of
from keras_s4.tflite.application.projects.parts import KERNELS, Parts, encoded, licence, under
from keras_s4.tflite.c99.files import kernel_files


def make_project(export: Export) -> dict[str, bytes]:
    """Static libraries of the model and of the kernels, a self-check, and an example that reads its standard input."""
    parts = Parts(export)
    files = under(export.name, parts.sources()) | under(KERNELS, kernel_files())
    files |= under("sensor", parts.sensor("sensor_main.c", "make_board.c") | {"recording.txt": _recording(export)})
    files |= under("selfcheck", parts.selfcheck("selfcheck_main.c"))
    for template, name in (("startup.c", "cortex_m/startup.c"), ("mps2.ld", "cortex_m/mps2.ld")):
        files[name] = parts.render(f"make_{template}")
    files["Makefile"] = parts.render("make_Makefile")
    files["README.md"] = parts.render("make.md")
    files["LICENSE"] = licence()
    return encoded(files)


def _recording(export: Export) -> str:
    """Known samples as a sensor gives them, one a line."""
    every = export.decision.decider.decision.every if export.decision else 0
    recordings = recordings_of(export.program, export.manifest["window_length"], export.golden, every, export.sensors)
    rows = zip(*(array.reshape(len(array), -1).tolist() for array in recordings.samples), strict=True)
    lines = [" ".join(str(value) for array in row for value in array) for row in rows]
    first, length = recordings.firsts[0], recordings.length
    return "".join(f"{lines[(first + index) % len(lines)]}\n" for index in range(length))
