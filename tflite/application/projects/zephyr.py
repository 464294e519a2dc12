"""`zephyr`: two modules, the model and the kernels, with samples."""

from __future__ import annotations

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.parts import KERNELS, Parts, c_files, encoded, licence, under
from keras_s4.tflite.c99.files import kernel_files


def zephyr_project(export: Export) -> dict[str, bytes]:
    """`NAME/` and `keras_s4_kernels/`, for `ZEPHYR_EXTRA_MODULES` or a manifest of west."""
    module = export.name.lower()
    parts = Parts(export, module=module, option=f"KERAS_S4_{export.name.upper()}")
    sources = parts.sources()
    application = [name for name in c_files(sources) if name != f"{export.name}.c"]
    model = under("src", sources) | {
        "zephyr/module.yml": parts.render("zephyr_module.yml"),
        "zephyr/CMakeLists.txt": parts.render("zephyr_CMakeLists.txt", sources=application),
        "zephyr/Kconfig": parts.render("zephyr_Kconfig"),
        "README.md": parts.render("zephyr.md"),
        "LICENSE": licence(),
    }
    samples = {
        "sensor": parts.sensor("sensor_main.c", "zephyr_board.c"),
        "selfcheck": parts.selfcheck("selfcheck_main.c", "zephyr_selfcheck.c"),
    }
    for sample, files in samples.items():
        model |= under(f"samples/{sample}/src", files)
        for name in ("CMakeLists.txt", "prj.conf", "sample.yaml"):
            text = parts.render(f"zephyr_sample_{name}", sample=sample, sources=c_files(files))
            model[f"samples/{sample}/{name}"] = text
    kernels = under("src", kernel_files()) | {
        "zephyr/module.yml": parts.render("zephyr_kernels.yml"),
        "zephyr/CMakeLists.txt": parts.render("zephyr_kernels_CMakeLists.txt", sources=c_files(kernel_files())),
        "zephyr/Kconfig": parts.render("zephyr_kernels_Kconfig"),
        "README.md": parts.render("kernels.md"),
        "LICENSE": licence(),
    }
    project = {"README.md": parts.render("zephyr.md"), "LICENSE": licence()}
    return encoded(project | under(module, model) | under(KERNELS, kernels))
