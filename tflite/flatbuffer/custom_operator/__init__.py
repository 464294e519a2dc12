"""KERAS_S4_DSS: a step of a DSS layer as one custom operator of TensorFlow Lite Micro, around the kernel in C.

The operator, its registration and the kernel are in C++ and C; `library_files` has them. A file that uses it is what
`to_tflite(program, dss="custom")` writes. Tensors and options of the operator:

| tensor    | type         | shape               | contents                                                      |
|-----------|--------------|---------------------|---------------------------------------------------------------|
| input 0   | int16        | `[1, H]`, `[1,R,H]` | what goes into the layer; R steps of a block                   |
| input 1   | int32        | `[1, H, N, 2]`      | the state before: real and imaginary part of each mode, 2**-30 |
| input 2   | int32        | `[H, N, 4]`         | constant: the four words of each `S4_MODE`                     |
| input 3   | uint8        | `[H]`               | constant: `plain` of `s4_diagonal`                             |
| input 4   | int32        | `[H]`               | constant: the mantissa that scales the sum of a channel        |
| input 5   | uint8        | `[H]`               | constant: its shift, both as `s4_scale_once` takes them        |
| input 6   | int32        | `[H]`               | constant: the feedthrough                                      |
| output 0  | int8, int16  | as input 0          | what comes out of the layer                                    |
| output 1  | int32        | as input 1          | the state after                                                |

`custom_options` are eight int32 in little-endian order: the version of this layout, 1; H; N; the gain of the partial
sum; mantissa, shift and zero point of the output, as `s4_scale` takes them; and whether the state is clamped.
"""

from __future__ import annotations

from pathlib import Path

from keras_s4.tflite.program import diagonal_kernel

LIBRARY = Path(__file__).parent / "library"
_OWN = ("keras_s4_dss_op.cc", "keras_s4_dss_op.h")


def library_files() -> dict[str, str]:
    """The text of the operator's C++ files and of the kernel's C files, by name."""
    return {name: (LIBRARY / name).read_text() for name in _OWN} | {
        name: (diagonal_kernel.LIBRARY / name).read_text() for name in diagonal_kernel.FILES
    }
