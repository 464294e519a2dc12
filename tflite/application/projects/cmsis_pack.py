"""`cmsis-pack`: two packs, of the model and of the kernels, each a zip with its description."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.projects.names import version
from keras_s4.tflite.application.projects.parts import KERNELS, Parts, encoded, licence, under
from keras_s4.tflite.c99.files import kernel_files

VENDOR = "keras-s4"
# Characters of the name of a group that the schema of packs allows.
LONGEST_GROUP = 32
# Of every file in a zip, so that the same model gives the same bytes: the first date that the format has.
DATE = (1980, 1, 1, 0, 0, 0)


def cmsis_pack_project(export: Export) -> dict[str, bytes]:
    """`keras-s4.NAME.VERSION.pack` and `keras-s4.keras_s4_kernels.VERSION.pack`."""
    parts = Parts(export, vendor=VENDOR, group=group_of(export.name))
    sources = parts.sources()
    templates = {
        "sensor": parts.sensor("sensor_main.c", "cmsis_board.c"),
        "selfcheck": parts.selfcheck("selfcheck_main.c"),
    }
    readme = parts.render("cmsis_pack.md")
    model = under("src", sources) | {"README.md": readme, "LICENSE": licence()}
    for name, files in templates.items():
        model |= under(f"templates/{name}", files)
    kernels = under("src", kernel_files()) | {"README.md": parts.render("kernels.md"), "LICENSE": licence()}
    model[f"{VENDOR}.{export.name}.pdsc"] = parts.render(
        "cmsis_model.pdsc",
        application=sorted(set(sources) - {f"{export.name}.c", f"{export.name}.h"}),
        templates={name: sorted(files) for name, files in templates.items()},
    )
    kernels[f"{VENDOR}.{KERNELS}.pdsc"] = parts.render("cmsis_kernels.pdsc", files=sorted(kernel_files()))
    return encoded({"README.md": readme, "LICENSE": licence()}) | {
        f"{VENDOR}.{export.name}.{version()}.pack": zip_of(encoded(model)),
        f"{VENDOR}.{KERNELS}.{version()}.pack": zip_of(encoded(kernels)),
    }


def group_of(name: str) -> str:
    """The name of a group of components, of 2 to 32 characters: the model's, shortened if need be."""
    if len(name) < 2:
        return f"model {name}"
    return name if len(name) <= LONGEST_GROUP else f"{name[: LONGEST_GROUP - 9]}_{zlib.crc32(name.encode()):08x}"


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip of files, always of the same bytes: in order, without dates, and stored, since versions of zlib differ."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content)
    return file.getvalue()
