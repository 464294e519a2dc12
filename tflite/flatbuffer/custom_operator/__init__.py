"""KERAS_S4_BLOCK: an S4 block as one custom operator of TensorFlow Lite Micro, around the kernels in C.

The operator, its registration and the kernels are in C++ and C; `library_files` has them. A file that uses it is what
`to_tflite(program, dss="custom")` writes: the operations of each S4 block are one operator, or as many of them around
its DSS or DiagonalSSM layer as there are instructions for; so is such a layer outside of a block, a DiagonalSSM with
the products before and behind its modes. Which operations go together is in `runs.py`, how they are encoded in
`encoding.py`. What runs is in the file, constants included: firmware has the operator once, for every model.

Tensors and options of the operator:

| tensor           | type               | shape          | contents                                                 |
|------------------|--------------------|----------------|----------------------------------------------------------|
| first inputs     | int8, int16, int32 | any            | what is read that is no state                            |
| then inputs      | int32              | `[1, H, N, 2]` | states before: real, imaginary part of each mode, 2**-30 |
|                  |                    | `[1, 1, 2, N]` | of a DiagonalSSM: real parts, then imaginary parts       |
| the last but one | int32              | `[22 * count]` | constant: the instructions, see `instructions.py`        |
| the last input   | uint8              | `[bytes]`      | constant: the constants of all instructions              |
| first outputs    | int8, int16, int32 | any            | what others read                                         |
| then outputs     | int32              | as before      | states after                                             |

`custom_options` are five int32 in little-endian order: the version of this layout, 2; how many inputs, states and
outputs there are; and the bytes of the scratch memory that lies between the instructions.

One more instruction: a `Code` and its `MEMORY` in `instructions.py`, a function in `encoding.py`, numbers that the
kernel has to check in `checks.py`; in C++ the same three, `IsSound` and `Run`.
"""

from __future__ import annotations

from pathlib import Path

from keras_s4.tflite.program import diagonal_kernel

LIBRARY = Path(__file__).parent / "library"
_OWN = ("keras_s4_block_op.cc", "keras_s4_block_op.h")
# Headers of several kernels.
SHARED = ("keras_s4_arithmetic.h", "keras_s4_rows.h")
# The kernels in C that the operator calls.
KERNELS = ("keras_s4_dense", "keras_s4_diagonal", "keras_s4_gates", "keras_s4_modal")


def library_files() -> dict[str, str]:
    """The text of the operator's C++ files and of the kernels' C files, by name."""
    kernels = [*SHARED, *(f"{name}.{end}" for name in KERNELS for end in ("c", "h"))]
    return {name: (LIBRARY / name).read_text() for name in _OWN} | {
        name: (diagonal_kernel.LIBRARY / name).read_text() for name in kernels
    }
