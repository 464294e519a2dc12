"""`esp-idf`: a folder of two components, the model and the kernels, with projects as examples."""

from __future__ import annotations

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.parts import KERNELS, KEYWORDS, Parts, c_files, encoded, licence, under
from keras_s4.tflite.c99.files import kernel_files

# Keywords as the registry of components takes them: of at least three letters, and without blanks.
TAGS = [keyword.replace(" ", "-") for keyword in KEYWORDS if len(keyword) > 2]


def esp_idf_project(export: Export) -> dict[str, bytes]:
    """`components/NAME/` and `components/keras_s4_kernels/`."""
    component = export.name.lower()
    parts = Parts(export, component=component, tags=TAGS)
    sources = parts.sources()
    model = under("src", sources) | {
        "CMakeLists.txt": parts.render("esp_idf_CMakeLists.txt", sources=c_files(sources)),
        "idf_component.yml": parts.render("esp_idf_component.yml"),
        "README.md": parts.render("esp_idf.md"),
        "LICENSE": licence(),
    }
    sensor = parts.sensor("esp_idf_sensor.c", "esp_idf_board.c")
    selfcheck = parts.selfcheck("esp_idf_selfcheck.c")
    for example, files, needs in (("sensor", sensor, ["esp_timer"]), ("selfcheck", selfcheck, [])):
        listing = parts.render("esp_idf_main_CMakeLists.txt", sources=c_files(files), needs=[component, *needs])
        model |= under(f"examples/{example}/main", files | {"CMakeLists.txt": listing})
        model[f"examples/{example}/CMakeLists.txt"] = parts.render("esp_idf_example_CMakeLists.txt", example=example)
    kernels = under("src", kernel_files()) | {
        "CMakeLists.txt": parts.render("esp_idf_kernels_CMakeLists.txt", sources=c_files(kernel_files())),
        "idf_component.yml": parts.render("esp_idf_kernels.yml"),
        "README.md": parts.render("kernels.md"),
        "LICENSE": licence(),
    }
    project = {"README.md": parts.render("esp_idf.md"), "LICENSE": licence()}
    return encoded(project | under(f"components/{component}", model) | under(f"components/{KERNELS}", kernels))
