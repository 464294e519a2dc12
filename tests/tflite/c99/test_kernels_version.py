"""The version of the kernels changes with what generated C relies on."""

import hashlib
import re

from keras_s4.tflite.c99.files import kernel_files, kernels_version

# Of what headers declare, without comments and blanks. keras_s4_arithmetic.h is compiled into the model as it is, and
# keras_s4_rows.h into kernels alone.
PRIVATE = {"keras_s4_arithmetic.h", "keras_s4_rows.h"}
DECLARED = {1: "d12f42b41491ffb5"}


def declared() -> str:
    """Structs, macros and functions of all kernels."""
    texts = [text for name, text in kernel_files().items() if name.endswith(".h") and name not in PRIVATE]
    bare = re.sub(r"/\*.*?\*/", "", "".join(texts), flags=re.DOTALL)
    return hashlib.sha256(re.sub(r"\s+", "", bare.replace(f"VERSION {kernels_version()}", "")).encode()).hexdigest()[
        :16
    ]


def test_another_interface_is_another_version():
    """Generated C of before may not go with kernels of another interface, and finds that by the version alone."""
    assert DECLARED.get(kernels_version()) == declared(), (
        "What the headers of the kernels declare has changed: add 1 to KERAS_S4_KERNELS_VERSION in keras_s4_kernels.h "
        f"(once for each release), and put {declared()!r} into DECLARED under that number."
    )
